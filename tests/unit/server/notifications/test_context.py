import asyncio

from common.redis.client import connect
from common.redis.shards import Shards
from history.database import Database
from server.notifications.context import SentNotifications


def test_another_client_has_its_own_notifications() -> None:
    async def make() -> SentNotifications:
        # Nothing is connected until something is asked.
        redis = connect("redis://127.0.0.1:1", timeout_s=1)
        return SentNotifications(Database("postgresql://127.0.0.1:1/x"), redis, Shards())

    mine = asyncio.run(make())
    theirs = mine.of("c2")
    assert mine.of(mine.client) is mine
    assert (theirs.client, theirs.redis) == ("c2", mine.redis)
