"""Real parts for tests: a Valkey and Roomcast's processes, on free loopback ports.

    with Stack(tmp_path, gateways=2, workers=3) as stack:  # or the fixtures of tests/conftest.py
        async with Client(stack.ws_urls[0], user=1, room=[1, 2]) as client:
            answer = await post(stack, {"type": "room", "userId": 2, "target": 1, "message": "hi"})
            await until(lambda: client.ids == [answer.id])

Processes are named `server-1`, `worker-1`, `gateway-1`, … Starting, killing and restarting block;
in a test whose event loop must go on meanwhile, use `await asyncio.to_thread(stack.restart, name)`.
Nothing runs on a fixed port, nothing is ended but by the process id that was started here.
"""

import contextlib
import http.client
import json
import os
import signal
import ssl
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from common.config.settings import Settings
from common.model.ids import new_id
from common.redis.shards import Shards
from deploy.processes import PROCESSES
from tests.support.processes.fork_server import fork_server
from tests.support.processes.process import (
    LOOPBACK,
    ROOT,
    START_TIMEOUT_S,
    Process,
    free_port,
    wait_for,
)
from tests.support.stores.postgres import Postgres, session_postgres
from tests.support.stores.valkey import Valkey
from tests.support.waiting import WAIT_TIMEOUT_S

if TYPE_CHECKING:
    from tests.support.credentials import Made

SHARDS: Final = Shards()
KEYS: Final = SHARDS.only
GLOBAL_KEYS: Final = SHARDS.global_keys
_KINDS: Final = {process.name: process for process in PROCESSES}
stacks: "list[Stack]" = []
"""Every stack that runs, for the logs of a failed test."""


