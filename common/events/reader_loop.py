"""The loop of a process that reads the event stream: batches out, acknowledgements back.

Guarantee: batches are handed out one at a time, in the order of the stream; Redis may be away for
as long as it likes. What is acknowledged here is acknowledged until Redis has it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from common.errors import REDIS_ERRORS
from common.events.event import Event
from common.events.group_reader import LEASE_S, EventReader
from common.process.backoff import jittered
from common.redis.scripts import Argument, Script
from common.telemetry.outage import redis_outage

log = logging.getLogger("roomcast.events")

KEEP_INTERVAL_S: Final = LEASE_S / 5
"""While there is no room for a batch, the lead is renewed this often."""


class ReaderLoop:
    """Reads for one handler while this replica leads.

    Args:
        reader: of the event stream.
        handle: called with each batch; the next is read when it returns.
        delay_s: how long to let events come together after a batch, unless more are there.
        note_lead: called after each read with whether this replica leads.
        wait_for_room: returns when another batch may be read; the lead is kept meanwhile.
    """

    def __init__(
        self,
        reader: EventReader,
        handle: Callable[[list[Event]], Awaitable[None]],
        *,
        delay_s: float,
        note_lead: Callable[[bool], None],
        wait_for_room: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._reader = reader
        self._handle = handle
        self._delay_s = delay_s
        self._note_lead = note_lead
        self._wait_for_room = wait_for_room
        self._stopping = False
        self.has_read = False
        """True once Redis has answered."""
        self.trouble: str | None = None
        """Reason why Redis is not read or acknowledged now, or None."""

    async def run(self) -> None:
        """Read until stopped, then do nothing until cancelled."""
        waits = jittered()
        while not self._stopping:
            if not await self._has_room():
                continue
            try:
                events = await self._reader.read()
            except REDIS_ERRORS as error:
                # At a stop its connection is closed.
                if not self._stopping:
                    self._lost("reading events", error)
                await asyncio.sleep(next(waits))
                continue
            waits = jittered()
            self.has_read = True
            self._back("reading events")
            self._note_lead(self._reader.leads)
            if events:
                await self._handle(events)
                if not self._reader.more:
                    await asyncio.sleep(self._delay_s)
        await asyncio.Event().wait()

    def stop(self) -> None:
        """Read no more."""
        self._stopping = True

    async def acknowledge(
        self, events: Sequence[Event], script: Script | None = None, *more: Argument
    ) -> None:
        """Acknowledge a batch, as long as it takes; see `EventReader.acknowledge`."""
        for wait in jittered():
            try:
                await self._reader.acknowledge(events, script, *more)
            except REDIS_ERRORS as error:
                self._lost("acknowledging events", error)
                await asyncio.sleep(wait)
            else:
                self._back("acknowledging events")
                return

    async def _has_room(self) -> bool:
        if self._wait_for_room is None:
            return True
        try:
            async with asyncio.timeout(KEEP_INTERVAL_S):
                await self._wait_for_room()
        except TimeoutError:
            try:
                await self._reader.keep()
            except REDIS_ERRORS as error:
                log.debug("the lead could not be kept", extra={"reason": str(error)})
            return False
        return True

    def _lost(self, part: str, error: Exception) -> None:
        redis_outage.lost(part, error)
        self.trouble = f"{type(error).__name__}: {error}"

    def _back(self, part: str) -> None:
        redis_outage.back(part)
        self.trouble = None
