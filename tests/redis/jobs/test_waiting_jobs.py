"""Finding jobs in lists that somebody else works on."""

from redis.asyncio import Redis

from common.jobs.planning import plan_one
from common.model.channels import DEFAULT_CLIENT, Lane
from common.model.ids import made_at_ms, new_id
from common.model.job import Job, decode_job
from history.queries.inbox import InboxPlace
from server.notifications.waiting_jobs import QueuedJobs, place_of
from tests.support.processes.stack import KEYS, SHARDS


def _job(created_ms: int, an_id: str, client: str = DEFAULT_CLIENT) -> bytes:
    body = b'{"type":"broadcast","userId":1,"message":"hi"}'
    text = plan_one(body, notification_id=an_id, client=client).jobs[0][2]
    return text.replace(
        b'"createdMs":%d' % decode_job(text).created_ms, b'"createdMs":%d' % created_ms
    )


async def _found(jobs: QueuedJobs, before: InboxPlace | None, limit: int) -> list[Job]:
    return [job async for found, _ in jobs.newest(before, limit) for job in found]


async def test_a_page_begins_behind_the_place_whatever_the_length(redis: Redis) -> None:
    jobs = QueuedJobs(redis, SHARDS, DEFAULT_CLIENT)
    key = KEYS.jobs(Lane.HIGH, 7)
    for number in range(100):
        await redis.lpush(key, _job(1_000 + number // 2, f"n{number:03}"))
    everything = [place_of(job) for job in await _found(jobs, None, 200)]
    assert len(everything) == 100
    for at in (0, 1, 50, 98, 99):
        found = [place_of(job) for job in await _found(jobs, everything[at], 10)]
        assert found == everything[at + 1 : at + 11]
    assert await _found(jobs, InboxPlace(0, ""), 10) == []


async def test_what_is_no_job_is_passed_over(redis: Redis) -> None:
    jobs = QueuedJobs(redis, SHARDS, DEFAULT_CLIENT)
    key = KEYS.jobs(Lane.LOW, 3)
    for text in (_job(1, "a"), b"rubbish", _job(2, "b"), b"", _job(3, "c"), b"{}"):
        await redis.lpush(key, text)
    assert [job.id for job in await _found(jobs, None, 10)] == ["c", "b", "a"]
    assert [job.id for job in await jobs.find("b")] == ["b"]
    assert await jobs.find("d") == []
    assert await jobs.find("01a1fd41-136d-70b5-8ad6-b50c0716a2aa") == []


async def test_a_job_is_found_whose_time_and_id_lie_a_little_apart(redis: Redis) -> None:
    jobs = QueuedJobs(redis, SHARDS, DEFAULT_CLIENT)
    key = KEYS.jobs(Lane.HIGH, 5)
    ids = {}
    for number, apart in enumerate((-300, -1, 0, 1, 20)):
        an_id = new_id()
        made = made_at_ms(an_id)
        assert made is not None
        ids[apart] = an_id
        for other in range(5):
            await redis.lpush(key, _job(made + apart - 1, f"before-{number}-{other}"))
        await redis.lpush(key, _job(made + apart, an_id))
    for an_id in ids.values():
        assert [job.id for job in await jobs.find(an_id)] == [an_id]


async def test_what_another_client_sent_is_passed_over_and_ends_no_page_early(redis: Redis) -> None:
    mine, theirs = QueuedJobs(redis, SHARDS, "a"), QueuedJobs(redis, SHARDS, "b")
    key = KEYS.jobs(Lane.HIGH, 7)
    for number in range(100):
        client = "a" if number % 10 == 0 else "b"
        await redis.lpush(key, _job(1_000 + number, f"n{number:03}", client))
    assert [job.client for job in await _found(mine, None, 3)] == ["a"] * 3
    assert len(await _found(mine, None, 200)) == 10
    assert await mine.find("n001") == []
    assert [job.id for job in await theirs.find("n001")] == ["n001"]
    # Where a page stopped looking is told, though it has little on it.
    ((found, last),) = [page async for page in mine.newest(None, 1)]
    assert [job.id for job in found] == ["n090"]
    assert last == place_of(found[0])
