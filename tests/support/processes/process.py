"""Processes of tests: started here, on free loopback ports, and ended by their ids."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.support.processes.fork_server import Forked, fork_server

ROOT: Final = Path(__file__).parents[3]
LOOPBACK: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
_PORTS: Final = range(15_000, 32_000)
_SIDES: Final = 4
_given_out: set[int] = set()


def _ports() -> range:
    """Those of this one of the test runs side by side; they share no ports."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    assert number < _SIDES
    size = len(_PORTS) // _SIDES
    return _PORTS[number * size : (number + 1) * size]


def free_port() -> int:
    """A free port below the range that outgoing connections get.

    A part that is killed must find its port again; from the ephemeral range a client could be given
    it meanwhile, or even connect to itself.
    """
    for port in random.SystemRandom().sample(_ports(), 1_000):
        if port in _given_out:
            continue
        with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)):
            _given_out.add(port)
            return port
    raise AssertionError("no free port")


def wait_for(reached: Callable[[], bool], process: "Process", what: str, timeout_s: float) -> None:
    """Wait, blocking, until something is so, while a process lives."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert process.is_alive, f"{process.name} ended:\n{process.log_tail()}"
        assert time.monotonic() < deadline, (
            f"{process.name} is not {what} after {timeout_s:g} s:\n{process.log_tail()}"
        )
        time.sleep(0.02)


class Process:
    """One process of ours, with a log file; it can be started again as it was."""

    def __init__(
        self, name: str, argv: list[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._argv = argv
        self._folder = folder
        self._environment = environment
        self._popen: subprocess.Popen[bytes] | Forked | None = None

    def start(self) -> None:
        """Start it, which must not be running; its output is appended to the log."""
        assert not self.is_alive
        if self._argv[:2] == [sys.executable, "-m"]:
            self._popen = fork_server().start(
                self._argv[2:], self._folder, self._environment, self.log
            )
            return
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._argv,
                cwd=self._folder,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def children(self) -> list[int]:
        """Process ids of its children (replicas, if it has any), now."""
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    def signal(self, number: int) -> None:
        """Send a signal; SIGKILL is waited for."""
        assert self._popen is not None
        self._popen.send_signal(number)
        if number == signal.SIGKILL:
            self._popen.wait()

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for its end and return its status."""
        assert self._popen is not None
        return self._popen.wait(timeout_s)

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL if that takes too long."""
        if self._popen is None or self._popen.poll() is not None:
            return
        self._popen.send_signal(signal.SIGCONT)
        self._popen.terminate()
        try:
            self._popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def log_tail(self, size: int = 4_000) -> str:
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    def log_lines(self) -> list[dict[str, Any]]:
        """What it logged, as the JSON objects that they are."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]
