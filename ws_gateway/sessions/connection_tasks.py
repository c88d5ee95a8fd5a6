"""Tasks on behalf of connections: none outlives the gateway, none dies silently."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

log = logging.getLogger("roomcast.gateway")


class TaskOwner(Protocol):
    """Owner of a task, for example a connection."""

    def abort(self) -> None:
        """Drop its connection."""


class ConnectionTasks:
    """Tasks that are under way.

    If one fails, that is logged and its owner's connection is dropped.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Number of tasks under way."""
        return len(self._tasks)

    def start(self, owner: TaskOwner, duty: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine for a connection."""
        task = asyncio.ensure_future(duty)
        self._tasks.add(task)

        def done(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                log.error("a message on a socket could not be handled", exc_info=error)
                owner.abort()

        task.add_done_callback(done)

    async def close(self) -> None:
        """Cancel what is under way, and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
