"""The rows about a private message: during a broadcast to others, and from POST to socket."""

import subprocess
import time
from collections.abc import Callable
from typing import Final

from loadtests.bench.fanout_rows import ALONE, BARE, ROOMCAST, gateway_and_worker, trusted
from loadtests.bench.load import CLIENT_CORE, Load, Report, Target, command, read_report, run_load
from loadtests.bench.rows import Bar, Comparison, Row, count, millis
from loadtests.bench.session import Session, median, median_ratio
from loadtests.bench.targets import (
    private_by_lpush,
    private_by_post,
    private_by_publish,
    room_by_lpush,
    room_by_publish,
)
from loadtests.stack import Stack, roomcast

MEMBERS: Final = 1000
FLOOD_PER_S: Final = 75.0
"""Publications/s to a room of `MEMBERS`: 75,000 deliveries/s."""
PRIVATE_USERS: Final = 50
PRIVATE_PER_S: Final = 97.0
"""Shares no factor with the flood's rate, so that every phase of a broadcast is met."""
IDLE_CONNS: Final = 5000

Route = tuple[Callable[[str], Target], Callable[[str], Target]]


class _Probe:
    """Private messages beside 1,000 members of a room, idle or flooded; users are new each time."""

    def __init__(
        self,
        session: Session,
        room: Callable[[str], Target],
        private: Callable[[str], Target],
        name: str,
    ) -> None:
        self.session, self.room, self.private, self.name = session, room, private, name
        self.number = 0
        self.floods: list[float] = []

    def measure(self, flooded: bool) -> Report:
        """Run both clients; the report is that of the private messages."""
        self.number += 1
        members = self.room(f"{self.name}-room-{self.number}")
        settle = self.session.settle
        lead = settle + 2.0  # until the flood's connections are there and it is under way
        secs = self.session.secs + settle + 1.0 + lead
        flood = Load(MEMBERS, secs, rate=FLOOD_PER_S, settle=settle, most=None if flooded else 0)
        # The client of the flood must not hold up the client that takes the time.
        argv = ["nice", "-n", "10", "taskset", "-c", str(CLIENT_CORE), *command(members, flood)]
        beside = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        try:
            time.sleep(lead)
            load = Load(
                PRIVATE_USERS, self.session.secs, rate=PRIVATE_PER_S, settle=settle, nap_us=0
            )
            report = trusted(run_load(self.private(f"{self.name}{self.number}-"), load))
            out, _ = beside.communicate(timeout=secs + 30)
        finally:
            beside.kill()
            beside.wait()
        if flooded:
            self.floods.append(trusted(read_report(out)).frames_per_s)
        return report


def private_during_broadcast(session: Session) -> Row:
    """Measure a private message's p50 during 75,000 deliveries/s to others, beside its idle p50."""
    made = session.processes
    with gateway_and_worker(session) as stack, gateway_and_worker(session, BARE) as bare:
        whole = _Probe(
            session,
            lambda room: room_by_lpush(made, stack, room),
            lambda prefix: private_by_lpush(made, stack, prefix),
            "w",
        )
        alone = _Probe(
            session,
            lambda room: room_by_publish(made, bare, room),
            lambda prefix: private_by_publish(made, bare, prefix),
            "a",
        )
        reports = session.rounds(
            {
                f"{ROOMCAST}, idle": lambda: whole.measure(False),
                f"{ROOMCAST}, during": lambda: whole.measure(True),
                f"{ALONE}, idle": lambda: alone.measure(False),
                f"{ALONE}, during": lambda: alone.measure(True),
            }
        )
    p50 = {name: [r.lat_p50_us for r in runs] for name, runs in reports.items()}
    figures = _latencies(reports)
    figures["deliveries to others"] = f"{count(median(whole.floods))}/s"

    def ratio(name: str) -> float | None:
        return median_ratio(p50.get(f"{name}, during", []), p50.get(f"{name}, idle", []))

    return Row(
        "private-during-broadcast",
        "a private message during a 75,000/s broadcast to others, p50",
        figures,
        [
            Bar(2.5, 1.5, at_most=True).of("its idle p50", ratio(ROOMCAST)),
            Comparison("its idle p50 (gateway alone)", ratio(ALONE), at_most=True),
        ],
        session.notes,
        p50,
    )


def post_to_socket(session: Session) -> Row:
    """Measure POST to socket at 5,000 idle connections, beside a bare PUBLISH."""
    load = Load(IDLE_CONNS, session.secs, settle=session.settle, nap_us=0)
    made = session.processes
    numbers = iter(range(1, 1000))
    with roomcast(made, session.cores, env=BARE) as stack:
        stack.warm_up()

        def measure(target: Callable[..., Target], stack: Stack = stack) -> Report:
            return trusted(run_load(target(made, stack, f"u{next(numbers)}-"), load))

        reports = session.rounds(
            {
                "POST /notify": lambda: measure(private_by_post),
                "bare PUBLISH": lambda: measure(private_by_publish),
            }
        )
    p50 = {name: [r.lat_p50_us for r in runs] for name, runs in reports.items()}
    ratio = median_ratio(p50.get("POST /notify", []), p50.get("bare PUBLISH", []))
    return Row(
        "post-to-socket",
        "POST to socket, private, 5,000 idle connections, p50",
        _latencies(reports),
        [Bar(5, 3, at_most=True).of("a bare PUBLISH", ratio)],
        session.notes,
        p50,
    )


def _latencies(reports: dict[str, list[Report]]) -> dict[str, str]:
    return {
        name: f"p50 {millis(median([r.lat_p50_us for r in runs]))}, "
        f"p99 {millis(median([r.lat_p99_us for r in runs]))}"
        for name, runs in reports.items()
    }
