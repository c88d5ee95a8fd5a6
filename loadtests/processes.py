"""Start processes on chosen cores, wait until they serve, and stop exactly those."""

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
"""The repository."""
START_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 5.0
OPEN_FILES: Final = 65_536
_taken: set[int] = set()


class StartError(RuntimeError):
    """A process ended or did not serve in time; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process of ours: its name, its handle and the file that holds its output."""

    name: str
    popen: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        """Process id."""
        return self.popen.pid

    @property
    def pids(self) -> list[int]:
        """The process and its children, at this moment."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [self.pid, *(int(child) for child in children.read_text().split())]

    def cpu_s(self) -> float:
        """CPU time of the process alone so far, in seconds (to the clock tick, 10 ms)."""
        # Behind the name, which may hold anything, the 12th and 13th field; see proc(5).
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log_tail(self) -> str:
        """Return the last 2,000 characters that it printed."""
        return self.log.read_text(errors="replace")[-2000:]


@dataclass(slots=True)
class Processes:
    """Started processes, in their own scratch folder. As a context manager it stops them all."""

    scratch: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="roomcast-load-")))
    started: list[Started] = field(default_factory=list)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.started):
            stop(process)
        self.started.clear()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        core: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Started:
        """Start `argv` in the scratch folder, pinned to `core`, its output in a log file.

        Raises:
            OSError: the program cannot be started.
        """
        log = self.scratch / f"{len(self.started)}-{name}.log"
        pinned = [*(("taskset", "-c", str(core)) if core is not None else ()), *map(str, argv)]
        with log.open("wb") as out:
            popen = subprocess.Popen(
                pinned,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.scratch,
                env={**os.environ, **(env or {})},
                process_group=0,  # a Ctrl-C in the terminal is for us, and we stop them
            )
        process = Started(name, popen, log)
        self.started.append(process)
        return process

    @contextlib.contextmanager
    def running(
        self,
        name: str,
        argv: Sequence[str | Path],
        core: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Iterator[Started]:
        """`start`, and stop at the end of the block.

        Raises:
            OSError: the program cannot be started.
        """
        process = self.start(name, argv, core, env)
        try:
            yield process
        finally:
            self.stop(process)

    def ended(self) -> list[str]:
        """Return which of them ended by themselves or by somebody else's hand, and how."""
        return [
            f"{process.name} ended with status {status}"
            for process in self.started
            if (status := process.popen.poll()) is not None
        ]

    def stop(self, process: Started) -> None:
        """Stop one of them now."""
        stop(process)
        self.started.remove(process)


def stop(process: Started) -> None:
    """SIGTERM, then SIGKILL if it does not end in time."""
    if process.popen.poll() is None:
        process.popen.terminate()
        try:
            process.popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.popen.kill()
    process.popen.wait()


def wait_until(
    what: Callable[[], bool], process: Started, timeout_s: float = START_TIMEOUT_S
) -> None:
    """Poll `what` until it is true.

    Raises:
        StartError: `process` ended before, or the time ran out.
    """
    deadline = time.monotonic() + timeout_s
    while not what():
        status = process.popen.poll()
        if status is not None:
            ended = f"{process.name} ended at start with status {status}"
            raise StartError(f"{ended}:\n{process.log_tail()}")
        if time.monotonic() > deadline:
            raise StartError(f"{process.name} does not serve:\n{process.log_tail()}")
        time.sleep(0.05)


def printed(process: Started, text: str) -> Callable[[], bool]:
    """Return whether `process` has printed `text`."""
    return lambda: text in process.log.read_text(errors="replace")


def accepts(port: int) -> Callable[[], bool]:
    """Return whether a server listens on the loopback port."""

    def check() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return check


def answers_ok(port: int, path: str) -> Callable[[], bool]:
    """Return whether GET of `path` is answered with 200."""

    def check() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return check


def free_port() -> int:
    """Return a loopback port that is free right now, and never the same one twice.

    Ports below the ephemeral range, so that no outgoing connection takes one meanwhile.
    """
    for port in range(21_000 + os.getpid() % 4_000, 32_000):
        if port in _taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _taken.add(port)
        return port
    raise StartError("no free port")


def raise_open_files() -> None:
    """Let this process, and so those it starts, open as many files as the system allows."""
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
