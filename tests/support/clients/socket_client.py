"""Receives notifications."""

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.waiting import WAIT_TIMEOUT_S

MARKS = ("archived", "unarchived", "unread")


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
            # Who fails to enter is never left: nobody else would close it.
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
                if body["type"] in ("reset", *MARKS) or (
                    body["type"] == "read" and not self._asked
                ):
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
