"""The two plots: deliveries/s against connections, and against backlog."""

from collections.abc import Callable, Sequence
from typing import Final

from loadtests.bench import fanout_peers as peers
from loadtests.bench.fanout_rows import (
    C_LOOP,
    ROOMCAST,
    gateway_and_worker,
    measure_peer,
    through_worker,
)
from loadtests.bench.load import Load, Report
from loadtests.bench.rows import Row, Series
from loadtests.bench.session import Session, median
from loadtests.stack import Stack

CONNECTIONS: Final = (100, 300, 1000, 3000, 10_000)
CONNECTIONS_WINDOW: Final = 4
BACKLOGS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
BACKLOG_CONNECTIONS: Final = 1000
SUBJECTS: Final = (ROOMCAST, "NATS", C_LOOP)


def curves(session: Session) -> Row:
    """Measure the points of both plots."""
    with gateway_and_worker(session) as stack:
        by_connections = _series(
            session, stack, [(n, _load(session, n, CONNECTIONS_WINDOW)) for n in CONNECTIONS]
        )
        by_backlog = _series(
            session, stack, [(n, _load(session, BACKLOG_CONNECTIONS, n)) for n in BACKLOGS]
        )
    return Row(
        "curves",
        "deliveries/s against connections and backlog",
        {},
        [],
        session.notes,
        {},
        {"connections": by_connections, "backlog": by_backlog},
    )


def _load(session: Session, conns: int, window: int) -> Load:
    return Load(conns, min(session.secs, 2.0), window=window, settle=0.5)


def _series(session: Session, stack: Stack, loads: Sequence[tuple[int, Load]]) -> list[Series]:
    subjects: dict[str, Callable[[], Report]] = {}
    for at, load in loads:
        for name in SUBJECTS:
            subjects[f"{name} {at}"] = _subject(session, stack, name, load)
    reports = session.rounds(subjects)
    return [
        Series(
            name,
            [
                (float(at), median([r.frames_per_s for r in reports[f"{name} {at}"]]))
                for at, _ in loads
                if f"{name} {at}" in reports
            ],
        )
        for name in SUBJECTS
    ]


def _subject(session: Session, stack: Stack, name: str, load: Load) -> Callable[[], Report]:
    if name == ROOMCAST:
        return through_worker(session, stack, load)
    peer = peers.nats if name == "NATS" else peers.c_loop
    return lambda: measure_peer(session, peer, stack.redis_port, load)
