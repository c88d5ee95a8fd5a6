import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from common.events import reader_loop
from common.events.event import Event
from common.events.reader_loop import ReaderLoop
from common.telemetry.outage import Outage


class Script:
    """A reader whose reads and acknowledgements have the outcomes that were written down."""

    def __init__(self, *reads: list[Any] | Exception, fails: int = 0) -> None:
        self._reads: Iterator[list[Any] | Exception] = iter(reads)
        self._fails = fails
        self.leads = True
        self.more = True
        self.reads = 0
        self.kept = 0
        self.acknowledged: list[tuple[Any, ...]] = []

    async def read(self) -> list[Any]:
        self.reads += 1
        await asyncio.sleep(0)
        outcome = next(self._reads, [])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def keep(self) -> bool:
        self.kept += 1
        return True

    async def acknowledge(self, *words: Any) -> None:
        self._fails -= 1
        if self._fails >= 0:
            raise OSError("refused")
        self.acknowledged.append(words)


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    made = Outage("redis")
    monkeypatch.setattr(reader_loop, "redis_outage", made)
    monkeypatch.setattr(reader_loop, "jittered", lambda: iter([0.0] * 1000))
    return made


def make(reader: Script, handled: list[Any], **options: Any) -> ReaderLoop:
    async def handle(events: list[Event]) -> None:
        handled.append(events)

    anything: Any = reader
    options = {"delay_s": 0.0, "note_lead": lambda _: None, **options}
    return ReaderLoop(anything, handle, **options)


@contextlib.asynccontextmanager
async def running(loop: ReaderLoop) -> Any:
    task = asyncio.ensure_future(loop.run())
    yield task
    assert not task.done(), "it never ends by itself"
    task.cancel()
    await asyncio.wait([task])


async def until(reader: Script, reads: int) -> None:
    async with asyncio.timeout(5):
        while reader.reads < reads:
            await asyncio.sleep(0)


async def test_batches_come_in_order_and_empty_reads_are_no_batches(outage: Outage) -> None:
    reader = Script(["a"], [], ["b"])
    handled: list[Any] = []
    leads: list[bool] = []
    async with running(make(reader, handled, note_lead=leads.append)):
        await until(reader, 5)
    assert handled == [["a"], ["b"]]
    assert set(leads) == {True}


async def test_redis_may_be_away_and_the_trouble_says_so(outage: Outage) -> None:
    reader = Script(OSError("refused"), TimeoutError("late"), ["a"])
    handled: list[Any] = []
    loop = make(reader, handled)
    assert (loop.trouble, loop.has_read) == (None, False)
    async with running(loop):
        await until(reader, 3)
        assert (loop.trouble, loop.has_read) == ("TimeoutError: late", False)
        assert outage
        await until(reader, 5)
    assert (loop.trouble, loop.has_read) == (None, True)
    assert not outage
    assert handled == [["a"]]


async def test_an_error_that_is_not_of_redis_ends_the_loop(outage: Outage) -> None:
    with pytest.raises(KeyError):
        await make(Script(KeyError("a mistake")), []).run()


async def test_events_come_together_after_the_last_of_them_only(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep, pauses = asyncio.sleep, []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    reader = Script(["a"], ["b"])
    loop = make(reader, [], delay_s=0.5)
    monkeypatch.setattr(asyncio, "sleep", pause)
    for more, expected in [(True, 0), (False, 2)]:
        reader._reads, reader.more = iter([["a"], ["b"]]), more
        pauses.clear()
        async with running(loop):
            for _ in range(40):
                await sleep(0)
        assert pauses.count(0.5) == expected


async def test_after_a_stop_nothing_is_read_or_reported(outage: Outage) -> None:
    reader = Script([], OSError("closed"))
    loop = make(reader, [])
    async with running(loop):
        await until(reader, 1)
        loop.stop()
        for _ in range(20):
            await asyncio.sleep(0)
        assert reader.reads <= 2
    assert (loop.trouble, bool(outage)) == (None, False)


async def test_without_room_nothing_is_read_but_the_lead_is_kept(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_loop, "KEEP_INTERVAL_S", 0.01)
    room = asyncio.Event()
    reader = Script(["a"])
    async with running(make(reader, [], wait_for_room=room.wait)):
        async with asyncio.timeout(5):
            while reader.kept < 2:
                await asyncio.sleep(0.01)
        assert reader.reads == 0
        room.set()
        await until(reader, 1)


@pytest.mark.parametrize("more", [(), ("script", "writer", b"text")])
async def test_an_acknowledgement_is_repeated_until_redis_has_it(
    outage: Outage, more: Sequence[Any]
) -> None:
    reader = Script(fails=2)
    loop = make(reader, [])
    await loop.acknowledge(["a"], *more)  # type: ignore[list-item]
    assert reader.acknowledged == [(["a"], *(more or (None,)))]
    assert (loop.trouble, bool(outage)) == (None, False)
