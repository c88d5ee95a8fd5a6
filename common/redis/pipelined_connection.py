"""A pipelined Redis connection for the hot paths: acceptance, turns, subscription, event stream.

redis-py serves everything else. On these paths its cost per command is a multiple of
everything that Roomcast does itself, and they need two things it does not offer: commands that are
sent together and answered one by one, and no retries. Replies are read with hiredis' parser (RESP3:
publications come as push messages, apart from replies).

Guarantee: commands are executed in the order in which they were sent, each at most once. When the
link is lost or a reply is overdue, every unanswered command fails with `LinkLostError`: its outcome
is unknown.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from common.errors import RoomcastError
from common.redis.client import CONNECT_TIMEOUT_S, says_full
from common.redis.scripts import Script

Word = str | bytes | int | float
Push = Callable[[list[Any]], None]


class LinkLostError(RoomcastError, RedisConnectionError):
    """The connection is lost, or a reply did not come in time."""


class Link(asyncio.Protocol):
    """A connection to Redis, made by `connect` and used until it is lost.

    Args:
        on_push: called with each push message.
        on_pushed: called after the push messages that one read brought.
    """

    def __init__(
        self, on_push: Push | None = None, on_pushed: Callable[[], None] | None = None
    ) -> None:
        self._on_push = on_push
        self._on_pushed = on_pushed
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._unanswered: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._paused = False
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when the link is lost."""

    @classmethod
    async def connect(
        cls,
        url: str,
        name: str,
        *,
        on_push: Push | None = None,
        on_pushed: Callable[[], None] | None = None,
    ) -> "Link":
        """Connect and log in.

        Args:
            url: `redis://`, `rediss://` or `unix://`.
            name: shown in CLIENT LIST.
            on_push: see the class.
            on_pushed: see the class.

        Raises:
            OSError, TimeoutError: Redis can't be reached.
            redis.exceptions.RedisError: it refused the login.
        """
        address: dict[str, Any] = dict(parse_url(url))
        link = cls(on_push, on_pushed)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await link._open(address)
                words: list[Word] = ["HELLO", 3]
                if password := address.get("password"):
                    words += ["AUTH", address.get("username") or "default", password]
                await link.call(*words, "SETNAME", name, timeout_s=CONNECT_TIMEOUT_S)
                if database := address.get("db"):
                    await link.call("SELECT", int(database), timeout_s=CONNECT_TIMEOUT_S)
        except BaseException:
            # Nothing else would close it: each attempt with a wrong password would leak one.
            link.close()
            raise
        return link

    async def _open(self, address: dict[str, Any]) -> None:
        kind = address.get("connection_class")
        if kind is UnixDomainSocketConnection:
            await self._loop.create_unix_connection(lambda: self, address["path"])
            return
        context = _tls(address) if kind is SSLConnection else None
        host, port = address.get("host", "localhost"), int(address.get("port", 6379))
        await self._loop.create_connection(lambda: self, host, port, ssl=context)

    def send(self, words: Sequence[Word], timeout_s: float) -> "asyncio.Future[Any]":
        """Send one command.

        Returns:
            Future of its reply, or of `ResponseError` or `LinkLostError`.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._transport is None or self.lost.done():
            future.set_exception(LinkLostError("not connected"))
            return future
        self._unanswered.append((future, self._loop.time() + timeout_s))
        if self._timer is None:
            self._timer = self._loop.call_later(timeout_s, self._look_at_overdue)
        self._transport.write(cast(bytes, hiredis.pack_command(cast(Any, tuple(words)))))
        return future

    def send_together(
        self, commands: Sequence[Sequence[Word]], timeout_s: float
    ) -> "list[asyncio.Future[Any]]":
        """Send commands in one write."""
        transport = self._transport
        if transport is None or self.lost.done():
            return [self.send(words, timeout_s) for words in commands]
        packed = [cast(bytes, hiredis.pack_command(cast(Any, tuple(words)))) for words in commands]
        deadline = self._loop.time() + timeout_s
        futures: list[asyncio.Future[Any]] = [self._loop.create_future() for _ in commands]
        self._unanswered.extend((future, deadline) for future in futures)
        if self._timer is None:
            self._timer = self._loop.call_later(timeout_s, self._look_at_overdue)
        transport.write(b"".join(packed))
        return futures

    def push_command(self, words: Sequence[Word]) -> None:
        """Send a command that is answered with push messages only (SUBSCRIBE and the like)."""
        if self._transport and not self.lost.done():
            self._transport.write(cast(bytes, hiredis.pack_command(cast(Any, tuple(words)))))

    async def call(self, *words: Word, timeout_s: float) -> Any:
        """Send one command and wait for its reply.

        Raises:
            LinkLostError: the outcome is unknown.
            redis.exceptions.ResponseError: Redis refused it.
        """
        return await self.send(words, timeout_s)

    async def run(
        self, script: Script, keys: Sequence[str], args: Sequence[Word], *, timeout_s: float
    ) -> Any:
        """Run a script; it is loaded first where Redis does not know it.

        Raises:
            LinkLostError: the outcome is unknown.
            redis.exceptions.ResponseError: Redis refused it.
        """
        words = evalsha(script, keys, args)
        try:
            return await self.send(words, timeout_s)
        except NoScriptError:
            await self.call("SCRIPT", "LOAD", script.text, timeout_s=timeout_s)
            return await self.send(words, timeout_s)

    def pause(self) -> None:
        """Stop reading until `go_on`."""
        self._paused = True
        if self._transport:
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Resume reading."""
        self._paused = False
        if self._transport and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self, reason: str = "closed") -> None:
        """Drop the connection; unanswered commands fail."""
        if self._transport:
            self._transport.abort()
        self._fail(LinkLostError(reason))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all unanswered commands."""
        self._fail(LinkLostError(str(exc) if exc else "closed by redis"))

    def data_received(self, data: bytes) -> None:
        """Answer commands in order, and hand push messages on."""
        reader = self._reader
        reader.feed(data)
        pushed = False
        try:
            while (reply := reader.gets()) is not False:
                if isinstance(reply, hiredis.PushNotification):
                    pushed = True
                    if self._on_push:
                        self._on_push(reply)
                else:
                    self._answer(reply)
        except hiredis.HiredisError as error:
            self.close(str(error))
        if pushed and self._on_pushed:
            self._on_pushed()

    def _answer(self, reply: Any) -> None:
        if not self._unanswered:
            self.close("a reply to nothing")
            return
        future, _ = self._unanswered.popleft()
        if future.done():
            return
        if isinstance(reply, hiredis.ReplyError):
            text = str(reply)
            future.set_exception(
                NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
            )
            # The caller may have given up.
            future.exception()
        else:
            future.set_result(reply)

    def _look_at_overdue(self) -> None:
        self._timer = None
        if not self._unanswered:
            return
        first = min(deadline for _, deadline in self._unanswered)
        wait_s = first - self._loop.time()
        if wait_s > 0:
            self._timer = self._loop.call_later(wait_s, self._look_at_overdue)
        elif self._paused:
            self._timer = self._loop.call_later(1.0, self._look_at_overdue)
        else:
            self.close("a reply is overdue")

    def _fail(self, error: LinkLostError) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        unanswered, self._unanswered = self._unanswered, deque()
        for future, _ in unanswered:
            if not future.done():
                future.set_exception(error)
                future.exception()
        if not self.lost.done():
            self.lost.set_result(None)


async def is_waited_for(reply: "asyncio.Future[Any]") -> bool:
    """Wait for the reply to a blocking command; return whether Redis let it wait.

    A Redis at its maxmemory refuses BLMOVE. Scripts that were sent behind it run nevertheless.

    Raises:
        LinkLostError: the connection is gone.
        redis.exceptions.ResponseError: it was refused for another reason.
    """
    try:
        await reply
    except ResponseError as error:
        if not says_full(error):
            raise
        return False
    return True


def evalsha(script: Script, keys: Sequence[str], args: Sequence[Word]) -> list[Word]:
    """Make the command that runs a script which Redis has loaded."""
    return ["EVALSHA", script.sha, len(keys), *keys, *args]


def _tls(address: dict[str, Any]) -> ssl.SSLContext:
    # As redis-py does it, so that a URL means the same here and there.
    options = {name: value for name, value in address.items() if name.startswith("ssl_")}
    return SSLConnection(**options).ssl_context.get()


__all__: Final = ["Link", "LinkLostError", "Word", "evalsha", "is_waited_for"]
