"""The open-loop row: does Roomcast keep up with a rate that doesn't wait for it?"""

from collections.abc import Callable

from loadtests.bench import fanout_peers as peers
from loadtests.bench.fanout_rows import C_LOOP, gateway_and_worker, measure_peer
from loadtests.bench.load import Load, Report, run_load
from loadtests.bench.rows import Bar, Row, count, millis
from loadtests.bench.session import Session, median
from loadtests.bench.targets import broadcast_by_lpush

CONNS = 1000
TIMES = (2, 10)
BACKLOG_S = 0.1
"""A backlog at the end of under this many seconds of the rate is what was just under way."""


def keeps_up(report: Report, rate: float) -> bool:
    """Return whether everything arrived in order at `rate` deliveries/s, with no growing queue."""
    stayed = report.open == report.conns
    return stayed and report.contiguous and report.backlog <= rate * BACKLOG_S


def open_loop(session: Session) -> Row:
    """Measure at 2 and 10 times the deliveries/s that the C send loop reaches in the same round."""
    reached: list[float] = []
    backlogs: dict[str, list[float]] = {f"at {n} ×": [] for n in TIMES}
    kept: dict[str, list[bool]] = {f"at {n} ×": [] for n in TIMES}
    with gateway_and_worker(session) as stack:
        target = broadcast_by_lpush(session.processes, stack)

        def c_loop() -> Report:
            load = Load(CONNS, session.secs, window=64, settle=session.settle)
            report = measure_peer(session, peers.c_loop, stack.redis_port, load)
            reached.append(report.frames_per_s)
            return report

        def at(times: int) -> Callable[[], Report]:
            def measure() -> Report:
                rate = reached[-1] * times
                load = Load(CONNS, session.secs, rate=rate / CONNS, settle=session.settle)
                report = run_load(target, load, may_close=True)
                backlogs[f"at {times} ×"].append(report.backlog / rate * 1e3)
                kept[f"at {times} ×"].append(keeps_up(report, rate))
                return report

            return measure

        reports = session.rounds({C_LOOP: c_loop, **{f"at {n} ×": at(n) for n in TIMES}})
    figures = {C_LOOP: f"{count(median(reached))}/s"}
    kept_times = 0
    for times in TIMES:
        name = f"at {times} ×"
        runs = reports.get(name, [])
        if not runs:
            continue
        good = sum(kept[name])
        kept_times = times if good * 2 > len(kept[name]) else kept_times
        figures[name] = (
            f"{count(median([r.frames_per_s for r in runs]))}/s, backlog at the end "
            f"{median(backlogs[name]):.1f} ms of the rate, {sum(r.gaps for r in runs)} gaps, "
            f"{sum(r.conns - r.open for r in runs)} connections cut off, "
            f"last of N p50 {millis(median([r.last_p50_us for r in runs]))}, "
            f"p99 {millis(median([r.last_p99_us for r in runs]))}; kept up in {good} of {len(runs)}"
        )
    return Row(
        "open-loop",
        "open loop, 1,000 connections: the rate it keeps up with",
        figures,
        [Bar(2, 10).of(C_LOOP, float(kept_times))],
        session.notes,
        {name: [r.last_p99_us for r in runs] for name, runs in reports.items()},
    )
