"""Starts `python -m ...` as forks of a process that has imported the libraries.

A process of ours spends a second of CPU time on importing, two while its coverage is measured, and
the tests start hundreds. What is imported beforehand is third-party only: our own modules run in
each process from their first line. tests/system/local and tests/system/compose start the real
command lines.

The server is this module as a program. It reads a request per line from its standard input and
answers with a line, JSON both; it ends with its input.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[3]
_POLL_S: Final = 0.005
# Not prometheus_client: while it is imported it looks whether there are several processes.
_LIBRARIES: Final = (
    "aiohttp.web", "alembic.command", "asyncpg", "confluent_kafka", "cryptography.fernet",
    "hiredis", "httptools", "jwt", "limits.aio.storage", "msgspec", "pydantic_settings",
    "redis.asyncio", "sqlalchemy.ext.asyncio", "uuid_utils", "uvloop", "wsproto",
    # What prometheus_client needs, and what `limits` looks for.
    "http.server", "wsgiref.simple_server", "pythonjsonlogger.json", "valkey.asyncio",
)  # fmt: skip


class Forked:
    """A process that the server started; it has what `subprocess.Popen` has."""

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self._server = server
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it runs still.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(_POLL_S)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        # Until it was asked for, the status keeps the process id from being given to another.
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The server, of this test run."""

    def __init__(self) -> None:
        # Coverage begins in the forks, with the code that is measured.
        own = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "tests.support.processes.fork_server"],
            cwd=ROOT,
            env={**own, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()
        atexit.register(self._end)

    def start(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        log: Path,
        errors: Path | None = None,
    ) -> Forked:
        """Start a module, as `python -m` does.

        Args:
            arguments: its name and what follows.
            folder: to run in.
            environment: all of it.
            log: what its output is appended to.
            errors: what its standard error is appended to; the same unless given.
        """
        pid: int = self.ask(
            start=list(arguments),
            folder=str(folder),
            environment=dict(environment),
            log=str(log),
            errors=str(errors or log),
        )
        return Forked(self, pid)

    def ask(self, **request: Any) -> Any:
        """Send a request, and return the answer."""
        assert self._popen.stdin
        assert self._popen.stdout
        with self._lock:
            self._popen.stdin.write(f"{json.dumps(request)}\n")
            self._popen.stdin.flush()
            return json.loads(self._popen.stdout.readline())

    def _end(self) -> None:
        assert self._popen.stdin
        assert self._popen.stdout
        self._popen.stdin.close()
        self._popen.stdout.close()
        self._popen.wait()


@cache
def fork_server() -> ForkServer:
    """The one of this test run; started when it is first asked for."""
    return ForkServer()


def _serve() -> dict[str, Any] | None:
    """Answer until the input ends; in a fork, return what it is to be."""
    for line in iter(sys.stdin.readline, ""):
        request: dict[str, Any] = json.loads(line)
        if "start" in request:
            answer: int | None = os.fork()
            if answer == 0:
                return request
        else:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    return None


def _become(request: dict[str, Any]) -> None:
    module, *arguments = request["start"]
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    to = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    log, errors = (os.open(request[name], to, 0o644) for name in ("log", "errors"))
    for target, number in enumerate((nothing, log, errors)):
        os.dup2(number, target)
        os.close(number)
    sys.path[0] = request["folder"]
    sys.argv = [module, *arguments]
    if "COVERAGE_PROCESS_CONFIG" in os.environ:
        importlib.import_module("coverage").process_startup()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for library in _LIBRARIES:
        importlib.import_module(library)
    # What is never collected is never written to, and so stays shared.
    gc.collect()
    gc.freeze()
    wanted = _serve()
    if wanted is not None:
        _become(wanted)
