"""A stack with everything behind it, and what Kafka and PostgreSQL have of its publications.

It requires credentials.

    with whole_stack(tmp_path, Tansu(tmp_path)) as stack:
        ...
        await until_read(stack)
        rows = await in_postgres(stack)

Nothing is trimmed from its event stream: one of the enabled readers is never there.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from common.model.channels import scoped
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, make_client
from tests.support.processes.process import free_port
from tests.support.processes.stack import KEYS, Stack
from tests.support.stores.kafka import EVENTS, Broker, Reading, Record
from tests.support.stores.postgres import Postgres
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until

READERS: Final = ("history", "kafka")
SETTLE_TIMEOUT_S: Final = 60.0


class Whole(AuthStack):
    """Three workers, two gateways, a history writer, a bridge.

    Args:
        folder: for data and logs.
        postgres: started; the stack's own, so that it can be killed.
        broker: started.
        settings: as `Stack`.
    """

    def __init__(self, folder: Path, postgres: Postgres, broker: Broker, **settings: str) -> None:
        named: dict[str, Any] = broker.settings(",".join((*READERS, "test"))) | settings
        super().__init__(
            folder,
            workers=3,
            gateways=2,
            history=1,
            bridges=1,
            valkey=Valkey(folder, appendfsync="always"),
            postgres=postgres,
            AUTH_MODE="required",
            **named,
        )
        self.postgres = postgres
        self.broker = broker
        self.mirror = Reading(broker, EVENTS)

    def logs(self) -> Iterable[tuple[str, str]]:
        """Of the broker, too."""
        yield from super().logs()
        yield self.broker.process.name, self.broker.process.log_tail()


@contextlib.contextmanager
def whole_stack(folder: Path, broker: Broker, **settings: str) -> Iterator[Whole]:
    """Start the broker, a PostgreSQL and a stack, and end them."""
    with (
        Postgres(folder, free_port()) as postgres,
        broker,
        Whole(folder, postgres, broker, **settings) as stack,
    ):
        stack.made = asyncio.run(_client_of(stack))
        yield stack


async def _client_of(stack: AuthStack) -> Made:
    async with Api(stack) as api:
        return await make_client(api, stack)


def entry_order(entry_id: str) -> tuple[int, ...]:
    """Sorts ids of stream entries."""
    return tuple(int(part) for part in entry_id.split("-"))


HANDED_OUT_S: Final = 0.5
"""Several times as long as the bridge lets events come together."""


async def position(stack: Stack, group: str) -> str:
    """Id of the last entry that a reader acknowledged."""
    async with stack.valkey.client() as client:
        for found in await client.xinfo_groups(KEYS.events):
            if found["name"] == group:
                return str(found["last-delivered-id"])
    return "0-0"


async def pending(stack: Stack, group: str) -> list[str]:
    """Ids of publications that a reader must have been handed by now and has not acknowledged.

    Redis knows what is acknowledged, not what was handed out: a reader that lives has read what is
    older than `HANDED_OUT_S`.
    """
    async with stack.valkey.client() as client:
        seconds, micros = await client.time()
        newest = int((seconds + micros / 1e6 - HANDED_OUT_S) * 1000)
        entries: Any = await client.xrange(
            KEYS.events, f"({await position(stack, group)}", str(newest), 1_000
        )
    return [an_id for an_id, fields in entries if fields["k"] == "published"]


async def until_read(stack: Stack) -> None:
    """Wait until the writer and the bridge acknowledged all that is on the event stream now."""
    async with stack.valkey.client() as client:
        last = entry_order((await client.xinfo_stream(KEYS.events))["last-generated-id"])

        async def read() -> bool:
            groups = {found["name"]: found for found in await client.xinfo_groups(KEYS.events)}
            return all(
                name in groups
                and entry_order(groups[name]["last-delivered-id"]) >= last
                and groups[name]["pending"] == 0
                for name in READERS
            )

        await until(read, "history and Kafka have read everything", SETTLE_TIMEOUT_S)


async def in_postgres(
    stack: Stack, client: str, channels: Iterable[str]
) -> dict[str, list[dict[str, Any]]]:
    """Bodies of a client's rows of table `publications` by channel, in the order of offsets.

    Raises:
        AssertionError: a column says something else than the text that clients got.
    """
    connection = await asyncpg.connect(stack.database_url)
    try:
        rows = await connection.fetch(
            'SELECT channel, epoch, "offset", notification, status, frame FROM publications'
            ' WHERE client = $1 AND channel = ANY($2) ORDER BY "offset"',
            client,
            list(channels),
        )
    finally:
        await connection.close()
    found: dict[str, list[dict[str, Any]]] = {channel: [] for channel in channels}
    for row in rows:
        body = json.loads(row["frame"])
        assert row["status"] == "published"
        assert (row["channel"], row["epoch"], row["offset"], row["notification"]) == (
            *(body["channel"], body["epoch"], body["offset"], body["id"]),
        )
        found[row["channel"]].append(body)
    return found


@dataclass(frozen=True, slots=True)
class Mirrored:
    """First occurrences of publications by channel, as they come, and how many repeats."""

    bodies: dict[str, list[dict[str, Any]]]
    repeats: int


def mirrored(records: Iterable[Record], client: str, channels: Iterable[str]) -> Mirrored:
    """What the records of the events topic have of some channels of a client.

    Raises:
        AssertionError: a repeat, by the CloudEvents id, differs from its first occurrence or is
            elsewhere, or a record's key or headers don't fit what it holds.
    """
    bodies: dict[str, list[dict[str, Any]]] = {channel: [] for channel in channels}
    names = {scoped(channel, client).encode(): channel for channel in bodies}
    firsts: dict[str, tuple[int, dict[str, Any]]] = {}
    repeats = 0
    for record in records:
        channel = names.get(record.key or b"")
        event = json.loads(record.value)
        if channel is None or event["type"] != "roomcast.notification.published":
            continue
        body = event["data"]
        assert body["channel"] == channel
        assert record.headers["id"] == body["id"].encode()
        first = firsts.setdefault(event["id"], (record.partition, event))
        if first[1] is event:
            bodies[channel].append(body)
        else:
            repeats += 1
            assert first == (record.partition, event), "a repeat is something else than the first"
    return Mirrored(bodies, repeats)
