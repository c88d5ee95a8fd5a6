"""Answers to `POST /notify`, and what they leave in a real Redis."""

import asyncio
import json
import uuid
from typing import Any

import pytest

from common.auth.principal import OPEN, Principal
from common.model.ids import new_id
from common.model.problem_codes import ProblemCode
from server.access.client_limits import Limiter
from server.notify import accept_batcher
from server.notify.handler import IDEMPOTENCY_KEY_MAX, Intake, Reply, requests_total
from server.notify.redis_watch import RedisWatch
from server.web.bodies import BODY_MAX_BYTES
from tests.redis.notify.conftest import A_DAY, SHOP, Make, SetConfig
from tests.support.processes.process import LOOPBACK, free_port
from tests.support.stores.job_queue import KEYS, Queue

ROOM = {"type": "room", "userId": 1, "target": 1, "message": "x"}
PAST = "2020-01-01T00:00:00Z"


@pytest.fixture
async def intake(make: Make, watch: RedisWatch, limiter: Limiter) -> Intake:
    return Intake(make(), watch, limiter)


async def post(
    intake: Intake,
    body: Any = ROOM,
    key: str | None = None,
    sender: Principal = OPEN,
    content_type: str = "application/json",
) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await intake.reply(raw, content_type, key, sender)


def code(reply: Reply) -> str:
    """The code of a refusal."""
    assert reply.headers["Content-Type"] == "application/problem+json"
    return str(json.loads(reply.body)["code"])


async def jobs(queue: Queue) -> list[str]:
    """Ids of all waiting jobs of the lane `high`."""
    found = []
    async for key in queue.redis.scan_iter(f"{KEYS.jobs_prefix}high:*"):
        found += [json.loads(job)["id"] for job in await queue.redis.lrange(key, 0, -1)]
    return found


async def test_a_notification_is_answered_with_the_id_of_its_job(
    queue: Queue, intake: Intake
) -> None:
    reply = await post(intake)
    answer = json.loads(reply.body)
    assert (reply.status, reply.headers) == (202, {"Content-Type": "application/json"})
    assert answer["status"] == "queued"
    assert uuid.UUID(answer["id"]).version == 7
    assert await jobs(queue) == [answer["id"]]


async def test_a_batch_is_answered_in_its_order(queue: Queue, intake: Intake) -> None:
    reply = await post(intake, [{**ROOM, "target": target} for target in (1, 2, 3)])
    answers = json.loads(reply.body)
    assert [one["status"] for one in answers] == ["queued"] * 3
    ids = [one["id"] for one in answers]
    assert ids == sorted(ids)
    assert sorted(await jobs(queue)) == ids


@pytest.mark.parametrize("content_type", ["Application/JSON", "application/json; charset=UTF-8"])
async def test_json_is_json_however_its_type_is_written(intake: Intake, content_type: str) -> None:
    assert (await post(intake, content_type=content_type)).status == 202


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"content_type": "text/plain"}, 415),
        ({"content_type": ""}, 415),
        ({"body": b" " * (BODY_MAX_BYTES + 1)}, 413),
        ({"body": b"{"}, 400),
        ({"body": {**ROOM, "type": "rooms"}}, 422),
        ({"body": [ROOM, {}]}, 422),
        ({"body": {**ROOM, "expiresAt": PAST}}, 422),
        ({"key": ""}, 422),
        ({"key": "k" * (IDEMPOTENCY_KEY_MAX + 1)}, 422),
        ({"key": "k\x7f"}, 422),
    ],
)
async def test_a_wrong_request_is_refused_and_counted_and_queues_nothing(
    queue: Queue, intake: Intake, request_: dict[str, Any], status: int
) -> None:
    counted = requests_total.labels(str(status))._value
    before = counted.get()
    reply = await post(intake, **request_)
    assert reply.status == status
    assert code(reply)
    assert counted.get() == before + 1
    assert await jobs(queue) == []


async def test_a_repeat_is_answered_with_the_first_ids_and_queues_nothing(
    queue: Queue, intake: Intake
) -> None:
    for body in (ROOM, [ROOM, ROOM]):
        key = new_id()
        first, again = await post(intake, body, key), await post(intake, body, key)
        assert again == first
        assert again.status == 202
    assert len(await jobs(queue)) == 3


async def test_a_key_with_another_body_is_refused_but_each_client_has_its_own(
    intake: Intake,
) -> None:
    key = "k" * IDEMPOTENCY_KEY_MAX
    assert (await post(intake, ROOM, key)).status == 202
    assert code(await post(intake, [ROOM], key)) == "idempotency-key-reused"
    assert (await post(intake, [ROOM], key, SHOP)).status == 202


async def test_a_repeat_while_the_first_is_under_way_is_refused(
    queue: Queue, intake: Intake
) -> None:
    first, second = await asyncio.gather(post(intake, key="k"), post(intake, key="k"))
    assert first.status == 202
    assert (second.status, code(second)) == (409, "idempotency-key-in-flight")
    assert second.headers["Retry-After"] == "1"
    assert (await post(intake, key="k")).body == first.body
    assert len(await jobs(queue)) == 1


