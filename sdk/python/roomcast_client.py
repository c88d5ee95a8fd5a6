"""A client that misses nothing: it keeps its positions, comes back with jitter, and resumes.

    async with RoomcastClient("ws://127.0.0.1:8081/", user=1, rooms=[1]) as client:
        async for message in client:
            if message["type"] == "reset":  # something was lost: fetch the inbox again
                ...
            else:
                print(message["message"])
                await client.ack(message["id"])

Where credentials are required, `token` is the user's token, or better a function that gets one from
your own server (which has an API key, and asks `POST /tokens`):

    async def token() -> str:
        async with session.post("https://app.example.com/roomcast-token") as response:
            return (await response.json())["token"]

It needs nothing but the package `websockets`. The protocol is in docs/reference/protocol.md.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 10.0
READ_AHEAD_MAX: Final = 1_000
"""Messages waiting to be iterated over; beyond this, reading from the socket stops."""
REFRESH_AHEAD: Final = 0.2
"""Share of a token's lifetime that is left when it is renewed."""
_ANSWERS: Final = frozenset({"registered", "joined", "left", "pong", "acked", "refreshed", "error"})
_FOR_GOOD: Final = frozenset({1002, 1007, 1009})
_TOKEN_EXPIRED: Final = 4503


class Position(NamedTuple):
    """Last known position of a channel."""

    epoch: str
    offset: int


class RefusedError(Exception):
    """The gateway refused for good: come back unchanged, and it will refuse again."""


