"""Cost of history and the Kafka bridge to the pipeline, all on the same two cores."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from deploy.local.stores import postgres
from loadtests.bench.fanout_rows import trusted
from loadtests.bench.load import Load, LoadError, Report, run_load
from loadtests.bench.rows import Bar, Row, count, millis
from loadtests.bench.session import Session, median, median_ratio
from loadtests.bench.stores import database, tansu
from loadtests.bench.targets import private_by_post
from loadtests.processes import free_port
from loadtests.stack import Cores, Stack, roomcast, start_part

CONNS: Final = 1_000
WINDOW: Final = 64
SENDERS: Final = 64
"""Connections that the POSTs go over, as one answers them one after the other."""
ROUNDS_LEAST: Final = 24
"""On a shared machine one p99 of two seconds may be twice the next."""
MOST: Final = "the most"
ALONE: Final = "pipeline alone"
WHOLE: Final = "with history and bridge"
ANYWHERE: Final = Cores()
READERS: Final = {"EVENT_READERS": "history,kafka"}


@contextlib.contextmanager
def _whole(session: Session) -> Iterator[Stack]:
    made = session.processes
    with (
        database(made) as postgres_port,
        tansu(made) as brokers,
        roomcast(made, ANYWHERE, env=READERS) as stack,
    ):
        ports = {**stack.ports, "history": free_port(), "kafka_bridge": free_port()}
        env = {
            **READERS,
            "DATABASE_URL": postgres.url(postgres_port),
            "KAFKA_BROKERS": brokers,
        }
        readers = [
            start_part(made, part, ports, stack.redis_port, env=env)
            for part in ("history", "kafka_bridge")
        ]
        try:
            yield stack
        finally:
            for reader in readers:
                made.stop(reader)


def cost_of_readers(session: Session) -> Row:
    """Measure CPU time per notification and p99 at half of the pipeline's maximum rate."""
    numbers = iter(range(1, 1_000))
    made = session.processes

    def measure(stack: Stack, load: Load) -> Report:
        target = private_by_post(made, stack, f"u{next(numbers)}-")
        pids = [pid for process in stack.processes.values() for pid in process.pids]
        options = {**target.options, "pub-conns": SENDERS}
        return trusted(run_load(replace(target, pids=pids, options=options), load))

    load = Load(CONNS, session.secs, settle=session.settle, nap_us=0)
    with roomcast(made, ANYWHERE) as alone, _whole(session) as whole:
        for stack in (alone, whole):
            stack.warm_up()
        found: list[float] = []

        def most() -> Report:
            report = measure(alone, replace(load, window=WINDOW))
            if report.frames_per_s <= 0:
                raise LoadError("nothing arrived")
            found.append(report.frames_per_s)
            return report

        # A machine that is shared has another maximum from minute to minute.
        rounds = [
            session.rounds(
                {
                    MOST: most,
                    ALONE: lambda: measure(alone, replace(load, rate=found[-1] / 2)),
                    WHOLE: lambda: measure(whole, replace(load, rate=found[-1] / 2)),
                }
            )
            for _ in range(1 if session.quick else -(-ROUNDS_LEAST // session.runs))
        ]
    reports = {
        name: [report for one in rounds for report in one.get(name, [])] for name in (ALONE, WHOLE)
    }
    cpu = {name: [_cpu_us(report) for report in found] for name, found in reports.items()}
    p99 = {name: [report.lat_p99_us for report in found] for name, found in reports.items()}
    return Row(
        "cost-of-readers",
        "server, worker and gateway with history and the bridge beside them, on two cores, at half"
        f" of the maximum rate ({count(median(found) / 2)} POSTs/s)",
        {
            name: f"{median(cpu[name]):.0f} µs of CPU per notification, "
            f"p50 {millis(median([r.lat_p50_us for r in reports[name]]))}, "
            f"p99 {millis(median(p99[name]))}"
            for name in (ALONE, WHOLE)
        },
        [
            Bar(1.15, at_most=True).of(
                "the pipeline's CPU time alone", median_ratio(cpu[WHOLE], cpu[ALONE])
            ),
            Bar(1.5, at_most=True).of(
                "its p99 from POST to socket alone", median_ratio(p99[WHOLE], p99[ALONE])
            ),
        ],
        session.notes,
        {**{f"{name}, CPU": values for name, values in cpu.items()}, **p99},
    )


def _cpu_us(report: Report) -> float:
    return report.server_cpu * 1e6 / report.frames_per_s if report.frames_per_s else float("nan")