async def test_a_late_repeat_is_answered_but_a_late_first_one_is_refused(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {**ROOM, "expiresAt": "2100-01-01T00:00:00Z"}
    first = await post(intake, body, "k")
    monkeypatch.setattr("common.jobs.planning.time.time_ns", lambda: 4_200_000_000 * 10**9)
    assert await post(intake, body, "k") == first
    assert (await post(intake, body, "other")).status == 422


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("unfit", "redis is unfit: it evicts", ProblemCode.REDIS_UNFIT),
        ("nearly_full", True, ProblemCode.REDIS_NEARLY_FULL),
        ("events_full", True, ProblemCode.EVENTS_FULL),
        ("crowding", frozenset({"shop"}), ProblemCode.CLIENT_EVENTS_FULL),
    ],
)
async def test_what_the_watch_has_seen_refuses_everything(
    queue: Queue,
    intake: Intake,
    watch: RedisWatch,
    name: str,
    value: Any,
    expected: ProblemCode,
) -> None:
    setattr(watch, name, value)
    reply = await post(intake, sender=SHOP)
    assert (reply.status, code(reply)) == (503, expected.value)
    assert reply.headers["Retry-After"] == "1"
    assert await jobs(queue) == []


async def test_a_client_that_crowds_the_stream_is_refused_and_others_are_not(
    intake: Intake, watch: RedisWatch
) -> None:
    watch.crowding = frozenset({SHOP.client})
    assert code(await post(intake, sender=SHOP)) == "client-events-full"
    assert (await post(intake)).status == 202


async def test_a_full_lane_refuses_and_another_lane_does_not(
    make: Make, watch: RedisWatch, limiter: Limiter
) -> None:
    intake = Intake(make(lane_max_jobs=1), watch, limiter)
    assert (await post(intake)).status == 202
    assert code(await post(intake)) == "lane-full"
    assert (await post(intake, {**ROOM, "priority": "low"})).status == 202


async def test_a_redis_without_room_for_the_jobs_is_nearly_full(
    make: Make, watch: RedisWatch, limiter: Limiter
) -> None:
    reply = await post(Intake(make(room=1), watch, limiter))
    assert code(reply) == "redis-nearly-full"


async def test_a_redis_at_its_maxmemory_is_nearly_full_and_other_refusals_are_named(
    intake: Intake, config: SetConfig
) -> None:
    await post(intake)
    await config("maxmemory", "1")
    assert code(await post(intake)) == "redis-nearly-full"
    await config("maxmemory", "0")
    await config("min-replicas-to-write", "1")
    reply = await post(intake)
    assert code(reply) == "redis-refused"
    assert "NOREPLICAS" in json.loads(reply.body)["detail"]


async def test_without_an_answer_of_redis_the_outcome_is_unknown_and_the_key_is_free(
    make: Make, watch: RedisWatch, limiter: Limiter
) -> None:
    nowhere = make(redis_client=f"redis://{LOOPBACK}:{free_port()}/0")
    intake = Intake(nowhere, watch, limiter)
    for _ in range(2):
        reply = await post(intake, key="k")
        assert (reply.status, code(reply)) == (503, "outcome-unknown")


async def test_one_more_than_may_wait_is_refused_and_its_key_is_free(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept_batcher, "PENDING_MAX", 0)
    assert code(await post(intake, key="k")) == "overloaded"
    monkeypatch.undo()
    assert (await post(intake, key="k")).status == 202


async def test_accepted_notifications_are_counted_and_their_answer_tells_what_is_left(
    intake: Intake, limiter: Limiter
) -> None:
    reply = await post(intake, [ROOM, ROOM], sender=SHOP)
    assert f"RateLimit-Limit: {A_DAY}\r\nRateLimit-Remaining: {A_DAY - 2}\r\n" in reply.lines
    assert [(client, count) for client, _, count in limiter.accepted()] == [("shop", 2)]
    assert (await post(intake)).lines == ""


async def test_what_was_not_queued_or_was_queued_before_costs_nothing(
    make: Make, watch: RedisWatch, limiter: Limiter
) -> None:
    intake = Intake(make(lane_max_jobs=1), watch, limiter)
    counters = limiter.of(SHOP)
    assert counters is not None
    for _ in range(A_DAY + 1):
        assert (await post(intake, key="k", sender=SHOP)).status == 202
        assert code(await post(intake, sender=SHOP)) in {"lane-full", "client-lane-full"}
    assert counters.notifications.left == A_DAY - 1
    assert [count for _, _, count in limiter.accepted()] == [1]


async def test_what_may_be_queued_counts_as_sent(
    make: Make, watch: RedisWatch, limiter: Limiter
) -> None:
    nowhere = make(redis_client=f"redis://{LOOPBACK}:{free_port()}/0")
    assert code(await post(Intake(nowhere, watch, limiter), sender=SHOP)) == "outcome-unknown"
    counters = limiter.of(SHOP)
    assert counters is not None
    assert counters.notifications.left == A_DAY - 1
    assert list(limiter.accepted()) == []


async def test_past_the_limit_of_the_day_nothing_is_queued_and_the_key_is_free(
    queue: Queue, intake: Intake
) -> None:
    too_many = [ROOM] * (A_DAY + 1)
    for _ in range(2):
        reply = await post(intake, too_many, "k", SHOP)
        assert (reply.status, code(reply)) == (429, "quota-exceeded")
    assert await jobs(queue) == []
    assert (await post(intake, ROOM, "k", SHOP)).status == 202


async def test_a_client_has_its_share_of_a_lane(
    make: Make, watch: RedisWatch, limiter: Limiter
) -> None:
    counters = limiter.of(SHOP)
    assert counters is not None
    counters.lane_max = 1
    intake = Intake(make(), watch, limiter)
    assert (await post(intake, sender=SHOP)).status == 202
    assert code(await post(intake, sender=SHOP)) == "client-lane-full"
    assert (await post(intake)).status == 202
