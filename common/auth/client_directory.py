"""Directory of all clients, copied from Redis by every process and kept up to date.

Guarantee: while Redis answers, a change is known here within `POLL_S` and a round trip. A process
that could not reach Redis for `STALE_AFTER_S` accepts no credentials at all: it can't know which
were revoked. Clients are never deleted, only disabled, and of two records of a client the one with
the higher version holds, so that a Redis that was emptied or fell back revives nothing.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from redis.asyncio import Redis

from common.auth.client_records import ClientRecord, KeyRecord, decode_record, encode_record
from common.auth.principal import Principal
from common.process.periodic import every
from common.redis.keys import GlobalKeys
from common.redis.scripts import Argument, Script

log = logging.getLogger("roomcast.auth")

POLL_S: Final = 0.5
STALE_AFTER_S: Final = 5.0
_RECORDS_AT_ONCE: Final = 500


class KnownKey(NamedTuple):
    """A key and the principal that it authenticates. `expires_ms` is a Unix time, 0: never."""

    digest: bytes
    expires_ms: int
    principal: Principal


def _known(client: ClientRecord, key: KeyRecord) -> KnownKey:
    principal = Principal(client.id, key.scopes, key=key.id, operator=client.operator)
    return KnownKey(key.digest, key.expires_ms, principal)


class Directory:
    """The clients and their keys, in memory.

    Args:
        redis: a client with a short timeout.
        keys: those of no shard.
    """

    def __init__(self, redis: Redis, keys: GlobalKeys) -> None:
        self._redis: Any = redis
        self._redis_keys = [keys.clients, keys.clients_order, keys.clients_head]
        self._script = Script("clients_read")
        self._generation = b""
        self._seen = 0
        self._clients: dict[str, ClientRecord] = {}
        self._keys: dict[str, KnownKey] = {}
        self._asked_at: float | None = None
        self.version = 0
        """Highest version of any record that this Redis has."""
        self.listeners: list[Callable[[ClientRecord], None]] = []
        """Called with each record that changed."""
        self.asked = asyncio.Event()
        """Set once Redis has answered."""

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def tenants(self) -> int:
        """Number of clients that are neither disabled nor an operator's."""
        return sum(not (one.disabled or one.operator) for one in self._clients.values())

    def client(self, an_id: str) -> ClientRecord | None:
        """Return a client, or None if there is none or it is disabled."""
        record = self._clients.get(an_id)
        return None if record is None or record.disabled else record

    def key(self, an_id: str) -> KnownKey | None:
        """Return a key, or None if it is revoked or its client disabled; it may have expired."""
        return self._keys.get(an_id)

    @property
    def is_stale(self) -> bool:
        """True if the copy may be too old to rely on."""
        return self._asked_at is None or time.monotonic() - self._asked_at > STALE_AFTER_S

    async def run(self) -> None:
        """Follow the changes until cancelled."""
        await every(POLL_S, self.refresh, part="clients")

    async def refresh(self) -> None:
        """Ask Redis for what changed.

        Raises:
            redis.exceptions.RedisError, OSError: it does not answer.
        """
        began = time.monotonic()
        more = True
        while more:
            generation, found = await self._script(
                self._redis,
                self._redis_keys,
                [self._generation, self._seen, _RECORDS_AT_ONCE],
            )
            if generation != self._generation:
                self._generation, self.version = generation, 0
            for text, seen in zip(found[::2], found[1::2], strict=True):
                self._seen = int(seen)
                self._take(text)
            more = len(found) == 2 * _RECORDS_AT_ONCE
        self._asked_at = began
        self.asked.set()

    def _take(self, text: bytes) -> None:
        try:
            record = decode_record(text.partition(b" ")[2])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            log.warning(
                "a client's record in redis is unreadable; it is ignored",
                extra={"reason": str(error)},
            )
            return
        self.version = max(self.version, record.version)
        known = self._clients.get(record.id)
        if known is not None and known.version >= record.version:
            return
        for key in known.keys if known else ():
            self._keys.pop(key.id, None)
        self._clients[record.id] = record
        if not record.disabled:
            self._keys |= {key.id: _known(record, key) for key in record.keys}
        for listener in self.listeners:
            listener(record)


class DirectoryWriter:
    """Writer of the records that every `Directory` reads.

    Args:
        redis: a client with a short timeout.
        keys: those of no shard.
    """

    def __init__(self, redis: Redis, keys: GlobalKeys) -> None:
        self._redis = redis
        self._keys = [keys.clients, keys.clients_order, keys.clients_head]
        self._script = Script("clients_write")

    async def write(self, records: Sequence[ClientRecord]) -> None:
        """Write records, except where Redis has a newer one.

        Raises:
            redis.exceptions.RedisError, OSError: the outcome is unknown; repeat.
        """
        for first in range(0, len(records), _RECORDS_AT_ONCE):
            args: list[Argument] = [_new_generation()]
            for record in records[first : first + _RECORDS_AT_ONCE]:
                args += (record.id, record.version, encode_record(record))
            await self._script(self._redis, self._keys, args)


def _new_generation() -> str:
    # For a Redis that was emptied; if two processes do this at once, the first one's counts.
    return f"{time.time_ns():x}"
