"""Options shared by all rows of a session: duration, number of runs, and the rounds."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import redis

from loadtests.bench.load import LoadError
from loadtests.processes import Processes, StartError
from loadtests.stack import Cores

SERVER_CORE: Final = 0
OTHER_CORE: Final = 1
FANOUT_CORES: Final = Cores(SERVER_CORE, OTHER_CORE, OTHER_CORE, OTHER_CORE)
T = TypeVar("T")


class MissingError(RuntimeError):
    """A peer isn't installed here; the message names it and says how to install it."""


FAILURES: Final = (
    MissingError,
    LoadError,
    StartError,
    OSError,
    redis.RedisError,
    subprocess.SubprocessError,
)
"""Errors that end one measurement, with a note, but not the session."""


@dataclass(slots=True)
class Session:
    """Options of a session and its processes."""

    processes: Processes
    runs: int = 3
    secs: float = 3.0
    quick: bool = False
    cores: Cores = FANOUT_CORES
    notes: list[str] = field(default_factory=list)
    """Failures and gaps of the current row; `start_row` empties it."""

    @property
    def settle(self) -> float:
        """Idle seconds after connecting."""
        return 0.5 if self.quick else 1.5

    def start_row(self) -> None:
        """Forget the notes of the row before."""
        self.notes = []

    def rounds(self, subjects: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
        """Measure the subjects in turn, `runs` times over, so that they share the machine's noise.

        A subject that is missing or fails is dropped from the rest, with a note.
        """
        results: dict[str, list[T]] = {name: [] for name in subjects}
        dropped: set[str] = set()
        for number in range(self.runs):
            for name, measure in subjects.items():
                if name in dropped:
                    continue
                say(f"  {number + 1}/{self.runs} {name}")
                try:
                    results[name].append(measure())
                except FAILURES as error:
                    dropped.add(name)
                    first_line = str(error).partition("\n")[0]
                    ended = ", ".join(self.processes.ended())
                    self.notes.append(f"{name}: {first_line}" + (f" ({ended})" if ended else ""))
                    say(f"    {error}")
                time.sleep(0.2)
        return {name: found for name, found in results.items() if found}


def say(text: str) -> None:
    """Print the progress to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def median(values: Sequence[float]) -> float:
    """Median; of nothing, not a number."""
    return statistics.median(values) if values else float("nan")


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Median of the ratios round by round, or None without a common round."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=False) if b > 0]
    return statistics.median(ratios) if ratios else None


def needs_two_cores() -> None:
    """End the program where the measurement is impossible.

    Raises:
        SystemExit: this isn't Linux, or there are fewer than two cores.
    """
    if sys.platform != "linux" or (os.cpu_count() or 1) < 2:
        raise SystemExit("make bench needs Linux (epoll, taskset) and two cores")
