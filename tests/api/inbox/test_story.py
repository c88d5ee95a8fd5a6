import json
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import MakeStack
from tests.history.stream import fetch
from tests.support.clients.api import Api
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import KEYS, Stack
from tests.support.waiting import until


async def test_the_story_of_a_notification_from_the_post_to_the_reading(
    api: Api, user: str, inbox_stack: Stack
) -> None:
    async with Client(inbox_stack.ws_urls[0], user=user) as client:
        sent = await api.send("private", user)
        await until(lambda: sent in client.ids)
        frame = client.notifications[0]
        await client.ask({"action": "ack", "id": sent})
        await client.ask({"action": "read", "id": sent})

    async def complete() -> bool:
        story = await api.story(sent)
        return bool(story["receipts"] == {"delivered": 1, "read": 1}) and bool(
            story["channels"][0]["sockets"]
        )

    await until(complete)
    story = await api.story(sent, receipts="read")
    (channel,) = story["channels"]
    assert story["status"] == "published"
    assert (story["type"], story["userId"], story["acceptedAt"]) == (
        "private",
        "1",
        frame["createdAt"],
    )
    assert channel["channel"] == f"user:{user}"
    assert (channel["epoch"], channel["offset"]) == (frame["epoch"], frame["offset"])
    assert channel["worker"]
    assert story["acceptedAt"] <= channel["publishedAt"]
    assert channel["sockets"] == 1
    assert [gateway["sockets"] for gateway in channel["gateways"]] == [1]
    assert [name["userId"] for name in story["names"]] == [user]
    assert story["nextCursor"] is None


@pytest.mark.parametrize(
    "prefix",
    ["mine", "0199a000-0000-7000-8000-"],
    ids=["no UUID", "a UUIDv7 of long ago"],
)
async def test_an_id_that_tells_no_time_or_another_one_is_found(
    api: Api, user: str, inbox_stack: Stack, prefix: str
) -> None:
    an_id = f"{prefix}{secrets.token_hex(6)}"
    body = {"id": an_id, "type": "private", "userId": 1, "target": user, "message": "hi"}
    inbox_stack.valkey.command("LPUSH", KEYS.door("high"), json.dumps(body))

    async def written() -> bool:
        rows = await fetch(
            inbox_stack, "SELECT dated FROM publications WHERE notification = $1", an_id
        )
        return [row["dated"] for row in rows] == [False]

    await until(written)
    assert (await api.story(an_id))["status"] == "published"
    assert await api.read(user, an_id) in (200, 204)
    assert an_id not in await api.ids(user, unread="true")
    assert await api.read(f"{user}-other", an_id) == 404


async def test_who_got_it_comes_in_pages(api: Api, room: str, inbox_stack: Stack) -> None:
    users = [f"{room}-{number}" for number in range(5)]
    sent = await api.send("room", room)
    for user in users:
        async with Client(inbox_stack.ws_urls[0], user=user, room=room) as client:
            assert (await client.ask({"action": "ack", "id": sent}))["type"] == "acked"

    async def counted() -> bool:
        return bool((await api.story(sent))["receipts"]["delivered"] == len(users))

    await until(counted)
    seen: list[str] = []
    query: dict[str, str] = {"receipts": "delivered", "limit": "2"}
    while True:
        story = await api.story(sent, **query)
        seen += [name["userId"] for name in story["names"]]
        if story["nextCursor"] is None:
            break
        query["cursor"] = story["nextCursor"]
    assert sorted(seen) == users


async def test_what_is_known_at_once_is_told_at_once(api: Api, user: str) -> None:
    for _ in range(20):
        sent = await api.send("private", user)
        assert (await api.story(sent))["status"] in ("queued", "published")


async def test_nobody_knows_what_was_never_sent(api: Api) -> None:
    for an_id in (str(uuid.uuid4()), "nothing"):
        assert (await api("GET", f"/notifications/{an_id}")).status == 404


async def test_what_expired_or_died_says_why(make_stack: MakeStack) -> None:
    stack = make_stack(history=1, gateways=0, workers=0)
    stack.valkey.command("RPUSH", "rc:{0}:jobs:high:1", '{"id":"dead-1"}')
    stack.valkey.command("LPUSH", "rc:{0}:ready:high", "1")
    stack.valkey.command("SADD", "rc:{0}:active:high", "1")
    async with Api(stack) as api:
        expires = (datetime.now(UTC) + timedelta(seconds=0.4)).isoformat()
        expired = await api.send("room", [str(n) for n in range(3)], expiresAt=expires)
        story = await api.story(expired)
        assert (story["status"], story["waiting"]) == ("queued", 3)
        name = stack.add("worker")
        await until(lambda: datetime.now(UTC).isoformat() > expires)
        stack.start(name)

        async def written() -> bool:
            answer = await api("GET", "/notifications/dead-1")
            found = await api.story(expired)
            return answer.status == 200 and found["status"] == "expired"

        await until(written)

        async def in_database() -> bool:
            listed = (await api("GET", "/notifications")).body["notifications"]
            return {item["status"] for item in listed} == {"expired", "dead"}

        await until(in_database)
        story = await api.story(expired)
        assert all(channel["reason"] for channel in story["channels"])
        assert len(story["channels"]) == 3
        dead = (await api("GET", "/notifications", params={"status": "dead"})).body
        (letter,) = dead["notifications"]
        assert letter["id"] == "dead-1"
        assert "not a job" in letter["reason"]


