"""The worker row: jobs/s of one process until all are published, append-only file on."""

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from loadtests.bench.fanout_peers import PEERS, PEERS_PY, node
from loadtests.bench.fanout_rows import ROOMCAST
from loadtests.bench.load import LoadError
from loadtests.bench.rows import Bar, Row, count
from loadtests.bench.session import SERVER_CORE, Session, median, median_ratio
from loadtests.processes import printed, wait_until
from loadtests.stack import KEYS, Cores, Stack, roomcast, start_part

CHANNELS: Final = 100
BATCH: Final = 1000
TEXT: Final = "x" * 120
CORES: Final = Cores(valkey=1, server=1)
BULLMQ_CONCURRENCY: Final = 100
"""10 was slower; 50, 200 and 400 were as fast within the noise."""
DRAIN_LIMIT_S: Final = 120.0
POLL_S: Final = 0.02


def worker(session: Session) -> Row:
    """Measure jobs/s of Roomcast's worker, a bare loop, and BullMQ on the same Valkey."""
    jobs = 20_000 if session.quick else 200_000
    slow_jobs = jobs // 5
    with roomcast(session.processes, CORES, ("server",)) as stack:
        rates = session.rounds(
            {
                ROOMCAST: lambda: _roomcast(session, stack, jobs),
                "bare loop": lambda: _bare(session, stack, jobs),
                "BullMQ": lambda: _bullmq(session, stack, slow_jobs),
            }
        )
    own, bare = rates.get(ROOMCAST, []), rates.get("bare loop", [])
    return Row(
        "worker",
        "one worker process, append-only file on, 100 channels, jobs/s",
        {name: f"{count(median(values))} jobs/s" for name, values in rates.items()},
        [
            Bar(0.6, 1.0).of("a bare BLMPOP + PUBLISH loop", median_ratio(own, bare)),
            Bar(3).of("BullMQ", median_ratio(own, rates.get("BullMQ", []))),
        ],
        session.notes,
        rates,
    )


def _roomcast(session: Session, stack: Stack, jobs: int) -> float:
    stack.client.flushall()
    post_jobs(stack.ports["server"], jobs)
    last = f"default/room:{CHANNELS - 1}"

    def left() -> int:
        return int(stack.redis("HGET", KEYS.waiting, "high") or 0)

    if left() != jobs:
        raise LoadError(f"{left()} jobs wait, not {jobs}")
    process = start_part(session.processes, "worker", stack.ports, stack.redis_port, SERVER_CORE)
    try:
        rate = drain_rate(left, jobs)
        offset = int(stack.redis("HGET", KEYS.channel_prefix + last, "o"))
    finally:
        session.processes.stop(process)
    if offset != jobs // CHANNELS:
        raise LoadError(f"{last} is at offset {offset}, not {jobs // CHANNELS}")
    return rate


def post_jobs(port: int, jobs: int) -> None:
    """Queue room jobs for `CHANNELS` rooms in turn, as arrays of `BATCH` to POST /notify.

    Raises:
        LoadError: an array was not accepted.
    """
    body = json.dumps(
        [
            {"userId": 1, "type": "room", "target": n % CHANNELS, "message": TEXT}
            for n in range(BATCH)
        ]
    )
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as api:
        for _ in range(jobs // BATCH):
            api.request("POST", "/notify", body, {"Content-Type": "application/json"})
            answer = api.getresponse()
            text = answer.read()
            if answer.status != 202:
                raise LoadError(f"POST /notify: {answer.status} {text[:200]!r}")


def _bare(session: Session, stack: Stack, jobs: int) -> float:
    client = stack.client
    client.flushall()
    pipeline = client.pipeline(transaction=False)
    for n in range(CHANNELS):
        job = json.dumps({"userId": 1, "type": "room", "target": n, "message": TEXT})
        pipeline.lpush(f"jobs:{n}", *[job] * (jobs // CHANNELS))
    pipeline.execute()

    def left() -> int:
        # The lists are emptied one after the other, and an empty one is no key.
        return int(stack.redis("DBSIZE")) * (jobs // CHANNELS)

    argv: list[str | Path] = [
        sys.executable,
        PEERS_PY / "bare_worker.py",
        str(stack.redis_port),
        str(CHANNELS),
    ]
    with session.processes.running("bare-loop", argv, SERVER_CORE):
        return drain_rate(left, jobs)


def _bullmq(session: Session, stack: Stack, jobs: int) -> float:
    binary, script = node("bullmq"), PEERS / "bullmq.js"
    stack.client.flushall()
    fill = [binary, str(script), str(stack.redis_port), "fill", str(jobs), str(CHANNELS)]
    subprocess.run(fill, check=True, timeout=120, capture_output=True)

    def left() -> int:
        return int(stack.redis("LLEN", "bull:jobs:wait")) + int(
            stack.redis("LLEN", "bull:jobs:active")
        )

    argv: list[str | Path] = [
        binary,
        script,
        str(stack.redis_port),
        "work",
        str(BULLMQ_CONCURRENCY),
    ]
    with session.processes.running("bullmq", argv, SERVER_CORE) as process:
        wait_until(printed(process, "ready"), process)
        return drain_rate(left, jobs)


def drain_rate(left: Callable[[], int], jobs: int) -> float:
    """Jobs/s between a tenth and nine tenths done, so that neither start nor end counts.

    Raises:
        LoadError: they were not done in time.
    """
    start: tuple[float, int] | None = None
    deadline = time.monotonic() + DRAIN_LIMIT_S
    while time.monotonic() < deadline:
        now, done = time.perf_counter(), jobs - left()
        if start is None and done >= jobs * 0.1:
            start = (now, done)
        if start is not None and done >= jobs * 0.9 and now > start[0]:
            rate = (done - start[1]) / (now - start[0])
            while left() > 0 and time.monotonic() < deadline:
                time.sleep(POLL_S)
            return rate
        time.sleep(POLL_S)
    raise LoadError(f"{left()} of {jobs} jobs were left after {DRAIN_LIMIT_S:.0f} s")
