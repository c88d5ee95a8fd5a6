"""The gateway's one subscription to Redis: channels in, publications out.

Replies are read with hiredis' parser straight from the transport: at tens of thousands of
publications a second a task switch and an object for each would cost more than sending them.

Guarantee: while the link is up, every publication that Redis sends is handed on, in order. What
Redis drops, or publishes while the link is down, is not: `on_up` tells when to look into the logs.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from common.backoff import jittered
from common.redis_client import CONNECT_TIMEOUT_S
from ws_gateway import metrics

log = logging.getLogger("roomcast.gateway")

SUBSCRIBE_CHUNK: Final = 500
_SILENCE_MAX_S: Final = 5.0


class LinkLostError(Exception):
    """The connection to Redis was lost, or is not there."""


class Subscription(asyncio.Protocol):
    """Subscribes, stays subscribed, and connects again by itself.

    Args:
        url: of Redis.
        name: shown in CLIENT LIST.
        on_message: called with the pub/sub channel and payload of each publication.
        on_read: called after each run of publications that came in one read.
        on_up: called when the link is up (again) and everything is subscribed.
    """

    def __init__(
        self,
        url: str,
        name: str,
        on_message: Callable[[bytes, bytes], None],
        on_read: Callable[[], None],
        on_up: Callable[[], None],
    ) -> None:
        self._address: dict[str, Any] = dict(parse_url(url))
        self._client_name = name
        self._on_message = on_message
        self._on_read = on_read
        self._on_up = on_up
        self._names: dict[str, None] = {}
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._lost: asyncio.Future[None] | None = None
        self._barriers: dict[bytes, asyncio.Future[None]] = {}
        self._barrier_count = 0
        self._paused = False
        self.up = False

    async def run(self) -> None:
        """Keep the link up, until cancelled."""
        retry = jittered()
        try:
            while True:
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT_S + _SILENCE_MAX_S):
                        await self._connect()
                    retry = jittered()
                    self.up = True
                    self._on_up()
                    await self._watch()
                except (OSError, TimeoutError, LinkLostError, hiredis.HiredisError) as error:
                    log.warning(
                        "subscription lost redis",
                        extra={"reason": f"{type(error).__name__}: {error}"},
                    )
                finally:
                    self._drop()
                metrics.resubscriptions.inc()
                await asyncio.sleep(next(retry))
        finally:
            self._drop()

    async def subscribe(self, names: Iterable[str]) -> None:
        """Subscribe, and wait until Redis confirmed it. Kept through lost links until `forget`.

        Raises:
            LinkLostError: not confirmed; it will be when the link is up.
        """
        names = list(names)
        self._names.update(dict.fromkeys(names))
        self._subscribe(names)
        await self.barrier()

    def keep(self, names: Iterable[str]) -> None:
        """Subscribe when the link comes up."""
        self._names.update(dict.fromkeys(names))

    def forget(self, names: Iterable[str]) -> None:
        """Unsubscribe."""
        names = list(names)
        for name in names:
            self._names.pop(name, None)
        if names and self._transport:
            self._transport.write(_command("UNSUBSCRIBE", *names))

    async def barrier(self) -> None:
        """Wait until everything that Redis had sent when this was called was handed on.

        Raises:
            LinkLostError: the link was lost meanwhile, or is not there.
        """
        if self._transport is None:
            raise LinkLostError("not connected")
        self._barrier_count += 1
        token = b"%d" % self._barrier_count
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._barriers[token] = future
        self._transport.write(_command("PING", token))
        try:
            await future
        finally:
            self._barriers.pop(token, None)

    def pause(self) -> None:
        """Take nothing more from Redis: too much waits to be sent."""
        if not self._paused:
            self._paused = True
            metrics.backpressure.inc()
            if self._transport:
                self._transport.pause_reading()

    def go_on(self) -> None:
        """Take publications again."""
        if self._paused:
            self._paused = False
            if self._transport:
                self._transport.resume_reading()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._lost = loop.create_future()
        self._reader = hiredis.Reader()
        address = self._address
        kind = address.get("connection_class")
        if kind is UnixDomainSocketConnection:
            await loop.create_unix_connection(lambda: self, address["path"])
        else:
            context = _tls(address) if kind is SSLConnection else None
            host = address.get("host", "localhost")
            await loop.create_connection(
                lambda: self, host, int(address.get("port", 6379)), ssl=context
            )
        transport = self._transport
        if transport is None:
            raise LinkLostError("closed at once")
        if password := address.get("password"):
            user = address.get("username")
            transport.write(_command("AUTH", *((user, password) if user else (password,))))
        transport.write(_command("CLIENT", "SETNAME", self._client_name))
        self._subscribe(list(self._names))
        if not self._names:
            raise LinkLostError("nothing to subscribe to")
        await self.barrier()

    def _subscribe(self, names: list[str]) -> None:
        if self._transport is None:
            return
        for first in range(0, len(names), SUBSCRIBE_CHUNK):
            chunk = names[first : first + SUBSCRIBE_CHUNK]
            self._transport.write(_command("SUBSCRIBE", *chunk))

    async def _watch(self) -> None:
        # A link that is silently gone answers no barrier.
        assert self._lost is not None
        while True:
            done, _ = await asyncio.wait([self._lost], timeout=_SILENCE_MAX_S / 2)
            if done:
                self._lost.result()
            if not self._paused:
                async with asyncio.timeout(_SILENCE_MAX_S):
                    await self.barrier()

    def _drop(self) -> None:
        self.up = False
        transport, self._transport = self._transport, None
        if transport:
            transport.abort()
        for future in self._barriers.values():
            if not future.done():
                future.set_exception(LinkLostError("link lost"))
                # Whoever waited may be gone.
                future.exception()
        self._barriers.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the link."""
        self._transport = cast(asyncio.Transport, transport)
        if self._paused:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let `run` connect again."""
        if self._lost and not self._lost.done():
            self._lost.set_exception(LinkLostError(str(exc) if exc else "closed by redis"))
            self._lost.exception()

    def data_received(self, data: bytes) -> None:
        """Hand publications on."""
        reader = self._reader
        reader.feed(data)
        any_message = False
        while True:
            reply = reader.gets()
            if reply is False:
                break
            if isinstance(reply, list):
                kind = reply[0]
                if kind == b"message":
                    any_message = True
                    self._on_message(reply[1], reply[2])
                elif kind == b"pong":
                    self._pass_barrier(reply[1])
            elif isinstance(reply, hiredis.ReplyError):
                self._fail(reply)
                return
        if any_message:
            self._on_read()

    def _pass_barrier(self, token: bytes) -> None:
        future = self._barriers.get(token)
        if future and not future.done():
            future.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._lost and not self._lost.done():
            self._lost.set_exception(LinkLostError(str(error)))
            self._lost.exception()
        for future in self._barriers.values():
            if not future.done():
                future.set_exception(LinkLostError(str(error)))
                future.exception()


def _command(*words: str | bytes) -> bytes:
    # hiredis types its argument as a tuple of one.
    return cast(bytes, hiredis.pack_command(cast(Any, words)))


def _tls(address: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=address.get("ssl_ca_certs"))
    if certificate := address.get("ssl_certfile"):
        context.load_cert_chain(certificate, address.get("ssl_keyfile"))
    if str(address.get("ssl_check_hostname", "")).lower() == "false":
        context.check_hostname = False
    if address.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
