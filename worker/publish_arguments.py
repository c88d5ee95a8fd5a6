"""Arguments common to all publishing scripts: publisher, place and bounds."""

import re
import secrets
from typing import Final

from redis.exceptions import RedisError

from common.config.settings import Settings
from common.redis.keys import ShardKeys
from common.redis.pipelined_connection import Link
from common.redis.scripts import Argument

RUN_CHARACTERS: Final = 12
"""Length of a run id. Every channel's hash keeps it; this is enough to tell two apart."""


class Publisher:
    """Arguments of `publish.lib.lua`, for one connection after the other."""

    def __init__(self, keys: ShardKeys, settings: Settings, worker: str) -> None:
        self._prefixes = [keys.channel_prefix, keys.log_prefix, keys.pub_prefix]
        self._bounds: list[Argument] = [
            settings.log_max_entries,
            settings.log_ttl_s,
            settings.channel_ttl_s,
            # A publisher doesn't trim events that a reader has not acknowledged.
            "" if settings.reader_groups else settings.events_max_entries,
            worker,
        ]
        self._run = ""

    async def begin(self, link: Link, timeout_s: float) -> None:
        """Read the run id of the server behind a new connection, which never changes on it.

        Raises:
            LinkLostError: the connection is gone.
            redis.exceptions.RedisError: INFO has no run id.
        """
        info = await link.call("INFO", "server", timeout_s=timeout_s)
        found = re.search(rb"run_id:([0-9a-f]+)", info)
        if found is None:
            raise RedisError("INFO has no run_id")
        self._run = found[1].decode()[:RUN_CHARACTERS]

    def arguments(self) -> list[Argument]:
        """Return the arguments in their order; the epoch that they propose is new every time."""
        return [self._run, *self._prefixes, secrets.token_hex(4), *self._bounds]
