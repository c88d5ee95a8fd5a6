"""The bridge's end of the event stream: acknowledges, and tells history of it, in one step."""

from collections.abc import Sequence

from redis.asyncio import Redis

from common.events.event import Event
from common.events.group_reader import NO_GROUP, EventReader
from common.model.channels import KAFKA_GROUP
from common.redis.keys import Keys
from common.redis.scripts import Argument, Script


class MirrorReader(EventReader):
    """One replica's end of the group `kafka`.

    Args:
        redis: a client whose replies may take `block_s`.
        url: of that Redis.
        keys: of the shard.
        batch: most entries handed out at once.
        block_s: how long to wait for a first one.
    """

    def __init__(
        self, redis: Redis, url: str, keys: Keys, *, batch: int, block_s: float = 1.0
    ) -> None:
        super().__init__(redis, url, keys, KAFKA_GROUP, batch=batch, block_s=block_s)
        self._mirrored = Script("mirrored")

    async def acknowledge_mirrored(self, events: Sequence[Event], stories: Sequence[bytes]) -> None:
        """Say that these, and all before them, need not come again, and where they are in Kafka.

        Nothing is written of what was acknowledged already: by the same call, whose reply was
        lost, or by another leader.

        Args:
            events: a run as it was handed out.
            stories: texts of the `mirrored` events to be written.

        Raises:
            redis.exceptions.RedisError: Redis does not answer; call again.
        """
        if not events:
            return
        args: list[Argument] = [self._group, events[-1].id, len(events), self.name, *stories]
        if await self._mirrored(self._redis, [self._stream], args) == NO_GROUP:
            # Reading does not notice that the group is gone.
            self._begins = True
