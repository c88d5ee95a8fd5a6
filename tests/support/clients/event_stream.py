"""What is on the event stream."""

import json
from dataclasses import dataclass
from typing import Any

from tests.support.processes.stack import KEYS, Stack
from tests.support.waiting import WAIT_TIMEOUT_S, until


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the event stream: kind, scoped channel, and the text as JSON."""

    kind: str
    channel: str
    body: dict[str, Any]


async def events(stack: Stack, start: str = "-") -> list[Event]:
    """The event stream, oldest first; all of it, or from `start` on, as XRANGE takes it."""
    found: list[Event] = []
    async with stack.valkey.client() as client:
        while True:
            page: Any = await client.xrange(KEYS.events, start, "+", count=1_000)
            for _, entry in page:
                body = {} if entry["k"] == "dead" else json.loads(entry["p"])
                found.append(Event(entry["k"], entry["c"], body))
            if len(page) < 1_000:
                return found
            start = f"({page[-1][0]}"


async def until_published(stack: Stack, count: int, timeout_s: float = WAIT_TIMEOUT_S) -> None:
    """Wait until the event stream has so many entries."""
    async with stack.valkey.client() as client:

        async def enough() -> bool:
            return int(await client.xlen(KEYS.events)) >= count

        await until(enough, f"{count} events", timeout_s)
