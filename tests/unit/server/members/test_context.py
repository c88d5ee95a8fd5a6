import asyncio

from common.config.settings import Settings
from common.redis.client import connect
from common.redis.shards import Shards
from history.database import Database
from server.inbox.cache import InboxCache
from server.members.context import Members
from server.members.member_changes import Changes


def test_the_users_of_another_client_have_their_own_changes_and_cache() -> None:
    async def make() -> tuple[Members, Members]:
        # Nothing is connected until something is asked.
        redis, shards = connect("redis://127.0.0.1:1", timeout_s=1), Shards()
        changes = Changes(redis, shards, Settings(), "server-1")
        mine = Members(Database("postgresql://127.0.0.1:1/x"), changes, InboxCache(redis, shards))
        return mine, mine.of("c2")

    mine, theirs = asyncio.run(make())
    assert mine.of(mine.client) is mine
    assert theirs.client == "c2"
    assert theirs.database is mine.database
    for part in ("changes", "cached"):
        assert getattr(theirs, part)._client == "c2"
        assert getattr(mine, part)._client == mine.client
