"""Reports of what was written to sockets, to everything that counts it."""

from collections.abc import Callable

from redis.asyncio import Redis

from common.accounting.usage import Usage
from common.config.settings import Settings
from common.redis.shards import Shards
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.member import HeardChannel
from ws_gateway.channels.pending import Pending
from ws_gateway.channels.run import Run
from ws_gateway.reports.delivered_usage import DeliveredUsage
from ws_gateway.reports.delivery_counts import WriteCounts
from ws_gateway.reports.read_on_delivery import ReadOnDelivery
from ws_gateway.reports.receipts import ReceiptWriter

Listener = Callable[[Channel, list[Pending], int], None]
"""Called with a channel, its publications and the number of sockets they were written to."""


class WriteReports:
    """Passes on what was written: to usage, to history's counts, to receipts.

    Args:
        redis: where all of it goes.
        shards: makes its keys.
        settings: whether the event stream has readers, and whether delivery means read.
        receipts: writes those receipts.
        gateway: name of this gateway.

    Attributes:
        listeners: called at each write of the fan-out, in this order.
    """

    def __init__(
        self,
        redis: Redis,
        shards: Shards,
        settings: Settings,
        receipts: ReceiptWriter,
        gateway: str,
    ) -> None:
        delivered = DeliveredUsage()
        self.usage = Usage(redis, shards.global_keys, delivered.counted)
        self.counts = WriteCounts(redis, shards.only, gateway)
        self.listeners: list[Listener] = [delivered.note]
        self._replay_listeners = [delivered.note_replayed]
        if settings.reader_groups:
            self.listeners.append(self.counts.note)
            self._replay_listeners.append(self.counts.note_replayed)
        if settings.read_on_delivery:
            self.listeners.append(ReadOnDelivery(receipts).note)

    def written(self, channel: Channel, items: list[Pending], sockets: int) -> None:
        """Note that the fan-out wrote publications to so many sockets."""
        for listener in self.listeners:
            listener(channel, items, sockets)

    def replayed(self, channel: HeardChannel, runs: list[Run]) -> None:
        """Note that one connection got publications from the log."""
        for listener in self._replay_listeners:
            listener(channel, runs)
