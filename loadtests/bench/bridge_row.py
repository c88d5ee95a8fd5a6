"""The bridge row: events/s to Kafka beside jobs/s of the worker that publishes them."""

import sys
from typing import Any, Final

from loadtests.bench.load import LoadError
from loadtests.bench.rows import Bar, Row, count
from loadtests.bench.session import Session, median, median_ratio
from loadtests.bench.stores import tansu
from loadtests.bench.worker_row import CHANNELS, drain_rate, post_jobs
from loadtests.processes import ROOT, answers_ok, free_port, wait_until
from loadtests.stack import KEYS, Cores, Stack, roomcast, start_part

BRIDGE: Final = "bridge"
WORKER: Final = "worker"
READERS: Final = {"EVENT_READERS": "kafka"}
GROUP: Final = "kafka"
ANYWHERE: Final = Cores()


def bridge(session: Session) -> Row:
    """Publish jobs by one worker, then mirror their events by one bridge."""
    jobs = 20_000 if session.quick else 200_000
    rates: dict[str, list[float]] = {WORKER: [], BRIDGE: []}
    with (
        tansu(session.processes) as brokers,
        roomcast(session.processes, ANYWHERE, ("server",), READERS) as stack,
    ):
        found = session.rounds({BRIDGE: lambda: _both(session, stack, brokers, jobs)})
    for published, mirrored in found.get(BRIDGE, []):
        rates[WORKER].append(published)
        rates[BRIDGE].append(mirrored)
    return Row(
        BRIDGE,
        f"one bridge process to Tansu, {CHANNELS} channels, events/s",
        {
            WORKER: f"{count(median(rates[WORKER]))} jobs/s",
            BRIDGE: f"{count(median(rates[BRIDGE]))} events/s",
        },
        [Bar(1).of("the worker that publishes them", median_ratio(rates[BRIDGE], rates[WORKER]))],
        session.notes,
        rates,
    )


def _both(session: Session, stack: Stack, brokers: str, jobs: int) -> tuple[float, float]:
    stack.client.flushall()
    # There from the start, so that nothing is trimmed before it is mirrored.
    stack.redis("XGROUP", "CREATE", KEYS.events, GROUP, "0", "MKSTREAM")
    post_jobs(stack.ports["server"], jobs)

    def waiting() -> int:
        return int(stack.redis("HGET", KEYS.waiting, "high") or 0)

    worker = start_part(session.processes, "worker", stack.ports, stack.redis_port, env=READERS)
    try:
        published = drain_rate(waiting, jobs)
    finally:
        session.processes.stop(worker)
    length = int(stack.redis("XLEN", KEYS.events))
    if length < jobs:
        raise LoadError(f"{length} events for {jobs} jobs")
    return published, _mirror(session, stack, brokers, length)


def _mirror(session: Session, stack: Stack, brokers: str, events: int) -> float:
    port = free_port()
    settings = {
        "PYTHONPATH": str(ROOT),
        "HOST": "127.0.0.1",
        **READERS,
        "KAFKA_BROKERS": brokers,
        "KAFKA_BRIDGE_PORT": str(port),
        "REDIS_CLIENT": f"redis://127.0.0.1:{stack.redis_port}/0",
        "LOG_LEVEL": "WARNING",
    }

    def left() -> int:
        client: Any = stack.client
        (group,) = client.xinfo_groups(KEYS.events)
        return int(group["pending"]) + int(group["lag"])

    argv = [sys.executable, "-m", "kafka_bridge"]
    with session.processes.running(BRIDGE, argv, env=settings) as process:
        wait_until(answers_ok(port, "/healthz"), process)
        return drain_rate(left, events)
