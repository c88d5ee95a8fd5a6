"""What `POST /notify` promises: accepted means kept, once; a refusal queues nothing."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from uuid import uuid4

from tests.conftest import MakeStack
from tests.support.clients.event_stream import events
from tests.support.clients.sender import Answer, Sender, post
from tests.support.clients.socket_client import Client
from tests.support.processes.process import ROOT
from tests.support.processes.stack import KEYS, Stack
from tests.support.waiting import until

WHERE = {"type": "private", "userId": 0}


def someone() -> str:
    return f"user-{uuid4().hex[:8]}"


def note(target: object = 1, **more: object) -> dict[str, Any]:
    return {**WHERE, "target": target, "message": "m", **more}


async def count_published(stack: Stack, target: str) -> int:
    return sum(event.body.get("target") == target for event in await events(stack))


def is_problem(answer: Answer, status: int, code: str) -> bool:
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body["status"] == status
    return bool(answer.body["type"].endswith(code))


# Idempotency.


async def test_the_same_key_and_body_is_answered_with_the_first_id(stack: Stack) -> None:
    user, key = someone(), uuid4().hex
    async with Client(stack.ws_urls[0], user=user) as client:
        first = await post(stack, note(user), Idempotency_Key=key)
        again = await asyncio.gather(
            *(post(stack, note(user), Idempotency_Key=key) for _ in range(3))
        )
        replayed = [answer for answer in again if answer.status == 202]
        assert all(answer.id == first.id for answer in replayed)
        assert all(answer.status in (202, 409) for answer in again)
        last = await post(stack, note(user))
        await until(lambda: last.id in client.ids)
        assert client.ids == [first.id, last.id]


async def test_the_same_key_with_another_body_is_refused(stack: Stack) -> None:
    user, key = someone(), uuid4().hex
    first = await post(stack, note(user), Idempotency_Key=key)
    other = await post(stack, note(user, message="other"), Idempotency_Key=key)
    assert is_problem(other, 422, "idempotency-key-reused")
    batch = await post(stack, [note(user)], Idempotency_Key=key)
    assert batch.status == 422
    await until_arrived(stack, user, first.id)
    assert await count_published(stack, user) == 1


async def test_a_batch_is_replayed_with_all_its_ids(stack: Stack) -> None:
    key, batch = uuid4().hex, [note(someone()) for _ in range(5)]
    first = await post(stack, batch, Idempotency_Key=key)
    again = await post(stack, batch, Idempotency_Key=key)
    assert len(set(first.ids)) == 5
    assert again.ids == first.ids


async def until_arrived(stack: Stack, target: str, an_id: str) -> None:
    async def arrived() -> bool:
        return any(event.body["id"] == an_id for event in await events(stack))

    await until(arrived, f"{an_id} for {target} is published")


async def test_a_key_in_flight_is_409_and_then_a_replay(make_stack: MakeStack) -> None:
    stack = make_stack()
    user, key = someone(), uuid4().hex
    async with Sender(stack.http_urls[0]) as send:
        assert (await send(note(user))).status == 202
        stack.valkey.freeze()
        both = [asyncio.create_task(send(note(user), Idempotency_Key=key)) for _ in range(2)]
        done, pending = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        conflict = done.pop().result()
        assert is_problem(conflict, 409, "idempotency-key-in-flight")
        assert int(conflict.headers["Retry-After"]) >= 1
        stack.valkey.thaw()
        first = await pending.pop()
        assert (await send(note(user), Idempotency_Key=key)).id == first.id
    await until_arrived(stack, user, first.id)
    assert await count_published(stack, user) == 2


# Unknown outcomes and unavailability.


async def test_a_lost_answer_is_503_and_safe_to_repeat(make_stack: MakeStack) -> None:
    stack = make_stack(ACCEPT_TIMEOUT_S="0.5")
    user, key = someone(), uuid4().hex
    async with Sender(stack.http_urls[0]) as send:
        assert (await send(note(user))).status == 202
        stack.valkey.freeze()
        lost = await send(note(user), Idempotency_Key=key)
        assert is_problem(lost, 503, "outcome-unknown")
        assert int(lost.headers["Retry-After"]) >= 1
        stack.valkey.thaw()
        repeated: list[Answer] = []

        async def accepted() -> bool:
            repeated[:] = [await send(note(user), Idempotency_Key=key)]
            return repeated[0].status == 202

        await until(accepted, "the repetition is accepted")
        await until_arrived(stack, user, repeated[0].id)
        last = await send(note(user))
    await until_arrived(stack, user, last.id)
    assert await count_published(stack, user) == 3


async def test_redis_away_is_503_and_comes_back(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.valkey.kill()
    answer = await post(stack, note())
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Content-Type"] == "application/problem+json"
    await until(lambda: not stack.is_ready("server-1"), "readiness says so")
    assert stack.get("server-1", "/healthz")[0] == 200
    stack.valkey.start()
    for name in stack.processes:
        await asyncio.to_thread(stack.wait_ready, name)
    async with Client(stack.ws_urls[0]) as client:
        an_id = (await post(stack, note())).id
        await until(lambda: client.ids == [an_id])


async def test_a_full_lane_is_503_and_the_others_are_open(make_stack: MakeStack) -> None:
    stack = make_stack(workers=0, LANE_MAX_JOBS="10")
    async with Sender(stack.http_urls[0]) as send:
        assert (await send([note(n) for n in range(8)])).status == 202
        whole = await send([note(n) for n in range(3)])
        assert is_problem(whole, 503, "lane-full")
        assert "high" in whole.body["detail"]
        assert int(whole.headers["Retry-After"]) >= 1
        # Refused as a whole: two still fit.
        assert [(await send(note(n))).status for n in range(3)] == [202, 202, 503]
        assert (await send(note(1, priority="critical"))).status == 202
        # A batch over two lanes, of which one is full, leaves nothing in the other.
        mixed = [note(1, priority="low"), note(1)]
        assert is_problem(await send(mixed), 503, "lane-full")
    async with stack.valkey.client() as redis:
        assert await redis.hgetall(KEYS.waiting) == {"high": "10", "critical": "1"}
    stack.start(stack.add("worker"))
    await until(lambda: stack.metric("worker-1", "roomcast_publications_total") == 11)
    assert (await post(stack, note())).status == 202


async def test_a_nearly_full_redis_is_503_until_there_is_room(make_stack: MakeStack) -> None:
    stack = make_stack()
    async with stack.valkey.client() as redis:
        used = int((await redis.info("memory"))["used_memory"])
        await redis.config_set("maxmemory", used + 30_000_000)
        fillers = [f"filler-{number}" for number in range(26)]
        for filler in fillers:
            await redis.set(filler, "x" * 1_000_000)

        async def answered(status: int) -> bool:
            answer = await post(stack, note())
            return answer.status == status and (
                status == 202 or answer.body["type"].endswith("redis-nearly-full")
            )

        await until(lambda: answered(503), "the server has seen it")
        await until(lambda: not stack.is_ready("server-1"), "readiness says so")
        await redis.delete(*fillers)
        await until(lambda: answered(202), "there is room again")


async def test_accepted_with_fsync_survives_a_kill_of_redis(make_stack: MakeStack) -> None:
    """With `everysec` Redis may answer before its file is on disk; ACCEPT_FSYNC waits for it."""
    stack = make_stack(workers=0, ACCEPT_FSYNC="true")
    async with Sender(stack.http_urls[0]) as send:
        many = [send(note(n % 7)) for n in range(30)]
        answers = await asyncio.gather(*many)
        assert {answer.status for answer in answers} == {202}
    async with stack.valkey.client() as redis:
        # The server asked for it behind every acceptance.
        stats = await redis.info("commandstats")
        assert int(stats["cmdstat_waitaof"]["calls"]) >= 1
    stack.valkey.kill()
    stack.valkey.start()
    stack.start(stack.add("worker"))
    ids = {answer.id for answer in answers}

    async def all_published() -> bool:
        return ids == {event.body["id"] for event in await events(stack)}

    await until(all_published, "everything accepted is published")


async def test_fsync_that_redis_cannot_give_is_no_acceptance(make_stack: MakeStack) -> None:
    stack = make_stack(workers=0, ACCEPT_FSYNC="true")
    async with Sender(stack.http_urls[0]) as send:
        assert (await send(note())).status == 202
        stack.valkey.command("CONFIG", "SET", "appendonly", "no")
        answer = await send(note())
        # The script ran before WAITAOF is refused: the job is queued, so that must not be denied.
        assert is_problem(answer, 503, "outcome-unknown")
        assert stack.valkey.command("HGET", KEYS.waiting, "high") == "2"
        while is_problem(answer, 503, "outcome-unknown"):
            await asyncio.sleep(0.05)
            answer = await send(note())
        assert is_problem(answer, 503, "redis-unfit")
        assert "appendonly" in stack.processes["server-1"].log_tail()
        stack.valkey.command("CONFIG", "SET", "appendonly", "yes")
        while answer.status == 503:
            await asyncio.sleep(0.05)
            answer = await send(note())
        assert answer.status == 202


# Expiry and priorities.


async def test_what_expired_is_not_published(make_stack: MakeStack) -> None:
    stack = make_stack(workers=0)
    async with Client(stack.ws_urls[0]) as client:
        soon = datetime.now(UTC) + timedelta(milliseconds=300)
        late = datetime.now(UTC) + timedelta(hours=1)
        expired = (await post(stack, note(expiresAt=soon.isoformat()))).id
        fresh = (await post(stack, note(expiresAt=late.isoformat()))).id
        await until(lambda: datetime.now(UTC) > soon + timedelta(milliseconds=100))
        stack.start(stack.add("worker"))
        await until(lambda: client.ids)
        assert client.ids == [fresh]
        assert client.notifications[0]["offset"] == 1
    kinds = {event.body["id"]: event.kind for event in await events(stack)}
    assert kinds == {expired: "expired", fresh: "published"}
    await until(lambda: stack.metric("worker-1", "roomcast_expired_total") == 1)


async def test_a_flood_of_low_does_not_delay_critical(make_stack: MakeStack) -> None:
    """In one worker, a critical notification overtakes a backlog of thousands of low ones."""
    stack = make_stack(workers=0, LANE_LOOPS="1", PUBLISH_MAX_JOBS="16")
    async with Client(stack.ws_urls[0]) as client, Sender(stack.http_urls[0]) as send:
        flood = [note([f"{n}-{m}" for m in range(50)], priority="low") for n in range(250)]
        for _ in range(2):
            assert (await send(flood)).status == 202
        worker = stack.add("worker")
        await asyncio.to_thread(stack.start, worker)
        delays, low_waits = [], []
        for number in range(20):
            loop = asyncio.get_running_loop()
            began = loop.time()
            an_id = (await send(note(priority="critical", message=f"{number}"))).id
            await until(lambda an_id=an_id: an_id in client.ids)  # type: ignore[misc]
            delays.append(loop.time() - began)
            async with stack.valkey.client() as redis:
                low_waits.append(int(await redis.hget(KEYS.waiting, "low") or 0))
        began = loop.time()
        last_low = (await send(note(priority="low"))).id
        await until(lambda: last_low in client.ids, "the backlog is worked off", 60)
        low_delay = loop.time() - began
    assert low_waits[len(low_waits) // 2] > 0, "the flood was over too early to tell"
    assert median(delays) < low_delay


# The open door and the dead letters.


async def test_jobs_pushed_by_hand_are_served_alike(stack: Stack) -> None:
    user = someone()
    async with Client(stack.ws_urls[1], user=user) as client:
        for lane in ("critical", "high", "low"):
            stack.valkey.command("LPUSH", KEYS.door(lane), json.dumps(note(user, message=lane)))
            await until(lambda lane=lane: lane in [b["message"] for b in client.notifications])  # type: ignore[misc]
        assert [b["priority"] for b in client.notifications] == ["critical", "high", "low"]
        # The same id is taken once, in whatever lane.
        an_id = uuid4().hex
        for lane in ("high", "high", "low"):
            stack.valkey.command("LPUSH", KEYS.door(lane), json.dumps(note(user, id=an_id)))
        await until(lambda: not stack.valkey.command("EXISTS", KEYS.door("high"), KEYS.door("low")))
        marker = (await post(stack, note(user))).id
        low = (await post(stack, note(user, priority="low"))).id
        await until(lambda: {marker, low} <= set(client.ids))
        assert client.ids.count(an_id) == 1


async def test_rubbish_goes_to_the_dead_letters_and_the_worker_goes_on(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(workers=2)
    rubbish = [
        b"not json", b"{", b"[]", b'{"type":"room"}', b"\xff\xfe", b"", b"null",
        b'{"userId":1,"type":"broadcast"}', b"[" * 5_000, json.dumps(note()).encode()[:-1],
    ]  # fmt: skip
    async with Client(stack.ws_urls[0]) as client:
        stack.valkey.command("LPUSH", KEYS.door("high"), *rubbish)
        stack.valkey.command("LPUSH", KEYS.door("high"), json.dumps(note()))
        # Somebody even wrote into a job list.
        accepted = (await post(stack, note())).id
        await until(lambda: len(client.ids) == 2)
        assert accepted in client.ids
        await until(lambda: stack.valkey.command("XLEN", KEYS.dead) == len(rubbish))
    letters = dead_letters(stack, "list")
    assert len(letters) == len(rubbish)
    assert all(letter["reason"] and letter["lane"] == "high" for letter in letters)
    assert {letter["job"] for letter in letters} >= {"not json", "{", "null", '{"type":"room"}'}
    assert stack.is_ready("worker-1")
    assert stack.is_ready("worker-2")


def dead_letters(stack: Stack, *words: str, status: int = 0) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "worker.dead_letters", *words],
        cwd=ROOT,
        env={**stack.environment, "REDIS_CLIENT": stack.valkey.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return [json.loads(line) for line in lines] if words[0] == "list" else [{"lines": lines}]


async def test_dead_letters_are_put_back_and_dropped_from_the_command_line(
    make_stack: MakeStack,
) -> None:
    stack = make_stack()
    assert dead_letters(stack, "list") == []
    async with Client(stack.ws_urls[0]) as client:
        stack.valkey.command("LPUSH", KEYS.door("low"), "rubbish", "more rubbish")
        # A good job that was condemned.
        stack.valkey.command(
            *("XADD", KEYS.dead, "*", "reason", "its turn came back", "lane", "low"),
            *("job", json.dumps(note(message="condemned"))),
        )
        await until(lambda: stack.valkey.command("XLEN", KEYS.dead) == 3)
        good = next(x for x in dead_letters(stack, "list") if "condemned" in x["job"])
        dead_letters(stack, "requeue", good["entry"])
        await until(lambda: client.ids)
        assert client.notifications[0]["message"] == "condemned"
        assert len(dead_letters(stack, "list")) == 2
        dead_letters(stack, "requeue", good["entry"], status=1)
        dead_letters(stack, "requeue", "--all", status=1)
        assert len(dead_letters(stack, "list")) == 2
        dead_letters(stack, "drop", "--all")
        assert dead_letters(stack, "list") == []
        last = (await post(stack, note(priority="low"))).id
        await until(lambda: last in client.ids)
        assert len(client.ids) == 2


async def test_a_job_whose_turn_keeps_coming_back_is_condemned(make_stack: MakeStack) -> None:
    """What kills five workers in a row goes to the dead letters, and the next one is published."""
    stack = make_stack(workers=0)
    poison = (await post(stack, note())).id
    after = (await post(stack, note())).id
    async with stack.valkey.client() as redis:
        for turn in range(5):
            # A worker that takes the turn and is never heard of again.
            holder = f"dead{turn}:high.0.1"
            await redis.zadd(KEYS.workers, {holder: 1})
            assert await redis.lmove(KEYS.ready("high"), KEYS.held(holder), "RIGHT", "LEFT")
            await run_lease(stack)
        async with Client(stack.ws_urls[0]) as client:
            stack.start(stack.add("worker"))
            await until(lambda: client.ids)
            assert client.ids == [after]
        letters = dead_letters(stack, "list")
        assert [json.loads(letter["job"])["id"] for letter in letters] == [poison]
        assert "came back" in letters[0]["reason"]


async def run_lease(stack: Stack) -> None:
    """What any worker does several times per lease."""
    script = (ROOT / "common/redis/lua/queue/lease.lua").read_text()
    keys = [KEYS.workers, KEYS.returns, KEYS.waiting, KEYS.dead, KEYS.events, KEYS.backlog]
    keys.append(KEYS.dead_clients)
    args: list[str | int] = [2000, 6000, KEYS.held_prefix, KEYS.ready_prefix, KEYS.active_prefix]
    back, *_ = stack.valkey.command(
        *("EVAL", script, len(keys), *keys, *args, KEYS.jobs_prefix, 5, 1000, 0)
    )
    assert back == 1
