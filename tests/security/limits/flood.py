"""A client that sends far more than it may: `python -m tests.security.limits.flood PORT KEY RATE
SECONDS`.

A process of its own, so that what it costs to send is not felt by whoever measures. It prints how
many answers of each status came, as JSON.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter

CONNECTIONS = 8
BODY = b'{"type":"room","userId":1,"target":"1","message":"noise"}'


async def flood(port: int, key: str, rate: float, seconds: float) -> Counter[str]:
    request = (
        b"POST /notify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"x-api-key: %b\r\nContent-Length: %d\r\n\r\n%b" % (key.encode(), len(BODY), BODY)
    )
    found: Counter[str] = Counter()
    began = time.monotonic()

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for turn in range(int(rate * seconds / CONNECTIONS)):
            due = began + (turn * CONNECTIONS + number) / rate
            if time.monotonic() > began + seconds:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            await reader.readexactly(length)
            found[head[9:12]] += 1
        writer.close()

    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    return found


if __name__ == "__main__":
    # It stands for another machine: it gets what those whose time is measured leave.
    os.nice(19)
    counts = asyncio.run(
        flood(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
    )
    sys.stdout.write(json.dumps(counts))
