"""What must be true of a mirror, whatever was done to it."""

import asyncio
import json
from collections import defaultdict
from typing import Any

from redis.asyncio import Redis

from tests.support.clients.sender import Answer, Sender
from tests.support.processes.stack import KEYS, Stack
from tests.support.stores.kafka import EVENTS, Broker, Record, first_occurrences
from tests.support.waiting import until


def cloud_event(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(record.value)
    return found


def event_id(record: Record) -> str:
    return str(cloud_event(record)["id"])


def notifications(records: list[Record]) -> list[dict[str, Any]]:
    """The frames of what was published, once each, in the order of the partitions."""
    return [
        event["data"]
        for event in map(cloud_event, first_occurrences(records, event_id))
        if event["type"] == "roomcast.notification.published"
    ]


async def check_mirror(broker: Broker, ids: list[str], timeout_s: float = 60.0) -> list[Record]:
    """Every id is in Kafka, once after deduplication, and each channel's offsets are 1, 2, 3, …"""
    wanted = set(ids)

    def all_there(records: list[Record]) -> bool:
        return wanted <= {frame["id"] for frame in notifications(records)}

    records = await asyncio.to_thread(broker.consume_until, EVENTS, all_there, timeout_s)
    frames = notifications(records)
    assert sorted(frame["id"] for frame in frames) == sorted(ids)
    offsets: defaultdict[str, list[int]] = defaultdict(list)
    for frame in frames:
        offsets[frame["channel"]].append(frame["offset"])
    for channel, found in offsets.items():
        assert found == list(range(1, len(found) + 1)), channel
    places = {
        event_id(record): record.partition for record in records
    }  # a repeat is in the partition of the first
    assert all(places[event_id(record)] == record.partition for record in records)
    return records


def published(records: list[Record]) -> list[Record]:
    """Those of publications."""
    return [each for each in records if cloud_event(each)["type"].endswith(".published")]


async def check_all_acknowledged(stack: Stack, group: str = "kafka") -> None:
    """Nothing of the stream is left for the bridge to do."""
    async with stack.valkey.client() as client:
        await until(lambda: _settled(client, group), "everything is acknowledged")


async def _settled(client: Redis, group: str) -> bool:
    connection: Any = client
    for found in await connection.xinfo_groups(KEYS.events):
        if found["name"] == group:
            return bool(found["pending"] == 0 and found["lag"] == 0)
    return False


def room(number: int, text: str = "x", **more: Any) -> dict[str, Any]:
    return {"type": "room", "userId": 1, "target": number, "message": text, **more}


async def send_many(stack: Stack, count: int, rooms: int = 7, batch: int = 20) -> list[str]:
    """Send room notifications as arrays, one after the other; return the ids."""
    ids: list[str] = []
    async with Sender(stack.http_urls[0]) as send:
        for first in range(0, count, batch):
            body = [room(n % rooms, f"m{n}") for n in range(first, min(first + batch, count))]
            answer: Answer = await send(body)
            ids += answer.ids
    return ids
