"""What somebody else deletes or overwrites: a position never stands for two publications."""

from collections.abc import Awaitable, Callable

import pytest

from common.model.publication import Position
from tests.support.stores.job_queue import KEYS, Queue, notification

ROOM = "default/room:1"
HASH, LOG = KEYS.channel_prefix + ROOM, KEYS.log_prefix + ROOM
Loss = Callable[[Queue], Awaitable[None]]


async def _bitmap(queue: Queue) -> str:
    return f"{KEYS.epoch}:{(await queue.redis.hget(KEYS.epoch, 'e')).decode()}"


async def _written_over(queue: Queue, *keys: str) -> None:
    for key in keys:
        await queue.redis.set(key, "x")


async def _hash(queue: Queue) -> None:
    await queue.redis.delete(HASH)


async def _hash_and_log(queue: Queue) -> None:
    await queue.redis.delete(HASH, LOG)


async def _all_but_epoch(queue: Queue) -> None:
    await queue.redis.delete(HASH, LOG, KEYS.events, await _bitmap(queue))


async def _everything(queue: Queue) -> None:
    await queue.redis.flushall()


async def _offset(queue: Queue) -> None:
    await queue.redis.hdel(HASH, "o")


async def _offset_and_log(queue: Queue) -> None:
    await queue.redis.hdel(HASH, "o")
    await queue.redis.delete(LOG)


async def _rubbish_in_the_hash(queue: Queue) -> None:
    await queue.redis.hset(HASH, mapping={"o": "many", "t": "soon"})


async def _hash_over(queue: Queue) -> None:
    await _written_over(queue, HASH)


async def _both_over(queue: Queue) -> None:
    await _written_over(queue, HASH, LOG)


async def _rubbish_in_the_log(queue: Queue) -> None:
    await queue.redis.rpush(LOG, "rubbish")
    await queue.redis.delete(HASH)


async def _epoch(queue: Queue) -> None:
    await queue.redis.delete(KEYS.epoch)


async def _epoch_and_channel(queue: Queue) -> None:
    await queue.redis.delete(KEYS.epoch, HASH, LOG)


async def _epoch_over(queue: Queue) -> None:
    await _written_over(queue, KEYS.epoch)


async def _name_of_the_epoch(queue: Queue) -> None:
    await queue.redis.hdel(KEYS.epoch, "e")


async def _bitmap_over(queue: Queue) -> None:
    await queue.redis.delete(HASH, LOG)
    await _written_over(queue, await _bitmap(queue))


LOSSES = [
    _hash, _hash_and_log, _all_but_epoch, _everything, _offset, _offset_and_log,
    _rubbish_in_the_hash, _hash_over, _both_over, _rubbish_in_the_log, _epoch, _epoch_and_channel,
    _epoch_over, _name_of_the_epoch, _bitmap_over,
]  # fmt: skip
TELLS_THE_REST = [_hash, _offset, _rubbish_in_the_hash, _hash_over, _epoch, _epoch_over]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("read_between", [False, True])
async def test_no_position_means_two_publications(
    queue: Queue, loss: Loss, read_between: bool
) -> None:
    seen: dict[tuple[str, int], bytes] = {}
    for round_ in range(4):
        for _ in range(round_ + 1):
            await queue.send(notification())
            last = (await queue.log(ROOM))[-1]
            assert seen.setdefault((last.epoch, last.offset), last.text) is last.text
        await loss(queue)
        if read_between:
            await queue.positions(ROOM)
    assert len(seen) == 10


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("read_between", [False, True])
@pytest.mark.parametrize("more", [0, 1, 3, 9])
async def test_who_comes_back_gets_what_it_missed_or_is_told_that_something_may_be_missing(
    queue: Queue, loss: Loss, read_between: bool, more: int
) -> None:
    (silent,) = await queue.positions(ROOM)
    await queue.send(*(notification() for _ in range(5)))
    everything = [entry.text for entry in await queue.log(ROOM)]
    epoch = (await queue.log(ROOM))[0].epoch
    await loss(queue)
    if read_between:
        await queue.positions(ROOM)
    for _ in range(more):
        await queue.send(notification())
        everything.append((await queue.log(ROOM))[-1].text)
    for had, position in enumerate((silent, *(Position(epoch, n) for n in range(1, 6)))):
        _, exact, found = await queue.replay(ROOM, position)
        if loss in TELLS_THE_REST:
            assert exact
        if exact:
            assert [entry.text for entry in found] == everything[had:]
        else:
            # What is sent all the same is nothing that it had.
            assert not {entry.text for entry in found} & set(everything[:had])


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_gateway_that_is_at_the_end_is_followed_or_finds_that_it_is_not(
    queue: Queue, loss: Loss
) -> None:
    await queue.send(notification(), notification())
    (position,) = await queue.positions(ROOM)
    await loss(queue)
    for _ in range(3):
        await queue.send(notification())
        last = (await queue.log(ROOM))[-1]
        # It would drop the publication, and nobody would be told.
        assert not last.is_known_at(position)


@pytest.mark.parametrize("loss", LOSSES)
async def test_who_begins_after_a_loss_is_followed(queue: Queue, loss: Loss) -> None:
    await queue.send(notification(), notification())
    await loss(queue)
    (position,) = await queue.positions(ROOM)
    await queue.send(notification())
    (last,) = (await queue.log(ROOM))[-1:]
    assert last.follows(position) or (await queue.replay(ROOM, position))[1] is False


async def test_a_channel_that_never_was_begins_in_the_epoch_of_the_shard(queue: Queue) -> None:
    (position,) = await queue.positions(ROOM)
    await queue.send(notification(2), notification(3))
    assert (await queue.positions(ROOM)) == [position]
    await queue.send(notification())
    (first,) = await queue.log(ROOM)
    assert (first.epoch, first.offset) == (position.epoch, 1)


@pytest.mark.parametrize(
    "damage",
    [
        ("RPOP", LOG), ("LPOP", LOG), ("LTRIM", LOG, "2", "3"), ("RPUSH", LOG, "rubbish"),
        ("LPUSH", LOG, "rubbish"), ("LREM", LOG, "1"), ("SET", LOG, "x"), ("DEL", LOG),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
@pytest.mark.parametrize("more", [0, 2])
async def test_a_log_that_somebody_cut_or_added_to_does_not_pass_for_whole(
    queue: Queue, damage: tuple[str, ...], more: int
) -> None:
    await queue.send(*(notification() for _ in range(5)))
    log = await queue.log(ROOM)
    words = damage
    if damage[0] == "LREM":
        words = (*damage, (await queue.redis.lrange(LOG, 2, 2))[0])
    await queue.redis.execute_command(*words)
    for _ in range(more):
        await queue.send(notification())
    for had in range(5):
        now, exact, found = await queue.replay(ROOM, Position(log[0].epoch, had))
        assert now == Position(log[0].epoch, 5 + more)
        if exact:
            assert [entry.offset for entry in found] == list(range(had + 1, 6 + more))
        else:
            assert not found or found[0].offset > had
