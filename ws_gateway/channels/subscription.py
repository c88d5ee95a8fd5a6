"""The gateway's one subscription to Redis: channels in, publications out.

Guarantee: while the link is up, every publication that Redis sends is handed on, in order. What
Redis drops, or publishes while the link is down, is not: `on_up` tells when to look into the logs.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from common.errors import REDIS_ERRORS
from common.process.backoff import Backoff
from common.redis.pipelined_connection import Link, LinkLostError
from common.telemetry.outage import redis_outage
from ws_gateway import metrics

log = logging.getLogger("roomcast.gateway")

SUBSCRIBE_CHUNK: Final = 500
_SILENCE_MAX_S: Final = 5.0


class Subscription:
    """Subscribes, stays subscribed, and connects again by itself.

    Args:
        url: of Redis.
        name: shown in CLIENT LIST.
        wanted: called when the link comes up; returns what to subscribe to.
        on_message: called with the pub/sub channel and payload of each publication.
        on_read: called after each run of publications that came in one read.
        on_up: called when the link is up (again) and everything is subscribed.
    """

    def __init__(
        self,
        url: str,
        name: str,
        wanted: Callable[[], list[bytes]],
        on_message: Callable[[bytes, bytes], None],
        on_read: Callable[[], None],
        on_up: Callable[[], None],
    ) -> None:
        self._url = url
        self._client_name = name
        self._wanted = wanted
        self._on_message = on_message
        self._on_read = on_read
        self._on_up = on_up
        self._link: Link | None = None
        self._paused = False
        self.was_up = asyncio.Event()
        """Set once everything was subscribed for the first time."""

    async def run(self) -> None:
        """Keep the link up, until cancelled."""
        backoff = Backoff()
        while True:
            wait_s = 0.0
            try:
                self._link = await Link.connect(
                    self._url, self._client_name, on_push=self._push, on_pushed=self._on_read
                )
                if self._paused:
                    self._link.pause()
                self._subscribe(self._wanted())
                await self.barrier()
                self.was_up.set()
                redis_outage.back("subscription")
                self._on_up()
                await self._watch(self._link, backoff)
            except REDIS_ERRORS as error:
                reason = f"{type(error).__name__}: {error}"
                wait_s = backoff.failed(reason)
                redis_outage.lost("subscription", error)
            finally:
                if self._link:
                    self._link.close()
                self._link = None
            metrics.resubscriptions.inc()
            await asyncio.sleep(wait_s)

    async def subscribe(self, names: list[bytes]) -> None:
        """Subscribe, and wait until Redis confirmed it.

        Raises:
            LinkLostError: not confirmed; what is wanted then will be when the link is up.
        """
        self._subscribe(names)
        await self.barrier()

    def forget(self, names: list[bytes]) -> None:
        """Unsubscribe."""
        if names and self._link:
            self._link.push_command(("UNSUBSCRIBE", *names))

    async def barrier(self) -> None:
        """Wait until everything that Redis has sent by now was handed on.

        Raises:
            LinkLostError: the connection was lost meanwhile, or is not there.
        """
        if self._link is None:
            raise LinkLostError("not connected")
        await self._link.call("PING", timeout_s=_SILENCE_MAX_S)

    def pause(self) -> None:
        """Take nothing more from Redis: too much waits to be sent."""
        if not self._paused:
            self._paused = True
            metrics.backpressure.inc()
            if self._link:
                self._link.pause()

    def go_on(self) -> None:
        """Take publications again."""
        if self._paused:
            self._paused = False
            if self._link:
                self._link.go_on()

    def _push(self, message: list[Any]) -> None:
        if message[0] == b"message":
            self._on_message(message[1], message[2])

    def _subscribe(self, names: list[bytes]) -> None:
        if self._link is None:
            return
        for first in range(0, len(names), SUBSCRIBE_CHUNK):
            self._link.push_command(("SUBSCRIBE", *names[first : first + SUBSCRIBE_CHUNK]))

    async def _watch(self, link: Link, backoff: Backoff) -> None:
        # A link that is silently gone answers no barrier.
        while True:
            await asyncio.wait([link.lost], timeout=_SILENCE_MAX_S / 2)
            if link.lost.done():
                raise LinkLostError("closed by redis")
            if not self._paused:
                await self.barrier()
                # Not sooner: a Redis may drop it right after all is subscribed, time and again.
                backoff.served()
