from typing import Any

import pytest

from common.model.publication import Position, Publication
from tests.support.stores.job_queue import KEYS, Queue, notification

ROOM = "default/room:1"


async def filled(queue: Queue, count: int, **how: Any) -> list[Publication]:
    await queue.send(*(notification() for _ in range(count)), **how)
    return await queue.log(ROOM)


async def test_a_silent_channel_stands_at_0_in_the_epoch_it_would_begin_in(queue: Queue) -> None:
    one, other = await queue.positions("default/room:1", "default/user:1")
    assert one == other
    assert one.offset == 0
    (published,) = await filled(queue, 1)
    assert published.follows(one)
    assert await queue.positions(ROOM) == [Position(published.epoch, 1)]


async def test_each_offset_is_continued_exactly(queue: Queue) -> None:
    log = await filled(queue, 10)
    epoch = log[0].epoch
    for offset in range(11):
        assert await queue.replay(ROOM, Position(epoch, offset)) == (
            Position(epoch, 10), True, log[offset:],
        )  # fmt: skip


async def test_past_the_end_is_not_exact(queue: Queue) -> None:
    log = await filled(queue, 3)
    now, exact, entries = await queue.replay(ROOM, Position(log[0].epoch, 4))
    assert (now.offset, exact, entries) == (3, False, [])


async def test_an_unknown_epoch_is_not_exact_and_brings_all_of_the_one_now(queue: Queue) -> None:
    await filled(queue, 3)
    for offset in (0, 2, 3, 9):
        now, exact, entries = await queue.replay(ROOM, Position("nonsense", offset))
        assert (now.offset, exact) == (3, False)
        assert [entry.offset for entry in entries] == [1, 2, 3]


async def test_from_before_the_log_it_is_not_exact_and_brings_what_the_log_has(
    queue: Queue,
) -> None:
    log = await filled(queue, 10, log_max=4)
    epoch = log[0].epoch
    assert [entry.offset for entry in log] == [7, 8, 9, 10]
    for offset, expected in ((5, False), (6, True), (7, True)):
        _, exact, entries = await queue.replay(ROOM, Position(epoch, offset))
        assert exact is expected
        assert entries == log[max(0, offset - 6) :]


async def test_a_log_that_expired_is_not_exact_unless_nothing_was_missed(queue: Queue) -> None:
    log = await filled(queue, 3)
    await queue.redis.delete(KEYS.log_prefix + ROOM)
    epoch = log[0].epoch
    assert (await queue.replay(ROOM, Position(epoch, 2)))[1:] == (False, [])
    assert (await queue.replay(ROOM, Position(epoch, 3)))[1:] == (True, [])


@pytest.mark.parametrize(("entries", "size"), [(1, 1 << 20), (16, 1 << 20), (17, 1 << 20),
                                               (500, 1), (500, 3_000)])  # fmt: skip
async def test_a_long_log_comes_in_bounded_pieces_that_join_without_a_hole(
    queue: Queue, entries: int, size: int
) -> None:
    log = await filled(queue, 50)
    position, found = Position(log[0].epoch, 0), list[Publication]()
    while position.offset < 50:
        now, exact, piece = await queue.replay(ROOM, position, entries=entries, size=size)
        assert exact
        assert now.offset == 50
        assert 1 <= len(piece) <= entries
        assert sum(len(entry.text) for entry in piece[:-1]) < size
        found += piece
        position = Position(piece[-1].epoch, piece[-1].offset)
    assert found == log


async def test_across_the_end_of_an_epoch_it_is_exact_up_to_that_end(queue: Queue) -> None:
    await queue.send(*(notification() for _ in range(3)), candidate="aa")
    await queue.new_run()
    await queue.send(*(notification() for _ in range(3)), candidate="bb")
    log = await queue.log(ROOM)
    for offset in range(4):
        assert await queue.replay(ROOM, Position("aa", offset)) == (
            Position("bb", 6), True, log[offset:],
        )  # fmt: skip
    for offset in range(3, 7):
        assert (await queue.replay(ROOM, Position("bb", offset)))[1:] == (True, log[offset:])


async def test_from_past_the_end_of_an_epoch_nothing_that_came_after_it_is_skipped(
    queue: Queue,
) -> None:
    # Somebody heard aa:5, then the server lost 4 and 5 and handed them out again.
    await queue.send(*(notification() for _ in range(3)), candidate="aa")
    await queue.new_run()
    await queue.send(*(notification() for _ in range(3)), candidate="bb")
    log = await queue.log(ROOM)
    assert await queue.replay(ROOM, Position("aa", 5)) == (Position("bb", 6), False, log[3:])


async def test_an_epoch_before_the_last_is_not_exact_and_brings_the_one_now(queue: Queue) -> None:
    for candidate in ("aa", "bb", "cc"):
        await queue.send(notification(), candidate=candidate)
        await queue.new_run()
    _, exact, entries = await queue.replay(ROOM, Position("aa", 1))
    assert (exact, [(e.epoch, e.offset) for e in entries]) == (False, [("cc", 3)])
    assert (await queue.replay(ROOM, Position("bb", 2)))[1] is True


async def test_who_waits_in_a_silent_channel_misses_nothing_through_a_restart(
    queue: Queue,
) -> None:
    await queue.send(notification(room="another"))
    (silent,) = await queue.positions(ROOM)
    await queue.new_run()
    now, exact, entries = await queue.replay(ROOM, silent)
    assert (now.offset, exact, entries) == (0, True, [])
    log = await filled(queue, 2)
    assert (await queue.replay(ROOM, silent))[1:] == (True, log)
    assert log[0].follows(silent)


async def test_positions_alone_begin_no_second_epoch_in_a_run(queue: Queue) -> None:
    first = await queue.positions(ROOM, candidate="aa")
    assert await queue.positions(ROOM, candidate="bb") == first == [Position("aa", 0)]
    (published,) = await filled(queue, 1)
    assert published.follows(first[0])
