from tests.support.stores.job_queue import KEYS, Queue, request

HOLDER = "w:high.0.1"


def jobs(partition: int, *texts: bytes) -> list[tuple[str, int, bytes]]:
    return [("high", partition, text) for text in texts]


async def test_turns_move_to_the_holder_and_jobs_stay_where_they_are(queue: Queue) -> None:
    await queue.accept(request(*jobs(1, b"a", b"b"), *jobs(2, b"c")))
    assert await queue.take(HOLDER) == {b"1": [b"a", b"b"], b"2": [b"c"]}
    assert sorted(await queue.held(HOLDER)) == [b"1", b"2"]
    assert await queue.ready() == []
    assert await queue.waiting(1) == [b"a", b"b"]
    assert await queue.waiting_count() == 3


async def test_what_is_held_already_is_read_again(queue: Queue) -> None:
    await queue.accept(request(*jobs(1, b"a")))
    first = await queue.take(HOLDER)
    await queue.accept(request(*jobs(1, b"b")))
    assert first == {b"1": [b"a"]}
    assert await queue.take(HOLDER) == {b"1": [b"a", b"b"]}


async def test_no_more_turns_are_held_than_asked_for(queue: Queue) -> None:
    await queue.accept(*(request(*jobs(p, b"x")) for p in range(10)))
    assert len(await queue.take(HOLDER, turns=4)) == 4
    assert len(await queue.take(HOLDER, turns=4)) == 4
    assert len(await queue.ready()) == 6


async def test_two_holders_never_hold_one_turn(queue: Queue) -> None:
    await queue.accept(*(request(*jobs(p, b"x")) for p in range(10)))
    one = await queue.take(HOLDER, turns=5)
    other = await queue.take("v:high.0.1", turns=10)
    assert not one.keys() & other.keys()
    assert len(one) + len(other) == 10


async def test_jobs_are_bounded_in_number_and_the_oldest_come_first(queue: Queue) -> None:
    texts = [b"%03d" % n for n in range(100)]
    await queue.accept(request(*jobs(1, *texts)))
    for most in (1, 2, 3, 9, 10, 11, 30, 100, 200):
        assert (await queue.take(HOLDER, jobs=most))[b"1"] == texts[:most]


async def test_jobs_are_bounded_in_bytes_past_the_first_step(queue: Queue) -> None:
    await queue.accept(request(*jobs(1, *[b"x" * 1000] * 100), *jobs(2, b"y")))
    taken = await queue.take(HOLDER, size=1)
    assert list(taken) == [b"1"]
    assert len(taken[b"1"]) == 2
    assert await queue.ready() == [b"2"]


async def test_who_takes_nothing_gets_no_lease(queue: Queue) -> None:
    assert await queue.take(HOLDER) == {}
    assert not await queue.redis.exists(KEYS.workers)


async def test_a_holder_that_was_forgotten_is_watched_again(queue: Queue) -> None:
    await queue.accept(request(*jobs(1, b"x")))
    await queue.take(HOLDER)
    assert await queue.redis.zscore(KEYS.workers, HOLDER) is not None


async def test_taking_does_not_make_a_lease_longer(queue: Queue) -> None:
    await queue.redis.zadd(KEYS.workers, {HOLDER: 5})
    await queue.accept(request(*jobs(1, b"x")))
    await queue.take(HOLDER)
    assert await queue.redis.zscore(KEYS.workers, HOLDER) == 5
