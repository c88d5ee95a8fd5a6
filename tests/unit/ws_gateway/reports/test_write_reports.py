import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from common.accounting.usage import Outcome
from common.config.settings import Settings
from common.model.publication import Position
from common.redis.shards import Shards
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.pending import Pending
from ws_gateway.channels.run import Run
from ws_gateway.reports.write_reports import WriteReports

SHOP = Channel("shop/user:ann", "user:ann")
NOTIFICATION = b'{"type":"private","id":"n1"}'


class Receipts:
    """Keeps the ids that a receipt is asked for."""

    def __init__(self) -> None:
        self.read: list[str] = []

    async def write(self, *words: Any) -> bool:
        self.read += words[3]
        return True


def make(receipts: Receipts, **settings: Any) -> WriteReports:
    # Nothing here asks Redis for anything.
    redis: Redis = Redis()
    anything: Any = receipts
    return WriteReports(redis, Shards(), Settings(**settings), anything, "g1")


def pending(offset: int) -> Pending:
    frame = bytes((0x81, len(NOTIFICATION))) + NOTIFICATION
    return Pending(frame, Position("e", offset), 1)


def counted(reports: WriteReports) -> list[tuple[str, Outcome, int]]:
    return [found for source in reports.usage._sources for found in source()]


@pytest.mark.parametrize("readers", ["", "history"])
async def test_history_is_told_only_if_it_reads(readers: str) -> None:
    reports = make(Receipts(), event_readers=readers)
    reports.written(SHOP, [pending(1), pending(2)], 3)
    reports.replayed(SHOP, [Run("e", 5, 6)])
    assert counted(reports) == [("shop", Outcome.DELIVERED, 8)]
    assert list(reports.counts._runs.values()) == ([[[1, 2, 3], [5, 6, 1]]] if readers else [])


@pytest.mark.parametrize("means_read", [False, True])
async def test_delivery_means_read_only_if_a_setting_says_so(means_read: bool) -> None:
    receipts = Receipts()
    reports = make(receipts, read_on_delivery=means_read, event_readers="history")
    reports.written(SHOP, [pending(1)], 1)
    await asyncio.sleep(0)
    assert receipts.read == (["n1"] if means_read else [])


async def test_who_comes_later_is_told_too() -> None:
    reports = make(Receipts())
    heard: list[tuple[str, int]] = []
    reports.listeners.append(lambda channel, items, sockets: heard.append((channel.name, sockets)))
    reports.written(SHOP, [pending(1)], 2)
    assert heard == [(SHOP.name, 2)]
