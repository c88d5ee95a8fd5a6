"""Run wsload and read its report."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from loadtests.bench.build import WSLOAD

CLIENT_CORE: Final = 1
NAP_US: Final = 200
"""The client sleeps this long between polls, so that it reads in batches."""
_SPARE_S: Final = 75.0


class LoadError(RuntimeError):
    """wsload failed, or what it measured can't be trusted; the message says why."""


class Report(msgspec.Struct, frozen=True):
    """Measurements of wsload. Microseconds, seconds of CPU per second, KiB; see wsload.c."""

    conns: int
    open: int
    connect_per_s: float
    seconds: float
    published: int
    frames: int
    frames_per_s: float
    mb_per_s: float
    lat_p50_us: float
    lat_p99_us: float
    last_n: int
    last_p50_us: float
    last_p99_us: float
    backlog: int
    undelivered: int
    lost: int
    gaps: int
    unnumbered: int
    client_cpu: float
    server_cpu: float
    steal: float
    kib_per_conn: float
    expected_s: float = 0.0
    total_frames: int = 0

    @property
    def bytes_per_frame(self) -> float:
        """Payload bytes of one delivery."""
        return self.mb_per_s * 1e6 / self.frames_per_s if self.frames_per_s else 0.0

    @property
    def contiguous(self) -> bool:
        """True if every connection received every message, once and in order."""
        return not (self.gaps or self.unnumbered or self.lost or self.undelivered)


@dataclass(frozen=True, slots=True)
class Target:
    """A server that wsload can drive: where clients connect, what they say, where messages go."""

    url: str
    pub: str | None = None
    chan: str = "broadcast"
    first: str | None = None
    answer: str | None = None
    template: Path | None = None
    pids: Sequence[int] = ()
    flags: Sequence[str] = ()
    options: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """One measurement: connections, seconds, and closed loop (`window`) or open loop (`rate`)."""

    conns: int
    secs: float
    window: int = 1
    rate: float | None = None
    warm: float = 0.5
    settle: float = 1.5
    nap_us: int = NAP_US
    most: int | None = None
    expect: int | None = None
    """Messages per connection until which to run, instead of `secs`."""


def command(target: Target, load: Load) -> list[str]:
    """Return the arguments of wsload for this target and load."""
    named: dict[str, object] = {
        "url": target.url,
        "conns": load.conns,
        "secs": load.secs,
        "warm": load.warm,
        "settle": load.settle,
        "nap": load.nap_us,
        "window": load.window,
        "rate": load.rate,
        "max": load.most,
        "expect": load.expect,
        "first": target.first,
        "answer": target.answer,
        "pub": target.pub,
        "chan": target.chan,
        "template": target.template,
        "pid": ",".join(map(str, target.pids)) or None,
        **target.options,
    }
    argv = [str(WSLOAD), *(f"--{flag}" for flag in target.flags)]
    for name, value in named.items():
        if value is not None:
            argv += [f"--{name}", str(value)]
    return argv


def run_load(target: Target, load: Load, may_close: bool = False) -> Report:
    """Run wsload on the client's core and return its report.

    With `may_close` it is a result, not a failure, that the server closes connections.

    Raises:
        LoadError: it failed, took too long, or lost connections.
    """
    argv = ["taskset", "-c", str(CLIENT_CORE), *command(target, load)]
    limit = load.secs + load.warm + load.settle + _SPARE_S
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"wsload did not end in {limit:.0f} s") from error
    if done.returncode:
        raise LoadError(f"wsload: {done.stderr.strip()[-500:]}")
    report = read_report(done.stdout)
    if report.open != load.conns and not may_close:
        raise LoadError(f"only {report.open} of {load.conns} connections stayed open")
    return report


def read_report(text: str) -> Report:
    """Parse what wsload printed.

    Raises:
        LoadError: it isn't a report.
    """
    try:
        return msgspec.json.decode(text, type=Report, strict=False)
    except msgspec.DecodeError as error:
        raise LoadError(f"wsload printed {text[:200]!r}") from error
