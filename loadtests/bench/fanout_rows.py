"""The fan-out rows: last of N, deliveries/s, open loop, cost per delivery, and the plots."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from common.model.channels import BROADCAST_CHANNEL
from loadtests.bench import fanout_peers as peers
from loadtests.bench.load import Load, LoadError, Report, Target, run_load
from loadtests.bench.rows import Bar, Comparison, Row, count, millis
from loadtests.bench.session import Session, median, median_ratio
from loadtests.bench.targets import broadcast_by_lpush, broadcast_by_publish
from loadtests.stack import Stack, roomcast

ROOMCAST: Final = "Roomcast"
ALONE: Final = "Roomcast, gateway alone"
C_LOOP: Final = "C send loop"
BARE: Final = {"GAP_CHECK_INTERVAL_S": "3600"}
"""A bare PUBLISH leaves Redis's positions behind; a gateway that compares would repair."""

Subjects = Mapping[str, Callable[[], Report]]


@contextlib.contextmanager
def gateway_and_worker(session: Session, env: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """Run a warm stack without a server.

    Raises:
        StartError: it does not become ready.
    """
    with roomcast(session.processes, session.cores, ("worker", "ws_gateway"), env) as stack:
        stack.warm_up()
        yield stack


def measure_peer(session: Session, peer: peers.Peer, redis_port: int, load: Load) -> Report:
    """Start a peer, load it, stop it.

    Raises:
        MissingError: it isn't installed.
        LoadError: the measurement failed.
        StartError: it does not serve.
    """
    with peer(session, redis_port) as target:
        return run_load(target, load)


def measure_alone(session: Session, stack: Stack, load: Load) -> Report:
    """Load the gateway by bare PUBLISH, and tell Redis how far that went.

    Raises:
        LoadError: the measurement failed.
    """
    target = broadcast_by_publish(session.processes, stack)
    before = int(target.options["from-offset"])
    report = run_load(target, load)
    stack.set_offset(BROADCAST_CHANNEL, before + report.published)
    return trusted(report)


def trusted(report: Report) -> Report:
    """Return the report of a run in which every client saw contiguous offsets.

    Raises:
        LoadError: one did not.
    """
    if not report.contiguous:
        raise LoadError(
            f"does not count: {report.gaps} gaps, {report.unnumbered} unnumbered, "
            f"{report.lost} lost, {report.undelivered} undelivered"
        )
    return report


def through_worker(session: Session, stack: Stack, load: Load) -> Callable[[], Report]:
    """Return the measurement of the whole path from LPUSH on."""
    target: Target = broadcast_by_lpush(session.processes, stack)
    return lambda: trusted(run_load(target, load))


def figures_of(reports: Mapping[str, list[Report]]) -> dict[str, str]:
    """Deliveries/s and the time of the last of N, as medians, for every subject."""
    return {
        name: f"{count(median([r.frames_per_s for r in runs]))}/s, last of N p50 "
        f"{millis(median([r.last_p50_us for r in runs]))}, p99 "
        f"{millis(median([r.last_p99_us for r in runs]))}"
        for name, runs in reports.items()
    }


def last_of_5000(session: Session) -> Row:
    """Measure the last of 5,000 connections with one publication in flight."""
    load = Load(5000, session.secs, settle=session.settle)
    reports = _beside(
        session, load, {"Nchan": peers.nchan, "ws": peers.ws, "Socket.IO": peers.socketio}
    )
    p50 = {name: [r.last_p50_us for r in runs] for name, runs in reports.items()}
    ours, bare = p50.get(ROOMCAST, []), p50.get(ALONE, [])
    comparisons = [
        Bar(1.3, 1.1, at_most=True).of(C_LOOP, median_ratio(ours, p50.get(C_LOOP, []))),
        Comparison(
            f"{C_LOOP} (gateway alone)", median_ratio(bare, p50.get(C_LOOP, [])), at_most=True
        ),
    ]
    comparisons += [
        Bar(1.0, at_most=True).of(name, median_ratio(ours, p50.get(name, [])))
        for name in ("Nchan", "ws", "Socket.IO")
    ]
    return Row(
        "last-of-5000",
        "last of 5,000 connections, one publication in flight, p50",
        figures_of(reports),
        comparisons,
        session.notes,
        p50,
    )


def four_in_flight(session: Session) -> Row:
    """Measure deliveries/s at 5,000 connections with four publications in flight."""
    load = Load(5000, session.secs, window=4, settle=session.settle)
    reports = _beside(session, load, {"NATS": peers.nats})
    rate = {name: [r.frames_per_s for r in runs] for name, runs in reports.items()}
    ours, bare = rate.get(ROOMCAST, []), rate.get(ALONE, [])
    comparisons = [
        Bar(2.0, 2.5).of(C_LOOP, median_ratio(ours, rate.get(C_LOOP, []))),
        Comparison(f"{C_LOOP} (gateway alone)", median_ratio(bare, rate.get(C_LOOP, []))),
        Comparison("NATS", median_ratio(ours, rate.get("NATS", []))),
    ]
    return Row(
        "four-in-flight",
        "5,000 connections, 4 in flight, deliveries/s",
        figures_of(reports),
        comparisons,
        session.notes,
        rate,
    )


def queued_64(session: Session) -> Row:
    """Measure deliveries/s at 1,000 connections with 64 jobs queued by LPUSH."""
    load = Load(1000, session.secs, window=64, settle=session.settle)
    reports = _beside(session, load, {"NATS": peers.nats})
    rate = {name: [r.frames_per_s for r in runs] for name, runs in reports.items()}
    ours, bare = rate.get(ROOMCAST, []), rate.get(ALONE, [])
    comparisons = [
        Bar(20, 40).of(C_LOOP, median_ratio(ours, rate.get(C_LOOP, []))),
        Bar(2, 4).of("NATS", median_ratio(ours, rate.get("NATS", []))),
        Comparison(f"{C_LOOP} (gateway alone)", median_ratio(bare, rate.get(C_LOOP, []))),
        Comparison("NATS (gateway alone)", median_ratio(bare, rate.get("NATS", []))),
    ]
    return Row(
        "queued-64",
        "1,000 connections, 64 jobs queued by LPUSH, deliveries/s",
        figures_of(reports),
        comparisons,
        session.notes,
        rate,
    )


def cost_per_delivery(session: Session) -> Row:
    """Measure the gateway's CPU per delivery from 100 to 10,000 connections."""
    sizes = (100, 1000, 5000, 10_000)
    loads = {n: Load(n, session.secs, settle=session.settle) for n in sizes}
    with gateway_and_worker(session) as stack:
        subjects: dict[str, Callable[[], Report]] = {
            f"{n:,} connections": through_worker(session, stack, loads[n]) for n in sizes
        }
        for n in (sizes[0], sizes[-1]):
            subjects[f"{C_LOOP}, {n:,} connections"] = _peer_subject(
                session, peers.c_loop, stack.redis_port, loads[n]
            )
        reports = session.rounds(subjects)
    cost = {n: [r.server_cpu / r.frames_per_s * 1e6 for r in runs] for n, runs in reports.items()}

    def growth(prefix: str) -> float | None:
        few, many = (cost.get(f"{prefix}{n:,} connections", []) for n in (sizes[0], sizes[-1]))
        return median_ratio(many, few)

    return Row(
        "cost-per-delivery",
        "cost per delivery from 100 to 10,000 connections",
        {name: f"{median(values):.2f} µs" for name, values in cost.items()},
        [
            Bar(1.3, 1.05, at_most=True).of("100 connections", growth("")),
            Comparison(f"the same of the {C_LOOP}", growth(f"{C_LOOP}, "), at_most=True),
        ],
        session.notes,
        cost,
    )


def _beside(
    session: Session, load: Load, others: Mapping[str, peers.Peer]
) -> dict[str, list[Report]]:
    """Measure the C loop, Roomcast through the worker and alone, and `others`, in rounds."""
    with gateway_and_worker(session) as stack, gateway_and_worker(session, BARE) as bare:
        subjects: dict[str, Callable[[], Report]] = {
            C_LOOP: lambda: measure_peer(session, peers.c_loop, stack.redis_port, load),
            ROOMCAST: through_worker(session, stack, load),
            ALONE: lambda: measure_alone(session, bare, load),
        }
        for name, peer in others.items():
            subjects[name] = _peer_subject(session, peer, stack.redis_port, load)
        return session.rounds(subjects)


def _peer_subject(
    session: Session, peer: peers.Peer, redis_port: int, load: Load
) -> Callable[[], Report]:
    return lambda: measure_peer(session, peer, redis_port, load)