class Stack:
    """Roomcast. A context manager: it starts what it was asked for and ends everything.

    Args:
        folder: for data and logs.
        servers, workers, gateways, history: how many processes of each, on a port each.
        bridges: Kafka bridges; they need the settings `KAFKA_BROKERS` and `EVENT_READERS`.
        valkey: another Valkey than one with default settings; it is started if need be, and ended.
        database: whether there is a database; there is one where there is `history`.
        postgres: another PostgreSQL than the one of the session; it is the caller's.
        ca_file: authorities of the certificate in the settings, if server and gateway speak TLS.
        settings: of every process, for instance `LEASE_S="1"`. No `.env` is read.
    """

    made: "Made | None" = None
    """The client application whose notifications a flow sends; None: no credentials are needed."""
    operator = ""
    """API key of an operator, where credentials are required: metrics are for operators only."""

    def __init__(
        self,
        folder: Path,
        *,
        servers: int = 1,
        workers: int = 1,
        gateways: int = 1,
        history: int = 0,
        bridges: int = 0,
        valkey: Valkey | None = None,
        database: bool = False,
        postgres: Postgres | None = None,
        ca_file: Path | None = None,
        **settings: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.valkey = valkey or Valkey(folder)
        self.tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
        self.processes: dict[str, Process] = {}
        self.ports: dict[str, int] = {}
        ours = {name.upper() for name in Settings.model_fields}
        self.environment = {
            **{name: value for name, value in os.environ.items() if name.upper() not in ours},
            "PYTHONPATH": str(ROOT),
            "HOST": LOOPBACK,
            "REDIS_CLIENT": self.valkey.url,
            "DRAIN_S": "0.2",
            "AUTH_MODE": "open",
        }
        if history or database or postgres:
            server = postgres or session_postgres(free_port())
            self.environment["DATABASE_URL"] = server.make_database()
        if history:
            self.environment["EVENT_READERS"] = "history"
        self.environment |= settings
        for kind, count in (
            ("history", history),
            ("bridge", bridges),
            ("gateway", gateways),
            ("worker", workers),
            ("server", servers),
        ):
            for _ in range(count):
                self.add(kind)

    def run(self, kind: str, *arguments: str) -> str:
        """Run a process's command line with the stack's settings, and return what it printed."""
        with tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            done = fork_server().start(
                [_KINDS[kind].module, *arguments], self.folder, self.environment, output, errors
            )
            assert done.wait(WAIT_TIMEOUT_S) == 0, errors.read_text()
            return output.read_text().strip()

    def add(self, kind: str, **settings: str) -> str:
        """Add one more process of a kind (`server`, `history`, …), with settings of its own.

        Returns:
            Its name, to be started with `start` unless the whole stack is yet to be.
        """
        number = 1 + sum(name.startswith(f"{kind}-") for name in self.processes)
        name = f"{kind}-{number}"
        self.ports[name] = port = free_port()
        self.processes[name] = Process(
            name,
            [sys.executable, "-m", _KINDS[kind].module],
            self.folder,
            {**self.environment, _KINDS[kind].port.upper(): str(port), **settings},
        )
        return name

    def __enter__(self) -> Self:
        stacks.append(self)
        try:
            if not self.valkey.process.is_alive:
                self.valkey.start()
            for process in self.processes.values():
                process.start()
            for name in self.processes:
                self.wait_ready(name)
        except BaseException:
            # Who fails to enter is never left: nobody else would stop what has started.
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stacks.remove(self)
        with contextlib.suppress(ProcessLookupError, AssertionError):
            self.valkey.thaw()
        ended = [process for process in self.processes.values() if process.is_alive]
        for process in ended:
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
        for process in ended:
            process.stop()
        self.valkey.stop()

    def names(self, kind: str) -> list[str]:
        """Names of all processes of a kind."""
        return [name for name in self.processes if name.startswith(f"{kind}-")]

    def url(self, name: str) -> str:
        """Root of what a process serves over HTTP."""
        return f"http{self._secured(name)}://{LOOPBACK}:{self.ports[name]}"

    def _secured(self, name: str) -> str:
        return "s" if self.tls and _KINDS[name.partition("-")[0]].speaks_tls else ""

    @property
    def database_url(self) -> str:
        """Of the stack's own database."""
        return self.environment["DATABASE_URL"]

    @property
    def http_urls(self) -> list[str]:
        """Roots of the HTTP API, of each server."""
        return [self.url(name) for name in self.names("server")]

    @property
    def ws_urls(self) -> list[str]:
        """Where sockets connect, of each gateway."""
        return [
            f"ws{self._secured(name)}://{LOOPBACK}:{self.ports[name]}/"
            for name in self.names("gateway")
        ]

    def get(self, name: str, path: str) -> tuple[int, str]:
        """GET from a process: status and body. Status 0: nobody answers."""
        connection = http.client.HTTPConnection(LOOPBACK, self.ports[name], timeout=10)
        if self._secured(name):
            connection = http.client.HTTPSConnection(
                LOOPBACK, self.ports[name], timeout=10, context=self.tls
            )
        try:
            connection.request(
                "GET", path, headers={"x-api-key": self.operator} if self.operator else {}
            )
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def metric(self, name: str, metric: str, **labels: str) -> float:
        """Value of a metric of a process, summed over the labels that aren't given."""
        total = 0.0
        for line in self.get(name, "/metrics")[1].splitlines():
            left, _, value = line.rpartition(" ")
            if left.partition("{")[0] == metric and all(
                f'{label}="{text}"' in left for label, text in labels.items()
            ):
                total += float(value)
        return total

    def is_ready(self, name: str) -> bool:
        return self.get(name, "/readyz")[0] == 200

    def wait_ready(self, name: str) -> None:
        wait_for(lambda: self.is_ready(name), self.processes[name], "ready", START_TIMEOUT_S)

    def start(self, name: str) -> None:
        """Start a process that was added, killed or stopped, and wait until it is ready."""
        self.processes[name].start()
        self.wait_ready(name)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a process; SIGKILL is waited for."""
        self.processes[name].signal(number)

    def restart(self, name: str) -> None:
        """End a process if it still runs, and start it on the same port."""
        self.processes[name].stop()
        self.start(name)

    def push_expired(self, kind: str, target: str | None = None, priority: str = "high") -> str:
        """Push a notification by hand that has expired, which `POST /notify` refuses.

        Returns:
            Its id.
        """
        an_id = new_id()
        body = {"id": an_id, "type": kind, "userId": 1, "message": "hi", "target": target}
        text = json.dumps({**body, "expiresAt": "2020-01-01T00:00:00Z"})
        self.valkey.command("LPUSH", KEYS.door(priority), text)
        return an_id

    def logs(self) -> Iterable[tuple[str, str]]:
        """Name and end of the log of every process."""
        for process in (self.valkey.process, *self.processes.values()):
            yield process.name, process.log_tail()
