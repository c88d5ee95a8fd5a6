"""Channels as they are rebuilt from publications, in order. Pure: no broker, no Redis."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from common.events.event import Event, EventKind
from kafka_bridge.messages.cloud_events import MirroredEvent, accepted_ms, place_of


@dataclass(slots=True)
class RebuiltChannel:
    """State of a channel to restore in Redis: see `common/redis/lua/publish/publish.lib.lua`.

    `before` is the epoch before `epoch`, and `ended_at` the offset at which it ended. `log` holds
    the last payloads, contiguous up to `offset`.
    """

    log: deque[bytes]
    epoch: str = ""
    offset: int = 0
    before: str = ""
    ended_at: int = 0

    def add(self, epoch: str, offset: int, accepted: int, text: bytes) -> None:
        """Add the next publication."""
        base = "-"
        if epoch != self.epoch:
            # One that begins anew had been forgotten: where the epoch before ended was not known.
            if self.epoch and (offset > 1 or not self.offset):
                self.before, self.ended_at = self.epoch, offset - 1
                base = f"{self.before}:{self.ended_at}"
            else:
                self.before, self.ended_at = "", 0
            # What the server handed out beyond the end it recorded was lost with that server.
            while self.log and self.offset >= offset:
                self.log.pop()
                self.offset -= 1
            self.epoch = epoch
        if offset != self.offset + 1:
            # The log's index is an offset: it may have no hole.
            self.log.clear()
        self.log.append(
            b"%b %d %d %b\n%b" % (epoch.encode(), offset, accepted, base.encode(), text)
        )
        self.offset = offset


@dataclass(slots=True)
class Rebuild:
    """All channels, and what was read before.

    Args:
        log_max: publications kept per channel.
    """

    log_max: int
    channels: dict[str, RebuiltChannel] = field(default_factory=dict)
    epoch: str = ""
    """The epoch that began last."""
    _epochs: set[str] = field(default_factory=set)
    _seen_offsets: dict[tuple[str, str], int] = field(default_factory=dict)
    _seen_ids: set[str] = field(default_factory=set)

    def is_new(self, mirrored: MirroredEvent) -> bool:
        """Return whether an event is new, by its CloudEvents id, and remember it.

        The first occurrences of a channel's publications come in order, so one offset per channel
        and epoch says as much as all their ids.
        """
        event = mirrored.event
        if event.kind != EventKind.PUBLISHED:
            if mirrored.id in self._seen_ids:
                return False
            self._seen_ids.add(mirrored.id)
            return True
        epoch, offset = place_of(event)
        spot = (event.channel, epoch)
        last = self._seen_offsets.get(spot)
        if last is not None and offset <= last:
            return False
        self._seen_offsets[spot] = offset
        return True

    def add(self, event: Event) -> None:
        """Take a new event, in the order of the stream."""
        if event.kind == EventKind.USER_DELETED:
            # The offsets go on; what was said is gone.
            known = self.channels.get(event.channel)
            if known is not None:
                known.log.clear()
            return
        if event.kind != EventKind.PUBLISHED:
            return
        channel = self.channels.get(event.channel)
        if channel is None:
            channel = self.channels[event.channel] = RebuiltChannel(deque(maxlen=self.log_max))
        epoch, offset = place_of(event)
        if epoch not in self._epochs:
            self._epochs.add(epoch)
            self.epoch = epoch
        channel.add(epoch, offset, accepted_ms(event), event.text)


def new_ones(rebuild: Rebuild, mirrored: Iterator[MirroredEvent]) -> Iterator[Event]:
    """Leave out what was read before."""
    for one in mirrored:
        if rebuild.is_new(one):
            yield one.event
