"""A gateway's reads of positions and logs."""

import pytest

from common.model.publication import Position
from tests.support.stores.job_queue import KEYS, Queue, notification
from ws_gateway.channels.log_reader import LogReader, Replay

ROOM = "default/room:1"


async def test_positions_come_in_the_order_of_the_channels(queue: Queue) -> None:
    await queue.send(notification(), notification(), notification(room=2))
    found = await LogReader(queue.redis, KEYS).positions(["default/room:2", ROOM, "default/room:3"])
    assert [standing.position.offset for standing in found] == [1, 2, 0]
    assert len({standing.position.epoch for standing in found}) == 1


async def test_a_replay_is_what_the_log_has_behind_a_position(queue: Queue) -> None:
    await queue.send(*(notification() for _ in range(3)))
    log = await queue.log(ROOM)
    reader, epoch = LogReader(queue.redis, KEYS), log[0].epoch
    now = Position(epoch, 3)
    assert await reader.replay(ROOM, Position(epoch, 1)) == Replay(now, True, log[1:])
    assert await reader.replay(ROOM, now) == Replay(now, True, [])
    assert (await reader.replay(ROOM, Position("unknown", 1))).exact is False


async def test_a_read_is_bounded_and_read_on_from_there(queue: Queue) -> None:
    await queue.send(*(notification() for _ in range(5)))
    reader, log = LogReader(queue.redis, KEYS), await queue.log(ROOM)
    at, found = Position(log[0].epoch, 0), list(log[:0])
    while len(found) < 5:
        replay = await reader.replay(ROOM, at, max_bytes=1)
        assert replay.exact
        assert 1 <= len(replay.publications) < 5
        found += replay.publications
        at = Position(at.epoch, found[-1].offset)
    assert found == log


@pytest.mark.parametrize("rubbish", [b"rubbish", b"e x 1 -\n{}", b"\xff 1 1 -\n{}"])
async def test_a_log_that_somebody_wrote_to_is_not_exact_and_says_so(
    queue: Queue, rubbish: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await queue.send(*(notification() for _ in range(3)))
    log = await queue.log(ROOM)
    await queue.redis.lset(KEYS.log_prefix + ROOM, 1, rubbish)
    replay = await LogReader(queue.redis, KEYS).replay(ROOM, Position(log[0].epoch, 0))
    assert replay.exact is False
    assert replay.publications == log[2:]
    assert "changed or cut by somebody else" in caplog.text
