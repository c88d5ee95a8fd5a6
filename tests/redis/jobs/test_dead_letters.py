"""Dead letters: kept for each client, put back or dropped by name."""

import json

import pytest

from common.config.settings import Settings
from common.jobs.planning import plan_one
from common.model.job import decode_job
from common.model.problems import Problem
from tests.support.stores.job_queue import KEYS, Queue, notification
from worker.dead_letters import DeadLetter, DeadLetters, plan_again


async def condemn(queue: Queue, client: str) -> str:
    """Accept a job of a client, whose worker dies once too often; return its id."""
    body = b'{"type":"broadcast","userId":1,"message":"x"}'
    plan = plan_one(body, client=client)
    await queue.accept(plan)
    await queue.lease("w:high.0.1", lease_ms=-1_000)
    await queue.take("w:high.0.1")
    assert (await queue.lease(condemned=1))[:2] == (1, 1)
    return plan.answer


async def test_a_client_s_dead_letters_do_not_push_out_another_s(queue: Queue) -> None:
    first = await condemn(queue, "a")
    letters = DeadLetters(queue.redis, KEYS, Settings(_env_file=None))
    own = await condemn(queue, "default")
    # Whatever becomes of the others.
    await queue.redis.xtrim(KEYS.dead, maxlen=0, approximate=False)
    await condemn(queue, "b")
    await queue.redis.xtrim(KEYS.dead_of("b"), maxlen=0, approximate=False)
    (letter,) = [one async for one in letters.all()]
    assert (letter.client, json.loads(letter.job)["id"]) == ("a", first)
    assert letter.entry.startswith("a:")
    assert own not in letter.job
    assert await letters.requeue(letter) == "ok"
    assert await letters.requeue(letter) == "gone"
    (waiting,) = (await queue.take("w:high.0.2")).values()
    assert json.loads(waiting[0])["id"] == first


async def test_letters_are_dropped_by_name(queue: Queue) -> None:
    await condemn(queue, "a")
    await condemn(queue, "default")
    letters = DeadLetters(queue.redis, KEYS, Settings(_env_file=None))
    default, other = [one async for one in letters.all()]
    await letters.drop(other)
    assert [one async for one in letters.all()] == [default]
    await letters.drop(default)
    assert [one async for one in letters.all()] == []


async def test_a_letter_is_kept_where_somebody_wrote_over_its_client_s_stream(
    queue: Queue,
) -> None:
    await queue.redis.set(KEYS.dead_of("a"), "x")
    await condemn(queue, "a")
    assert len(await queue.dead()) == 1


async def test_letters_come_oldest_first_however_many_there_are(queue: Queue) -> None:
    for number in range(250):
        fields = {"reason": "r", "lane": "high", "job": str(number)}
        await queue.redis.xadd(KEYS.dead, fields)
    letters = DeadLetters(queue.redis, KEYS, Settings(_env_file=None))
    assert [int(one.job) async for one in letters.all()] == list(range(250))


async def test_a_letter_whose_lane_is_full_stays_a_letter(queue: Queue) -> None:
    await condemn(queue, "default")
    letters = DeadLetters(queue.redis, KEYS, Settings(_env_file=None, lane_max_jobs=1))
    (letter,) = [one async for one in letters.all()]
    await queue.accept(notification())
    assert await letters.requeue(letter) == "full"
    assert [one async for one in letters.all()] == [letter]


async def test_a_text_that_is_no_job_is_read_as_by_hand_and_may_be_none(queue: Queue) -> None:
    body = '{"type":"room","userId":1,"target":7,"message":"by hand"}'
    (job,) = plan_again(DeadLetter("1-0", "r", "low", body)).jobs
    assert job[0] == "low"
    assert decode_job(job[2]).targets == ["7"]
    letters = DeadLetters(queue.redis, KEYS, Settings(_env_file=None))
    await queue.redis.xadd(KEYS.dead, {"reason": "r", "lane": "high", "job": "rubbish"})
    (letter,) = [one async for one in letters.all()]
    with pytest.raises(Problem):
        await letters.requeue(letter)
    assert [one async for one in letters.all()] == [letter]
