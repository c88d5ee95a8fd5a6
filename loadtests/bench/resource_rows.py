"""Memory of an idle connection, and handshakes per second."""

from typing import Final

from loadtests.bench import fanout_peers as peers
from loadtests.bench.fanout_rows import ROOMCAST, gateway_and_worker, measure_peer
from loadtests.bench.load import Load, Report, run_load
from loadtests.bench.rows import Bar, Row, count
from loadtests.bench.session import Session, median, median_ratio
from loadtests.bench.targets import broadcast_by_lpush

CONNS: Final = 5000
HEARTBEAT: Final = {"PING_INTERVAL_S": "2"}
HEARTBEAT_SETTLE_S: Final = 6.0
"""Long enough that every connection was pinged before memory is read."""


def memory(session: Session) -> Row:
    """Measure the gateway's memory per idle registered connection, with its heartbeat going."""

    def measure() -> Report:
        # A fresh gateway each time: what it freed before would be used again.
        with gateway_and_worker(session, HEARTBEAT) as stack:
            target = broadcast_by_lpush(session.processes, stack)
            return run_load(target, Load(CONNS, 0.2, settle=HEARTBEAT_SETTLE_S, most=0))

    reports = session.rounds({ROOMCAST: measure})
    sizes = {name: [r.kib_per_conn for r in runs] for name, runs in reports.items()}
    ours = median(sizes[ROOMCAST]) if ROOMCAST in sizes else None
    return Row(
        "memory",
        "idle registered connection with heartbeat, gateway memory",
        {name: f"{median(values):.2f} KiB" for name, values in sizes.items()},
        [Bar(4, 2.5, at_most=True, unit=" KiB").of("", ours)],
        session.notes,
        sizes,
    )


def handshakes(session: Session) -> Row:
    """Measure connections/s whose upgrade and registration were answered."""
    load = Load(CONNS, 0.2, settle=0.2, most=0)
    with gateway_and_worker(session) as stack:
        target = broadcast_by_lpush(session.processes, stack)
        port = stack.redis_port
        reports = session.rounds(
            {
                ROOMCAST: lambda: run_load(target, load),
                "aiohttp": lambda: measure_peer(session, peers.aiohttp_ws, port, load),
                "ws": lambda: measure_peer(session, peers.ws, port, load),
            }
        )
    rates = {name: [r.connect_per_s for r in runs] for name, runs in reports.items()}
    ours, plain = rates.get(ROOMCAST, []), rates.get("aiohttp", [])
    return Row(
        "handshakes",
        "handshakes/s (upgrade and registration answered)",
        {name: f"{count(median(values))}/s" for name, values in rates.items()},
        [
            Bar(1.3).of("aiohttp's WebSocketResponse", median_ratio(ours, plain)),
            Bar(0, 1.0).of("ws on Node", median_ratio(ours, rates.get("ws", []))),
        ],
        session.notes,
        rates,
    )
