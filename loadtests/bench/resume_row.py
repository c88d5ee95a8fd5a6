"""The resume storm: thousands of clients come back at once, each behind by a hundred messages."""

import json
import subprocess
import time
from typing import Final

from common.model.channels import room_channel
from loadtests.bench.fanout_rows import gateway_and_worker, trusted
from loadtests.bench.load import (
    CLIENT_CORE,
    Load,
    LoadError,
    Report,
    Target,
    command,
    read_report,
    run_load,
)
from loadtests.bench.rows import Bar, Comparison, Row, millis
from loadtests.bench.session import Session, median, median_ratio
from loadtests.bench.targets import private_by_lpush, room_by_lpush
from loadtests.stack import Stack

CLIENTS: Final = 5_000
BEHIND: Final = 100
PRIVATE_USERS: Final = 50
PRIVATE_PER_S: Final = 97.0
STORM_LEAD_S: Final = 1.5
"""The probe of others' messages runs this long before the storm breaks."""
STORM_STAYS_S: Final = 3.0
"""Those who came back stay until the probe is over: their parting is no part of the storm."""


def _behind(session: Session, stack: Stack, room: str) -> Target:
    """Clients that last saw offset 0 of a room in which `BEHIND` messages came since."""
    epoch, offset = stack.position(room_channel(room))
    if offset != BEHIND:
        raise LoadError(f"{room} is at {offset}, not at {BEHIND}")
    resume = {room_channel(room): {"epoch": epoch, "offset": 0}}
    target = room_by_lpush(session.processes, stack, room)
    first = json.dumps({"userId": "back-%d", "room": room, "resume": resume})
    # Nothing is published while they come back.
    return Target(target.url, first=first, answer=target.answer, flags=target.flags)


def _live(session: Session, stack: Stack, room: str) -> Report:
    """Send as many messages to as many clients that are there."""
    load = Load(CLIENTS, 1.0, window=BEHIND, most=BEHIND, expect=BEHIND, settle=session.settle)
    return _complete(run_load(room_by_lpush(session.processes, stack, room), load))


def _complete(report: Report) -> Report:
    if report.expected_s <= 0 or report.total_frames != CLIENTS * BEHIND or report.gaps:
        raise LoadError(
            f"{report.total_frames} of {CLIENTS * BEHIND} messages came, with {report.gaps} gaps"
        )
    return report


def resume_storm(session: Session) -> Row:
    """Measure the storm beside the same messages sent live, and others' latency during it."""
    numbers = iter(range(1, 1_000))
    probes: dict[str, list[float]] = {"quiet": [], "storm": []}
    with gateway_and_worker(session) as stack:

        def probe(kind: str, secs: float) -> "subprocess.Popen[str]":
            target = private_by_lpush(session.processes, stack, f"{kind}{next(numbers)}-")
            load = Load(PRIVATE_USERS, secs, rate=PRIVATE_PER_S, settle=0.5, nap_us=0)
            argv = ["taskset", "-c", str(CLIENT_CORE), *command(target, load)]
            return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

        def take(kind: str, beside: "subprocess.Popen[str]") -> None:
            out, _ = beside.communicate(timeout=60)
            probes[kind].append(trusted(read_report(out)).lat_p99_us)

        def live() -> Report:
            room = f"storm-{next(numbers)}"
            take("quiet", probe("quiet", 3.0))
            report = _live(session, stack, room)
            rooms.append(room)
            return report

        def storm() -> Report:
            beside = probe("storm", 4.0)
            time.sleep(STORM_LEAD_S)
            # The client of the storm must not hold up the one that takes the time.
            load = Load(CLIENTS, 1.0, expect=BEHIND, settle=STORM_STAYS_S)
            target = _behind(session, stack, rooms[-1])
            argv = ["nice", "-n", "10", "taskset", "-c", str(CLIENT_CORE), *command(target, load)]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False)
            take("storm", beside)
            if done.returncode:
                raise LoadError(f"wsload: {done.stderr.strip()[-500:]}")
            return _complete(read_report(done.stdout))

        rooms: list[str] = []
        reports = session.rounds({"live": live, "storm": storm})
    took = {name: [r.expected_s for r in runs] for name, runs in reports.items()}
    figures = {name: f"{median(values):.2f} s" for name, values in took.items()}
    for kind, values in probes.items():
        if values:
            figures[f"others' private messages, {kind}"] = f"p99 {millis(median(values))}"
    return Row(
        "resume-storm",
        f"{CLIENTS:,} clients come back at once, {BEHIND} messages behind each",
        figures,
        [
            Comparison(
                "sending the same messages live",
                median_ratio(took.get("storm", []), took.get("live", [])),
                at_most=True,
            ),
            Bar(3, at_most=True).of(
                "others' quiet p99", median_ratio(probes["storm"], probes["quiet"])
            ),
        ],
        session.notes,
        took,
    )
