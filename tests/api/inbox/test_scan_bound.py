"""One answer looks through so many unwritten events, however far the writer is behind."""

from typing import Any

import pytest

from server.notifications.unwritten_events import EVENTS_SCANNED_MAX
from tests.conftest import MakeStack
from tests.history.stream import add, frame, published, unread
from tests.support.clients.api import Api
from tests.support.processes.stack import Stack
from tests.support.waiting import until

PAGE = 1_000
NOISE: dict[str, Any] = {"k": "read", "c": "default/user:9", "w": "w1", "p": "{}"}


@pytest.fixture
async def behind(make_stack: MakeStack) -> Stack:
    """A stack whose writer is stopped, with more events than are looked through for one answer.

    The first one is of the notification `near`, the last one of `far`.
    """
    stack = make_stack(history=1, workers=0, gateways=0)

    async def written() -> bool:
        return await unread(stack) == 0

    await add(stack, NOISE)
    await until(written)
    stack.processes["history-1"].stop()
    await add(stack, published(frame(1, id="near")))
    for _ in range(EVENTS_SCANNED_MAX // PAGE):
        await add(stack, *[NOISE] * PAGE)
    await add(stack, published(frame(2, id="far")))
    stack.valkey.command("CONFIG", "RESETSTAT")
    return stack


def calls(stack: Stack, command: str) -> int:
    found: Any = stack.valkey.command("INFO", "commandstats")
    return int(found.get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def test_a_story_is_looked_for_in_the_oldest_unwritten_events(behind: Stack) -> None:
    async with Api(behind) as api:
        assert (await api.story("near"))["status"] == "published"
        behind.valkey.command("CONFIG", "RESETSTAT")
        assert (await api("GET", "/notifications/far")).status == 404
        assert calls(behind, "xrange") == EVENTS_SCANNED_MAX // PAGE


async def test_what_was_sent_is_looked_for_in_the_newest_unwritten_events(behind: Stack) -> None:
    async with Api(behind) as api:
        answer = await api("GET", "/notifications")
        assert [one["id"] for one in answer.body["notifications"]] == ["far"]
        assert calls(behind, "xrevrange") == EVENTS_SCANNED_MAX // PAGE
