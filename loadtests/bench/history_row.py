"""The history row: events/s of the writer against the jobs/s of the worker that published them."""

import contextlib
import http.client
import re
import subprocess
from typing import Any, Final

from deploy.local.stores import postgres
from loadtests.bench.load import LoadError
from loadtests.bench.rows import Bar, Row, count
from loadtests.bench.session import Session, median, median_ratio
from loadtests.bench.stores import database
from loadtests.bench.worker_row import drain_rate, post_jobs
from loadtests.processes import free_port
from loadtests.stack import KEYS, Cores, Stack, roomcast, start_part

ANYWHERE: Final = Cores()
READERS: Final = {"EVENT_READERS": "history"}
WORKER: Final = "worker"
WRITER: Final = "history writer"


def history(session: Session) -> Row:
    """Measure what one worker publishes, and how fast the writer has that in PostgreSQL.

    All processes are anywhere on the two cores: the writer and PostgreSQL are a pipeline.
    """
    jobs = 20_000 if session.quick else 200_000
    saved: list[float] = []
    with (
        roomcast(session.processes, ANYWHERE, ("server",), READERS) as stack,
        database(session.processes) as port,
    ):
        rates = session.rounds(
            {
                WORKER: lambda: _publish(session, stack, jobs),
                # It writes what the worker has just published.
                WRITER: lambda: _write(session, stack, port, jobs, saved),
            }
        )
    figures = {name: f"{count(median(values))} events/s" for name, values in rates.items()}
    if saved:
        figures[WRITER] += f", {median(saved):.2%} of database writes saved"
    return Row(
        "history",
        "one history writer, PostgreSQL with fsync, events/s",
        figures,
        [
            Bar(1).of(
                "what one worker publishes",
                median_ratio(rates.get(WRITER, []), rates.get(WORKER, [])),
            )
        ],
        session.notes,
        rates,
    )


def _publish(session: Session, stack: Stack, jobs: int) -> float:
    stack.client.flushall()
    stack.redis("XGROUP", "CREATE", KEYS.events, "history", "0", "MKSTREAM")
    post_jobs(stack.ports["server"], jobs)
    worker = start_part(session.processes, "worker", stack.ports, stack.redis_port, env=READERS)
    try:
        return drain_rate(lambda: int(stack.redis("HGET", KEYS.waiting, "high") or 0), jobs)
    finally:
        session.processes.stop(worker)


def _write(session: Session, stack: Stack, port: int, jobs: int, saved: list[float]) -> float:
    if stack.redis("XLEN", KEYS.events) != jobs:
        raise LoadError("the worker left no events to write")
    _sql(port, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    # As on a database that has run for a while, the log is written into files that are there.
    _sql(port, "CHECKPOINT")
    ports = {**stack.ports, "history": free_port()}
    settings = {
        **READERS,
        "DATABASE_URL": postgres.url(port),
    }
    writer = start_part(session.processes, "history", ports, stack.redis_port, env=settings)
    try:
        rate = drain_rate(lambda: _unread(stack), jobs)
        saved.append(_saved(ports["history"]))
    finally:
        session.processes.stop(writer)
    rows = int(_sql(port, "SELECT count(*) FROM publications"))
    if rows != jobs:
        raise LoadError(f"{rows} rows were written, not {jobs}")
    return rate


def _unread(stack: Stack) -> int:
    groups: list[Any] = stack.redis("XINFO", "GROUPS", KEYS.events)
    return int(groups[0]["pending"]) + int(groups[0]["lag"] or 0)


def _saved(port: int) -> float:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    found = re.search(r"^roomcast_history_writes_saved_ratio (\S+)$", text, re.MULTILINE)
    if found is None:
        raise LoadError("the writer does not say what it saved")
    return float(found[1])


def _sql(port: int, text: str) -> str:
    done = subprocess.run(
        [postgres.programs() / "psql", "-qAtX", "-c", text, postgres.url(port)],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
