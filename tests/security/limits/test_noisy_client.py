"""One client does not feel what another one does."""

import asyncio
import json
import sys
import time
from collections import Counter

import aiohttp
from websockets.asyncio.client import ClientConnection

from tests.security.limits.limiting import ask, heard, limit, register
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, token_of
from tests.support.processes.process import ROOT


async def latencies(
    session: aiohttp.ClientSession, url: str, client: Made, socket: ClientConnection, seconds: float
) -> list[float]:
    """Seconds from POST to socket, of one notification after another."""
    found = []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        began = time.perf_counter()
        posting = asyncio.ensure_future(ask(session, url, client))
        frame = await heard(socket)
        found.append(time.perf_counter() - began)
        status, _, body = await posting
        assert (status, body["id"]) == (202, frame["id"])
        await asyncio.sleep(0.01)
    return found


async def test_one_noisy_client_does_not_delay_another(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    most, rate, seconds, pairs = 50, 600, 1.5, 4
    await limit(api, auth_stack, shop, requestsPerS=most)
    url, port = auth_stack.http_urls[0], auth_stack.ports["server-1"]
    socket = await register(auth_stack, 0, await token_of(api, bank), room=1)
    alone: list[float] = []
    beside: list[float] = []
    answered: Counter[str] = Counter()
    try:
        assert (await heard(socket))["type"] == "registered"
        async with aiohttp.ClientSession() as session:
            await latencies(session, url, bank, socket, 0.5)
            for _ in range(pairs):
                alone += await latencies(session, url, bank, socket, seconds)
                flood = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.security.limits.flood",
                    str(port), shop.key, str(rate), str(seconds + 0.5),
                    stdout=asyncio.subprocess.PIPE, cwd=ROOT,
                )  # fmt: skip
                try:
                    # By then it has started.
                    await asyncio.sleep(0.4)
                    beside += await latencies(session, url, bank, socket, seconds)
                    async with asyncio.timeout(30):
                        out, _ = await flood.communicate()
                finally:
                    if flood.returncode is None:
                        flood.kill()
                        await flood.wait()
                answered.update(json.loads(out))
    finally:
        await socket.close()
    assert set(answered) == {"202", "429"}
    assert answered["202"] <= pairs * most * (seconds + 0.5 + 2)
    assert answered["429"] > answered["202"]
    for name, share in (("median", 0.5), ("p90", 0.9)):
        before, with_flood = (sorted(some)[int(len(some) * share)] for some in (alone, beside))
        ratio = with_flood / before
        print(
            f"{name}: {before * 1000:.2f} ms alone, {with_flood * 1000:.2f} ms beside the flood, "
            f"ratio {ratio:.2f} ({len(alone)} and {len(beside)} notifications, {dict(answered)})"
        )
        assert ratio <= 3, name
