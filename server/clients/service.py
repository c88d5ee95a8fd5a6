"""Changes of client applications, by routes and command line: first the database, then Redis."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection
from typing import Any, Final

from redis.asyncio import Redis

from common.auth.client_directory import POLL_S, Directory, DirectoryWriter
from common.auth.client_records import ALL_SCOPES, ClientRecord, Scope
from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.events.event import EventKind
from common.events.payloads import Audit, encode
from common.model.timestamps import format_time, unix_ms
from common.process.periodic import every
from common.redis.shards import Shards
from common.telemetry.outage import redis_outage
from history.database import Database, DatabaseAwayError
from history.queries.clients import (
    Actor,
    AuditEvent,
    Client,
    ClientEdit,
    change,
    find_client,
    new_client_id,
    records,
)  # fmt: skip

log = logging.getLogger("roomcast.server")

SYNC_INTERVAL_S: Final = 1.0
SETTLED_AFTER_S: Final = POLL_S + 0.1
"""Seconds after which every process that keeps up has read a change."""


class Clients:
    """Changes clients, and propagates the changes to every process.

    A change is final once the database has it: if Redis does not get it at once, it gets it from
    `sync`, of this server or of another one.

    Args:
        database: where the clients are.
        redis: a client with a short timeout.
        shards: makes its keys.
        settings: whether the event stream has readers.
        writer: name of this server.
    """

    def __init__(
        self, database: Database, redis: Redis, shards: Shards, settings: Settings, writer: str
    ) -> None:
        self.database = database
        self._redis: Any = redis
        self._shards = shards
        self._events_max = None if settings.reader_groups else settings.events_max_entries
        self._writer = writer
        self._directory = DirectoryWriter(redis, shards.global_keys)

    @contextlib.asynccontextmanager
    async def change(self, actor: Actor, client: str) -> AsyncIterator[ClientEdit]:
        """Change one client, all or nothing.

        Raises:
            DatabaseAwayError: either nothing was changed, or everything.
        """
        async with (
            self.database.connection() as connection,
            change(connection, actor, client) as under_way,
        ):
            yield under_way
            record = await under_way.finish()
        if record is not None:
            await self._tell([record], under_way.events)

    async def create(
        self,
        actor: Actor,
        name: str,
        email: str,
        *,
        operator: bool = False,
        scopes: Collection[Scope] = ALL_SCOPES,
    ) -> tuple[Client, str]:
        """Make a client and its first key.

        Args:
            actor: who makes it.
            name: of the client.
            email: contact of the people responsible for it.
            operator: whether its admin keys manage all clients.
            scopes: of the first key; the caller checks that the actor may give them.

        Returns:
            The client, and the key's text.

        Raises:
            DatabaseAwayError: either nothing was made, or everything.
        """
        an_id = new_client_id()
        async with self.change(actor, an_id) as under_way:
            await under_way.make(name, email, operator=operator)
            key = await under_way.add_key("first", sorted(scopes), None)
        async with self.database.connection() as connection:
            made = await find_client(connection, an_id)
        assert made is not None, "no client is ever deleted"
        return made, key.text

    async def _tell(self, found: list[ClientRecord], events: list[AuditEvent]) -> None:
        try:
            await self._directory.write(found)
            for event in events:
                await self._redis.xadd(
                    self._shards.of(f"{event.subject}/").events,
                    _audit_entry(event, self._writer),
                    maxlen=self._events_max,
                )
            # After the answer, every process must know the change.
            await asyncio.sleep(SETTLED_AFTER_S)
        except REDIS_ERRORS as error:
            redis_outage.noticed("a change of a client", error)

    async def sync(self, directory: Directory) -> None:
        """Write into Redis what the database has and Redis lacks, until cancelled.

        Args:
            directory: what Redis has.
        """

        async def compare() -> None:
            if directory.is_stale:
                return
            # The database logs its outages itself.
            try:
                async with self.database.connection() as connection:
                    found = await records(connection, above=directory.version)
                if found:
                    await self._directory.write(found)
                redis_outage.back("comparing clients")
            except DatabaseAwayError:
                return
            except REDIS_ERRORS as error:
                redis_outage.lost("comparing clients", error)

        await every(SYNC_INTERVAL_S, compare, waits_first=True)


def _audit_entry(event: AuditEvent, writer: str) -> dict[str, str | bytes]:
    text = encode(
        Audit(
            event.number,
            format_time(unix_ms(event.at)),
            event.action,
            event.subject,
            event.actor.client,
            event.actor.key,
            event.details,
        )
    )
    return {"k": str(EventKind.AUDIT), "c": f"{event.subject}/", "w": writer, "p": text}
