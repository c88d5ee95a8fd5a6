"""The bare loop a worker is compared with: BLMPOP 100, one pipeline of PUBLISH, nothing promised.

Arguments: Redis port, number of lists. List `jobs:<n>` is published on `room:<n>` as it is: the
loop neither parses nor changes a job, and a job that is in the pipeline when it dies is lost.
"""

import sys
from typing import Any

import redis

BATCH = 100


def main() -> None:
    """Work until a signal comes."""
    client = redis.Redis(port=int(sys.argv[1]))
    lists = [f"jobs:{n}" for n in range(int(sys.argv[2]))]
    while True:
        popped: Any = client.blmpop(1, len(lists), *lists, direction="RIGHT", count=BATCH)
        if not popped:
            continue
        name, jobs = popped
        channel = b"room:" + name.rpartition(b":")[2]
        pipeline = client.pipeline(transaction=False)
        for job in jobs:
            pipeline.publish(channel, job)
        pipeline.execute()


if __name__ == "__main__":
    main()
