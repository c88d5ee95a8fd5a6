"""Starts `python -m deploy.local` on free ports and reads what it says."""

import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.local.parts import LOOPBACK
from deploy.local.stores import postgres
from deploy.processes import PROCESSES

PROJECT = Path(__file__).parents[3]
PORTS = (
    *(process.port.upper() for process in PROCESSES),
    *("VALKEY_PORT", "POSTGRES_PORT", "KAFKA_PORT"),
)
START_TIMEOUT_S = 120
OTHERS = ("REDIS_CLIENT", "DATABASE_URL", "KAFKA_BROKERS")


def free_ports(count: int) -> list[int]:
    servers = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def wait_until(reached: Callable[[], object], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class LocalStack:
    def __init__(self, data_dir: Path, environment: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.log = data_dir.with_suffix(".log")
        # Root's PostgreSQL is outside of the folder that pytest removes some day.
        atexit.register(
            shutil.rmtree, postgres.folder_for(data_dir.resolve() / "postgres"), ignore_errors=True
        )
        inherited = {name: value for name, value in os.environ.items() if name not in OTHERS}
        with self.log.open("wb") as log:
            self.console = subprocess.Popen(
                [sys.executable, "-m", "deploy.local"],
                cwd=PROJECT,
                env={
                    **inherited,
                    **{name: str(port) for name, port in self.ports.items()},
                    "DATA_DIR": str(data_dir),
                    "DRAIN_S": "0.2",
                    "VERBOSE": "1",
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.poll() is None:
            self.console.send_signal(signal.SIGTERM)
        self.console.wait(30)
        if error is not None:
            sys.stdout.write(self.said())

    def said(self) -> str:
        return self.log.read_text()

    def configuration(self) -> str:
        return (self.data_dir / "run/supervisord.conf").read_text()

    def wait_until_ready(self) -> None:
        wait_until(
            lambda: "Roomcast is ready" in self.said() or self.console.poll() is not None,
            "ready",
            START_TIMEOUT_S,
        )
        assert self.console.poll() is None, self.said()

    def _status(self) -> str:
        return subprocess.run(
            [
                *(sys.executable, "-m", "supervisor.supervisorctl"),
                *("-c", str(self.data_dir / "run/supervisord.conf"), "status"),
            ],
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    def pids(self) -> dict[str, int]:
        """Process id of every part, as supervisord tells."""
        status = self._status()
        found = re.findall(r"^(\w+) +(?:RUNNING) +pid (\d+)", status, re.MULTILINE)
        return {name: int(pid) for name, pid in found}

    def started_pids(self) -> dict[str, int]:
        """Process id of every part, as it was last started; it may be over."""
        log = (self.data_dir / "logs" / "runner.log").read_text()
        found = re.findall(r"spawned: '(\w+)' with pid (\d+)", log)
        return {name: int(pid) for name, pid in found}

    def url(self, port: str, path: str) -> str:
        return f"http://{LOOPBACK}:{self.ports[port]}{path}"

    def is_ready(self, port: str) -> bool:
        try:
            with urllib.request.urlopen(self.url(port, "/readyz"), timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def notify(self, body: Mapping[str, object]) -> Any:
        request = urllib.request.Request(
            self.url("PORT", "/notify"),
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 202
            return json.load(answer)


@contextmanager
def local_stack(data_dir: Path, **environment: str) -> Iterator[LocalStack]:
    with LocalStack(data_dir, environment) as stack:
        yield stack