async def test_the_list_of_what_was_sent(api: Api, user: str, room: str) -> None:
    sender = user
    first = await api.send("room", [room, f"{room}-2"], userId=sender)
    second = await api.send("private", user, userId=sender)
    third = await api.send("broadcast", userId=sender)

    async def listed(**query: Any) -> list[str]:
        answer = await api("GET", "/notifications", params={"userId": sender, **query})
        assert answer.status == 200, answer
        return [item["id"] for item in answer.body["notifications"]]

    async def there() -> bool:
        found = await api("GET", "/notifications", params={"userId": sender})
        done = [(item["id"], item["targetCount"]) for item in found.body["notifications"]]
        return done == [(third, 0), (second, 1), (first, 2)] and bool(
            await listed(status="published") == [third, second, first]
        )

    await until(there)
    assert await listed() == [third, second, first]
    assert await listed(type="private") == [second]
    assert await listed(target=room) == [first]
    assert await listed(status="dead") == []
    assert await listed(since="2100-01-01T00:00:00Z") == []
    assert await listed(until="2100-01-01T00:00:00Z") == [third, second, first]
    page = (await api("GET", "/notifications", params={"userId": sender, "limit": 2})).body
    assert [item["id"] for item in page["notifications"]] == [third, second]
    assert await listed(cursor=page["nextCursor"], limit=2) == [first]

    async def whole() -> bool:
        page = (await api("GET", "/notifications", params={"target": room})).body
        (item,) = page["notifications"]
        return (item["targetCount"], item["targets"]) == (2, [room, f"{room}-2"])

    await until(whole)


async def test_what_waits_is_listed_in_pages_too(make_stack: MakeStack) -> None:
    stack = make_stack(history=1, gateways=0, workers=0)
    async with Api(stack) as api:
        sent = [await api.send("room", number % 3) for number in range(25)]
        assert [(await api.story(one))["status"] for one in sent[:3]] == ["queued"] * 3
        seen: list[str] = []
        query: dict[str, Any] = {"limit": 4}
        while True:
            page = (await api("GET", "/notifications", params=query)).body
            assert all(item["status"] == "queued" for item in page["notifications"])
            seen += [item["id"] for item in page["notifications"]]
            if page["nextCursor"] is None:
                break
            query["cursor"] = page["nextCursor"]
        assert sorted(seen) == sorted(sent)
        assert len(seen) == len(sent)


async def test_the_list_of_what_was_sent_has_no_hole_while_the_writer_is_away(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(history=1, gateways=0)
    async with Api(stack) as api:
        written = await api.send("room", ["1", "2"])

        async def listed(**query: str) -> list[str]:
            answer = await api("GET", "/notifications", params=query)
            assert answer.status == 200, answer
            return [item["id"] for item in answer.body["notifications"]]

        for _ in range(20):
            assert written in await listed()
        await until(lambda: stack.metric("history-1", "roomcast_history_events_total") > 1)
        stack.kill("history-1")
        late = await api.send("private", ["1", "2"], priority="low")
        expired = stack.push_expired("broadcast", priority="critical")

        async def taken() -> bool:
            return expired in await listed()

        await until(taken)
        for _ in range(20):
            assert await listed() == [expired, late, written]

        async def both_done() -> bool:
            story = await api.story(late)
            return not story["waiting"] and await listed(status="expired") == [expired]

        await until(both_done)
        assert await listed(status="published") == [late, written]
        assert await listed() == [expired, late, written]
        assert await listed(type="private", target="2") == [late]
        assert await listed(type="private", target="3") == []
        assert await listed(userId="2") == []
        page = (await api("GET", "/notifications", params={"limit": "1"})).body
        assert [item["id"] for item in page["notifications"]] == [expired]
        (item,) = page["notifications"]
        assert (item["userId"], item["priority"], item["type"]) == ("1", "critical", "broadcast")
        rest = (await api("GET", "/notifications", params={"cursor": page["nextCursor"]})).body
        assert [item["id"] for item in rest["notifications"]] == [late, written]
        assert rest["notifications"][0]["targets"] == ["1", "2"]


async def test_rubbish_among_late_events_spoils_nothing(make_stack: MakeStack) -> None:
    stack = make_stack(history=1, gateways=0)
    stack.kill("history-1")
    async with Api(stack) as api:
        naive = '{"id":"n1","userId":"1","priority":"high","createdAt":"2026-11-21T04:00:00"}'
        for fields in (
            ("k", "expired", "c", "default/room:1", "w", "w", "p", naive),
            ("k", "expired", "c", "default/what:1", "w", "w", "p", naive),
            ("k", "published", "c", "default/room:1", "w", "w", "p", "[" * 5_000 + '"n1"'),
            ("k", "published", "p", '"n1"'),
            ("k", "dead", "c", "", "w", "w", "p", '{"id":"n2","userId":1}', "x", "why"),
        ):
            stack.valkey.command("XADD", KEYS.events, "*", *fields)
        sent = await api.send("private", "1")

        async def listed() -> bool:
            answer = await api("GET", "/notifications", params={"status": "published"})
            assert answer.status == 200, answer
            return [item["id"] for item in answer.body["notifications"]] == [sent]

        await until(listed)
        assert (await api("GET", "/notifications/n1")).status == 404
        story = await api.story("n2")
        assert (story["status"], story["dead"][0]["reason"]) == ("dead", "why")