class RoomcastClient:
    """One user's connection, made again whenever it is lost. A context manager and an iterator.

    Iterating yields notifications, each once and in the order of its channel; `read` messages (the
    user has read something on another device); and `reset` messages with `recovered` false, which
    say that something of a channel was lost.

    Args:
        url: of a gateway, or of what balances several; or a list of gateways, tried in turn.
        user: id to register as.
        rooms: which rooms to hear.
        positions: where to go on, by channel; of an earlier client's `positions`.
        token: the user's, or what gets a new one: called before each connection, and again before
            that token expires. If it raises `OSError` it is called again; other errors end this
            client as a refusal does.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        user: int | str,
        rooms: Iterable[int | str] = (),
        positions: Mapping[str, Position] | None = None,
        token: str | Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self.urls = [url] if isinstance(url, str) else list(url)
        self.user = user
        self.rooms = list(rooms)
        self.positions: dict[str, Position] = dict(positions or {})
        self._token = token
        self.connects = 0
        """Number of times it has registered."""
        self.duplicates = 0
        """Notifications that came again, and were dropped: always 0, if the gateway is right."""
        self._messages: asyncio.Queue[dict[str, Any] | BaseException] = asyncio.Queue(
            READ_AHEAD_MAX
        )
        self._answers: deque[asyncio.Future[dict[str, Any]]] = deque()
        self._socket: ClientConnection | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            self._task.result()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            message = await self._messages.get()
            if isinstance(message, BaseException):
                raise message
            yield message

    async def close(self) -> None:
        """Hang up, and don't come back."""
        if self._task:
            self._task.cancel()
            # The iterating caller has already received the error.
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task

    async def ack(self, *ids: str) -> dict[str, Any]:
        """Report that notifications were delivered.

        Returns:
            The answer. An error with the code `unavailable` or `too-many-receipts` means: say it
            again later. Ids in `refused`, or all with the code `not-sent`, were not sent to it.

        Raises:
            ConnectionError: it is not known whether that was heard; say it again.
        """
        return await self.ask({"action": "ack", "id": list(ids)})

    async def read(self, *ids: str) -> dict[str, Any]:
        """Report that the user has read notifications.

        Returns:
            The answer. An error with the code `unavailable` or `too-many-receipts` means: say it
            again later. Ids in `refused`, or all with the code `not-sent`, were not sent to it.

        Raises:
            ConnectionError: it is not known whether that was heard; say it again.
        """
        return await self.ask({"action": "read", "id": list(ids)})

    async def join(self, room: int | str) -> None:
        """Hear one more room, now and whenever it comes back.

        Raises:
            ConnectionError: it is not known whether that was heard; it is joined on coming back.
        """
        self.rooms.append(room)
        self._stand(await self.ask({"action": "join", "room": room}))

    async def ask(self, action: Mapping[str, Any]) -> dict[str, Any]:
        """Send an action and return its answer, which may be an `error`.

        Raises:
            ConnectionError: the connection was lost before the answer.
        """
        socket = self._socket
        if socket is None:
            raise ConnectionError("not connected")
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        try:
            await socket.send(json.dumps(action))
        except ConnectionClosed as error:
            raise ConnectionError(str(error)) from None
        return await answer

    async def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        try:
            for url in itertools.cycle(self.urls):
                connects = self.connects
                try:
                    await self._connect_once(url)
                except ConnectionClosed as error:
                    code = error.rcvd.code if error.rcvd else 1006
                    renewed = code == _TOKEN_EXPIRED and callable(self._token)
                    if code in _FOR_GOOD or (4500 <= code < 5000 and not renewed):
                        raise RefusedError(str(error)) from None
                except (OSError, InvalidHandshake, TimeoutError, EOFError):
                    pass  # a gateway that is away, full or about to stop: another one may answer
                finally:
                    self._lose()
                if self.connects > connects:
                    wait_s = FIRST_WAIT_S
                await asyncio.sleep(random.uniform(0, wait_s))  # noqa: S311 - not for secrets
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        except Exception as error:
            await self._messages.put(error)
            raise

    async def _connect_once(self, url: str) -> None:
        token = await self._token() if callable(self._token) else self._token
        async with connect(url, compression=None, proxy=None) as socket:
            registration: dict[str, Any] = {"userId": self.user, "room": self.rooms}
            if token is not None:
                registration["token"] = token
            if self.positions:
                registration["resume"] = {
                    channel: position._asdict() for channel, position in self.positions.items()
                }
            await socket.send(json.dumps(registration))
            answer = json.loads(await socket.recv())
            if answer["type"] != "registered":
                raise RefusedError(answer.get("message", str(answer)))
            await self._registered(answer)
            self._socket = socket
            self.connects += 1
            self._ready.set()
            refreshing = asyncio.create_task(self._refresh(token))
            try:
                while True:
                    await self._take(json.loads(await socket.recv()))
            finally:
                refreshing.cancel()

    async def _refresh(self, token: str | None) -> None:
        """Show a new token before the old one expires."""
        while token is not None and callable(self._token):
            await asyncio.sleep((1 - REFRESH_AHEAD) * _seconds_left(token))
            # If it goes on failing the gateway hangs up, and connecting again tells why.
            with contextlib.suppress(Exception):
                token = await self._token()
                await self.ask({"action": "refresh", "token": token})

    async def _registered(self, answer: dict[str, Any]) -> None:
        for channel, found in answer["channels"].items():
            position = Position(found["epoch"], found["offset"])
            if found.get("recovered") is False:
                await self._reset(channel, position, recovered=False)
            elif channel not in self.positions:
                self.positions[channel] = position
            # Else what was missed follows, and the position moves on with it.

    def _stand(self, answer: dict[str, Any]) -> None:
        for channel, found in answer.get("channels", {}).items():
            self.positions[channel] = Position(found["epoch"], found["offset"])

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "reset":
            position = Position(message["epoch"], message["offset"])
            await self._reset(message["channel"], position, recovered=message["recovered"])
        elif "offset" in message:
            await self._notification(message)
        elif message["type"] in _ANSWERS or (message["type"] == "read" and self._answers):
            # Whoever asked may have stopped waiting.
            if self._answers and not (answer := self._answers.popleft()).done():
                answer.set_result(message)
        else:
            await self._messages.put(message)

    async def _notification(self, message: dict[str, Any]) -> None:
        channel, epoch, offset = message["channel"], message["epoch"], message["offset"]
        known = self.positions.get(channel)
        if known and known.epoch == epoch and offset <= known.offset:
            self.duplicates += 1
            return
        if known and (known.epoch != epoch or offset != known.offset + 1):
            # Nothing said so: this is not to happen, and must not go unnoticed if it does.
            await self._reset(channel, Position(epoch, offset - 1), recovered=False)
        # First the message, then the position: what was not handed on is asked for again.
        await self._messages.put(message)
        self.positions[channel] = Position(epoch, offset)

    async def _reset(self, channel: str, position: Position, *, recovered: bool) -> None:
        if not recovered:
            await self._messages.put(
                {"type": "reset", "channel": channel, **position._asdict(), "recovered": False}
            )
        self.positions[channel] = position

    def _lose(self) -> None:
        self._socket = None
        while self._answers:
            answer = self._answers.popleft()
            if not answer.done():
                answer.set_exception(ConnectionError("the connection was lost"))
                answer.exception()


def _seconds_left(token: str) -> float:
    """Return a JWT's remaining seconds (RFC 7519) by this clock; at least 1, if that is wrong."""
    claims = token.split(".")[1]
    padded = claims + "=" * (-len(claims) % 4)
    return max(1.0, float(json.loads(base64.urlsafe_b64decode(padded))["exp"]) - time.time())
