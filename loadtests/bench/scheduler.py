"""Sharing of the processor among the processes of a benchmark.

Linux with autogroups, as on a desktop, shares it out among terminal sessions first, and PostgreSQL
makes one of each of its processes: their niceness counts for nothing then. In a cgroup, where
services and containers run, there are no autogroups (sched(7), "The autogroup feature").
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from loadtests.bench.session import say

_AUTOGROUPS: Final = Path("/proc/sys/kernel/sched_autogroup_enabled")
_CONTROLLER: Final = Path("/sys/fs/cgroup/cpu")
_PROCESSES: Final = "cgroup.procs"


@contextlib.contextmanager
def as_a_service() -> Iterator[None]:
    """Run the block, and all that is started in it, as a service would be.

    Where it can't (it takes root, and version 1 of cgroups), it says so and goes on.
    """
    group = _CONTROLLER / f"roomcast-bench-{os.getpid()}"
    joined = False
    try:
        if _has_autogroups() and _is_in_the_root():
            group.mkdir()
            _join(group)
            joined = True
    except OSError as error:
        say(f"autogroups stay as they are, and niceness may not count: {error}")
    try:
        yield
    finally:
        if joined:
            _join(_CONTROLLER)
            with contextlib.suppress(OSError):  # somebody is in it still
                group.rmdir()


def _has_autogroups() -> bool:
    return _AUTOGROUPS.exists() and _AUTOGROUPS.read_text().strip() == "1"


def _is_in_the_root() -> bool:
    """Return whether this process has no cgroup for the processor.

    Lines are `number:controllers:path`; version 2 has one without controllers.
    """
    groups = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))
    return groups.get("cpu", groups.get("")) == "/"


def _join(group: Path) -> None:
    (group / _PROCESSES).write_text(str(os.getpid()))
