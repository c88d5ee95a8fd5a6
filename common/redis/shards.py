"""Shards of Redis: who asks here for keys assumes nothing about their number or order."""

from collections.abc import Iterator
from typing import Final

from common.redis.keys import STANDALONE_SHARD, GlobalKeys, ShardKeys


class Shards:
    """The shards, and all keys there are: nothing else makes any.

    There is one shard for now. What routes by channel asks `of`, and what looks at everything goes
    through all shards: neither has to change once there are several. What can serve one shard only
    is given its keys, and whoever starts it takes them from `only`.
    """

    __slots__ = ("_all", "global_keys")

    def __init__(self) -> None:
        self._all: Final = (ShardKeys(STANDALONE_SHARD),)
        self.global_keys: Final = GlobalKeys()

    def of(self, channel: str) -> ShardKeys:
        """Return the keys of the shard of a scoped channel, such as `default/room:1`.

        Everything of a user (inbox, receipts) lies in the shard of the user's own channel, and
        what is about a whole client in that of its name with a slash, `shop/`.
        """
        del channel
        return self._all[0]

    @property
    def only(self) -> ShardKeys:
        """Keys of the one shard there is."""
        (one,) = self._all
        return one

    def __iter__(self) -> Iterator[ShardKeys]:
        """Go through the keys of all shards."""
        return iter(self._all)
