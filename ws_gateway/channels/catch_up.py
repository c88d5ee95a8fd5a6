"""Connections that are behind a channel are brought up from its log.

A connection is behind because it comes back from elsewhere (`resume`), or because it did not read
fast enough and was left behind. The fan-out passes it by in that channel until it has had, from the
log, everything up to where the channel's fan-out stands; then it hears the channel live again.
Nothing is sent twice, nothing is left out: an offset is either behind that point or after it.

Reads of the same channel from the same position are shared, frames and all: thousands of
connections that come back at once are mostly behind by the same.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from common.errors import REDIS_ERRORS
from common.model.publication import Position, Publication
from common.process.backoff import jittered
from common.telemetry.outage import redis_outage
from ws_gateway import metrics
from ws_gateway.channels.log_reader import LogReader, Replay
from ws_gateway.channels.member import HeardChannel, Member
from ws_gateway.channels.pending import JoinedWrite, Pending
from ws_gateway.channels.run import Run
from ws_gateway.protocol.messages import reset_text

log = logging.getLogger("roomcast.gateway")

READS_AT_ONCE: Final = 32
READ_MAX_BYTES: Final = 256 * 1024
"""Size of one read of a log, and so of one write to a connection."""
_SHARED_S: Final = 0.2
_SHARED_MAX: Final = 64
"""Reads that are kept for others, for this long; each holds `READ_MAX_BYTES` and its frames."""
_WAIT_S: Final = 0.02
"""Until a gateway has what it was asked to go on from."""


class Missed:
    """Result of one read of a channel's log after a position; shared."""

    __slots__ = ("_joined", "after", "replay")

    def __init__(self, after: Position, replay: Replay) -> None:
        self.after = after
        self.replay = replay
        self._joined: tuple[Position, JoinedWrite, Position, list[Run]] | None = None

    def until(self, channel: HeardChannel) -> tuple[JoinedWrite, Position, list[Run]]:
        """Join what the channel's fan-out has begun to send by now.

        Returns:
            What is to be written, the position behind it, and the runs of publications in it.
        """
        handed = channel.handed
        if self._joined is None or self._joined[0] != handed:
            self._joined = (handed, *self._join(channel, handed))
        return self._joined[1:]

    def _join(
        self, channel: HeardChannel, handed: Position
    ) -> tuple[JoinedWrite, Position, list[Run]]:
        items: list[Pending] = []
        runs: list[Run] = []
        at = self.after
        for publication in self.replay.publications:
            position = Position(publication.epoch, publication.offset)
            if publication.epoch == handed.epoch:
                if publication.offset > handed.offset:
                    break
            elif publication.epoch != channel.ended.epoch:
                # Neither of this gateway's two epochs: it has not heard of that one yet.
                break
            if position.epoch != at.epoch:
                before = Position(position.epoch, position.offset - 1)
                items.append(_reset(channel, before, recovered=True))
            items.append(Pending(publication.text, position, publication.accepted_ms))
            first = runs.pop().first if runs and position.epoch == at.epoch else position.offset
            runs.append(Run(position.epoch, first, position.offset))
            at = position
        if not self.replay.publications and at != handed == self.replay.now:
            # The epoch ended and nothing came since.
            items.append(_reset(channel, handed, recovered=True))
            at = handed
        return JoinedWrite(self.after, items), at, runs


def _reset(channel: HeardChannel, position: Position, *, recovered: bool) -> Pending:
    return Pending(reset_text(channel.label, position, recovered=recovered), position, 0)


class CatchUp:
    """Brings connections up.

    Args:
        reader: of the logs.
        on_replayed: called with what one connection got from a channel's log.
        on_read: called with the scoped name of a channel and what was read of its log.
    """

    def __init__(
        self,
        reader: LogReader,
        on_replayed: Callable[[HeardChannel, list[Run]], None],
        on_read: Callable[[str, list[Publication]], None],
    ) -> None:
        self._reader = reader
        self._on_replayed = on_replayed
        self._on_read = on_read
        self._slots = asyncio.Semaphore(READS_AT_ONCE)
        self._reads: OrderedDict[tuple[str, Position], asyncio.Task[Missed]] = OrderedDict()
        self._tasks: dict[Member, asyncio.Task[None]] = {}

    async def read(self, channel: HeardChannel, after: Position) -> Missed:
        """Read what came after a position; repeated until Redis answers."""
        for wait in jittered():
            try:
                return await asyncio.shield(self._shared(channel.name, after))
            except REDIS_ERRORS as error:
                redis_outage.noticed("logs", error)
                await asyncio.sleep(wait)
        raise AssertionError("unreachable: jittered() never ends")

    def begin(self, connection: Member) -> None:
        """Bring a connection up in every channel that it is behind, unless that is under way."""
        if connection in self._tasks or not connection.behind:
            return
        task = asyncio.ensure_future(self._bring_up(connection))
        self._tasks[connection] = task
        task.add_done_callback(lambda task: self._done(connection, task))

    async def close(self) -> None:
        """End what is under way."""
        tasks = [*self._tasks.values(), *self._reads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, connection: Member, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(connection, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("a slow connection could not be caught up from the log", exc_info=error)
            connection.abort()
        elif connection.behind and not connection.choked:
            # It was left behind again, or could be written to again, as this ended.
            self.begin(connection)

    async def _bring_up(self, connection: Member) -> None:
        while connection.behind and not connection.choked:
            channel, after = next(iter(connection.behind.items()))
            missed = await self.read(channel, after)
            if (connection.behind or {}).get(channel) != after:
                continue
            if not self.apply(connection, channel, missed):
                await asyncio.sleep(_WAIT_S)

    def apply(self, connection: Member, channel: HeardChannel, missed: Missed) -> bool:
        """Send a connection what it missed of a channel that it is behind.

        Returns:
            Whether it came further.
        """
        assert connection.behind is not None
        if not missed.replay.exact:
            metrics.unrecovered.inc()
            reset = _reset(channel, channel.handed, recovered=False)
            connection.write_joined(channel, JoinedWrite(missed.after, [reset]))
            connection.catch_up_with(channel)
            return True
        joined, at, runs = missed.until(channel)
        if joined.items:
            connection.write_joined(channel, joined)
            self._on_replayed(channel, runs)
            metrics.replayed.inc(sum(run.length for run in runs))
        connection.behind[channel] = at
        if at == channel.handed:
            connection.catch_up_with(channel)
            return True
        return bool(joined.items)

    def _shared(self, name: str, after: Position) -> "asyncio.Task[Missed]":
        key = (name, after)
        task = self._reads.get(key)
        if task is None:
            task = asyncio.ensure_future(self._read(name, after))
            self._reads[key] = task
            if len(self._reads) > _SHARED_MAX:
                self._reads.popitem(last=False)
            asyncio.get_running_loop().call_later(_SHARED_S, self._forget, key, task)
        return task

    def _forget(self, key: tuple[str, Position], task: "asyncio.Task[Missed]") -> None:
        if self._reads.get(key) is task:
            del self._reads[key]

    async def _read(self, name: str, after: Position) -> Missed:
        async with self._slots:
            replay = await self._reader.replay(name, after, READ_MAX_BYTES)
        if replay.exact:
            self._on_read(name, replay.publications)
        return Missed(after, replay)
