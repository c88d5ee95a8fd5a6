"""Private notifications that reached a socket are marked as read, others are not."""

import asyncio
from collections.abc import Sequence
from typing import Any

from common.events.event import EventKind
from common.model.publication import Position
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.pending import Pending
from ws_gateway.reports.read_on_delivery import ReadOnDelivery


class Receipts:
    """Keeps the receipts that it is given."""

    def __init__(self) -> None:
        self.written: list[tuple[EventKind, str, str, list[str]]] = []

    async def write(
        self, kind: EventKind, client: str, user: str, ids: Sequence[str], connection: str
    ) -> bool:
        assert connection == ""
        self.written.append((kind, client, user, list(ids)))
        return True


def pending(*ids: str) -> list[Pending]:
    return [
        Pending(b'{"type":"private","id":"%b"}' % an_id.encode(), Position("e", n), 1)
        for n, an_id in enumerate(ids, 1)
    ]


async def receipts_of(channel: str, items: list[Pending], written: int) -> list[Any]:
    receipts = Receipts()
    anything: Any = receipts
    name = f"shop/{channel}"
    ReadOnDelivery(anything).note(Channel(name, channel), items, written)
    await asyncio.sleep(0)
    return receipts.written


async def test_what_reached_a_user_is_read_in_one_receipt() -> None:
    reset = Pending(b'{"type":"reset"}', Position("e", 2), 0)
    found = await receipts_of("user:ann", [*pending("a", "b"), reset], 2)
    assert found == [(EventKind.READ, "shop", "ann", ["a", "b"])]


async def test_nothing_is_read_that_reached_nobody_or_is_not_private() -> None:
    assert await receipts_of("user:ann", pending("a"), 0) == []
    assert await receipts_of("room:1", pending("a"), 3) == []
    assert await receipts_of("user:ann", [Pending(b"{}", Position("e", 1), 0)], 1) == []
