"""Events for tests of the history writer, and what became of them in the database."""

import json
import time
from typing import Any

import asyncpg

from common.model.ids import new_id
from common.model.timestamps import format_time
from tests.support.processes.stack import KEYS, Stack


def frame(offset: int, *, room: str = "1", **fields: Any) -> dict[str, Any]:
    """A frame as clients get it."""
    return {
        "type": "room",
        "id": new_id(),
        "userId": "2",
        "target": room,
        "message": "hi",
        "data": None,
        "priority": "high",
        "createdAt": format_time(time.time_ns() // 1_000_000),
        "channel": f"room:{room}",
        "epoch": "e1",
        "offset": offset,
        **fields,
    }


def published(body: dict[str, Any], extra: str = "") -> dict[str, str | bytes]:
    """The entry of a publication."""
    return {
        "k": "published",
        "c": f"default/{body['channel']}",
        "w": "w1",
        "p": json.dumps(body),
        "x": extra,
    }


async def add(stack: Stack, *entries: dict[str, Any]) -> list[str]:
    """Write entries to the event stream, and return their ids."""
    async with stack.valkey.client() as client:
        pipe = client.pipeline(transaction=False)
        for entry in entries:
            pipe.xadd(KEYS.events, entry)  # type: ignore[arg-type]  # invariant in redis-py
        return [str(found) for found in await pipe.execute()]


async def unread(stack: Stack) -> int:
    """How many entries the group has not acknowledged; -1: there is no group."""
    async with stack.valkey.client() as client:
        if not await client.exists(KEYS.events):
            return -1
        for group in await client.xinfo_groups(KEYS.events):
            if group["name"] == "history":
                return int(group["pending"]) + int(group["lag"] or 0)
    return -1


async def fetch(stack: Stack, query: str, *arguments: Any) -> list[Any]:
    """Rows of a query."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


async def count(stack: Stack, table: str) -> int:
    """How many rows a table has."""
    ((number,),) = await fetch(stack, f"SELECT count(*) FROM {table}")
    return int(number)
