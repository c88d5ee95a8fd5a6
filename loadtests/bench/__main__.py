"""`python -m loadtests.bench`: measure, print the table, and write it for the docs."""

import argparse
import datetime
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from loadtests.bench import fanout_rows, machine, report
from loadtests.bench.auth_row import cost_of_credentials
from loadtests.bench.bridge_row import bridge
from loadtests.bench.build import BuildError, build
from loadtests.bench.cost_row import cost_of_readers
from loadtests.bench.curves_row import curves
from loadtests.bench.history_row import history
from loadtests.bench.inbox_row import inbox
from loadtests.bench.ingest_row import server
from loadtests.bench.latency_rows import post_to_socket, private_during_broadcast
from loadtests.bench.open_loop_row import open_loop
from loadtests.bench.plot import draw
from loadtests.bench.resource_rows import handshakes, memory
from loadtests.bench.resume_row import resume_storm
from loadtests.bench.rows import Row
from loadtests.bench.scheduler import as_a_service
from loadtests.bench.session import FAILURES, OTHER_CORE, SERVER_CORE, Session, needs_two_cores, say
from loadtests.bench.worker_row import worker
from loadtests.processes import ROOT, Processes, raise_open_files
from loadtests.stack import Cores

ROWS: Final[dict[str, Callable[[Session], Row]]] = {
    "last-of-5000": fanout_rows.last_of_5000,
    "four-in-flight": fanout_rows.four_in_flight,
    "queued-64": fanout_rows.queued_64,
    "open-loop": open_loop,
    "private-during-broadcast": private_during_broadcast,
    "post-to-socket": post_to_socket,
    "memory": memory,
    "handshakes": handshakes,
    "cost-per-delivery": fanout_rows.cost_per_delivery,
    "resume-storm": resume_storm,
    "server": server,
    "worker": worker,
    "inbox": inbox,
    "history": history,
    "bridge": bridge,
    "cost-of-readers": cost_of_readers,
    "cost-of-credentials": cost_of_credentials,
    "curves": curves,
}
RESULTS: Final = ROOT / "loadtests" / "results"
DOCS: Final = ROOT / "docs" / "design"


def arguments() -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: it is wrong, or only asks for help.
    """
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS), help="of %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="rounds; medians are reported")
    parser.add_argument("--secs", type=float, default=3.0, help="measured seconds of each run")
    parser.add_argument(
        "--quick", action="store_true", help="1 run of 1 s: only shows that it works"
    )
    parser.add_argument(
        "--worker-core", type=int, choices=(0, 1), default=SERVER_CORE, help="in the fan-out rows"
    )
    parser.add_argument(
        "--server-core", type=int, choices=(0, 1), default=OTHER_CORE, help="in post-to-socket"
    )
    parser.add_argument(
        "--merge", action="store_true", help="take other rows from the last results"
    )
    parser.add_argument(
        "--docs",
        action=argparse.BooleanOptionalAction,
        help="write docs/design/benchmarks.md, .svg (default: when all rows ran, and not --quick)",
    )
    options = parser.parse_args()
    options.rows = options.rows.split(",")
    unknown = [key for key in options.rows if key not in ROWS]
    if unknown or not 1 <= options.runs <= 20 or not 0.5 <= options.secs <= 60:
        parser.error(f"unknown row {unknown[0]}" if unknown else "1-20 runs of 0.5-60 seconds")
    return options


def measure(session: Session, keys: list[str]) -> list[Row]:
    """Measure the rows; one that can't be says why and the others go on."""
    rows = []
    for key in keys:
        say(f"{key}")
        session.start_row()
        try:
            row = ROWS[key](session)
        except FAILURES as error:
            say(f"  {error}")
            first_line = str(error).partition("\n")[0]
            row = Row(key, key, {}, [], [*session.notes, first_line], {})
        row.date = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d")
        rows.append(row)
    return rows


def write(results: report.Results, folder: Path) -> None:
    """Write the page and its plot into `folder`.

    Raises:
        OSError: a file can't be written.
    """
    plot = folder / "benchmarks.svg"
    drawn = [row for row in results.rows if row.curves]
    if drawn:
        draw(drawn[0], plot)
    page = report.markdown(results, plot if drawn else None)
    (folder / "benchmarks.md").write_text(page)
    say(f"written: {folder / 'benchmarks.md'}")


def main() -> int:
    """Run it; the exit status is 1 when a row could not be measured."""
    options = arguments()
    needs_two_cores()
    raise_open_files()
    try:
        build()
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    runs, secs = (1, 1.0) if options.quick else (options.runs, options.secs)
    cores = Cores(SERVER_CORE, options.worker_core, options.server_core, OTHER_CORE)
    with as_a_service(), Processes() as processes:
        rows = measure(Session(processes, runs, secs, options.quick, cores), options.rows)
    asked = f"{runs} runs of {secs:g} s, worker on core {options.worker_core}"
    results = report.Results(machine.describe(), machine.commit(), asked, rows)
    saved = RESULTS / ("bench-quick.json" if options.quick else "bench.json")
    if options.merge:
        results = report.merged(report.load(saved), results, list(ROWS))
    report.save(results, saved)
    sys.stdout.write(report.table(results.rows) + "\n\n")
    for note in report.notes(results.rows):
        sys.stdout.write(f"not measured: {note}\n")
    complete = {row.key for row in results.rows} == set(ROWS)
    to_docs = options.docs if options.docs is not None else complete and not options.quick
    write(results, DOCS if to_docs else RESULTS)
    return 1 if any(row.notes for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
