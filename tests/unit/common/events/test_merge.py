import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from common.events.event import Event
from common.events.merge import merge_events


async def _stream(ids: Sequence[str], asked: list[str] | None = None) -> AsyncIterator[Event]:
    for an_id in ids:
        if asked is not None:
            asked.append(an_id)
        yield Event(an_id, "published", "default/room:1", "w", b"{}", b"")


def _merge(*streams: Sequence[str], newest_first: bool = False) -> list[str]:
    async def run() -> list[str]:
        sources = [_stream(ids) for ids in streams]
        return [event.id async for event in merge_events(sources, newest_first=newest_first)]

    return asyncio.run(run())


def test_events_of_several_streams_come_by_time_and_number() -> None:
    # As numbers, not as texts.
    assert _merge(["9-1", "10-2", "11-0"], ["9-0", "10-1", "10-3", "100-0"]) == [
        "9-0", "9-1", "10-1", "10-2", "10-3", "11-0", "100-0",
    ]  # fmt: skip


def test_the_newest_come_first_if_asked() -> None:
    assert _merge(["11-0", "9-1"], ["10-5", "10-1"], newest_first=True) == [
        "11-0", "10-5", "10-1", "9-1",
    ]  # fmt: skip


@pytest.mark.parametrize("streams", [[], [[]], [[], []], [["1-0"], []], [["1-0", "2-0"]]])
def test_streams_may_be_empty_or_alone(streams: list[list[str]]) -> None:
    assert _merge(*streams) == sorted(an_id for ids in streams for an_id in ids)


def test_a_stream_keeps_its_order_even_if_its_clock_went_back() -> None:
    found = _merge(["5-0", "3-0", "6-0"], ["4-0"])
    assert [an_id for an_id in found if an_id != "4-0"] == ["5-0", "3-0", "6-0"]


async def test_no_stream_is_read_further_than_one_event_ahead() -> None:
    asked: list[str] = []
    merged = merge_events([_stream(["1-0", "3-0", "4-0"], asked), _stream(["2-0"])])
    assert (await anext(merged)).id == "1-0"
    assert asked == ["1-0"]
