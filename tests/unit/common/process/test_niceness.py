"""A process that gives way does so for good, and never takes more than it had."""

import os
import subprocess
import sys


def niceness_after(*steps: int) -> list[int]:
    """Niceness after each step, in a process of its own."""
    program = (
        "import os, sys; from common.process.niceness import yield_to_others\n"
        "for step in map(int, sys.argv[1:]):\n"
        "    yield_to_others(step); print(os.getpriority(os.PRIO_PROCESS, 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, steps)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line) for line in done.stdout.split()]


def test_it_gives_way_and_stays_so() -> None:
    here = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness_after(0, here + 3, here + 1) == [here, here + 3, here + 3]
