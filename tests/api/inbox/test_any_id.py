"""Whatever id may be sent to has an inbox, may be a member, and has members."""

import json
import uuid
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.clients.http_wire import Wire, request
from tests.support.processes.stack import Stack
from tests.support.waiting import until

IDS = [
    "{a}", "{", "}", "{id}", "a}{b", ".", "..", "...", "./.", "%", "%2E", "%2F", "%252F", "%zz",
    "a/b", "/", "//", "a//b", ";", "a;b=c", "\\", "..\\..", "+", "a+b", " ", "a b", "?", "a?b=c",
    "#", "&", "=", "@", ":", "user:1", "*", "[1]", "(1)", '"', "'", "<b>", "|", "^", "`", "~", "$",
    "!", ",", "é", "日本語", "😀", "👩\u200d👧", "e\u0301", "\u202e", "\u00a0", "\ufeff",
    "read-all", "notifications", "unread-count", "0", "007", "-1", "x" * 128, "😀" * 128, "{" * 128,
]  # fmt: skip


async def ask(stack: Stack, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """By hand: clients tidy paths up, and an id may look like what they tidy up."""
    data = b"" if body is None else json.dumps(body).encode()
    kind = None if body is None else "application/json"
    async with Wire(stack.ports["server-1"]) as wire:
        await wire.send(
            request(data, "Connection: close", method=method, path=path, content_type=kind)
        )
        reply = await wire.reply()
    return reply.status, reply.json if reply.body else None


@pytest.mark.parametrize("an_id", IDS, ids=[quote(an_id, safe="")[:40] for an_id in IDS])
async def test_an_id_that_may_be_sent_to_is_found_on_every_path(
    inbox_stack: Stack, an_id: str
) -> None:
    stack, path = inbox_stack, quote(an_id, safe="")
    room = f"any-id-{uuid.uuid4().hex[:8]}"
    status, made = await ask(stack, "POST", "/users", {"id": an_id})
    assert (status, made["id"]) in ((201, an_id), (200, an_id))
    status, found = await ask(stack, "GET", f"/users/{path}")
    assert (status, found) == (200, made)
    for in_room, member in ((room, path), (path, "member-1")):
        status, _ = await ask(stack, "PUT", f"/rooms/{in_room}/members/{member}")
        assert status == 204
    status, page = await ask(stack, "GET", f"/rooms/{room}/members")
    assert [one["userId"] for one in page["members"]] == [an_id]
    status, page = await ask(stack, "GET", f"/rooms/{path}/members")
    assert [one["userId"] for one in page["members"]] == ["member-1"]

    body = {"userId": an_id, "type": "private", "target": an_id, "message": "hi"}
    status, sent = await ask(stack, "POST", "/notify", body)
    assert status == 202

    async def arrived() -> bool:
        status, page = await ask(stack, "GET", f"/users/{path}/notifications")
        assert status == 200
        return sent["id"] in [one["id"] for one in page["notifications"]]

    await until(arrived, f"a notification is in the inbox of {an_id!r}")
    status, unread = await ask(stack, "GET", f"/users/{path}/notifications/unread-count")
    assert (status, unread["count"]) == (200, 1)
    status, _ = await ask(stack, "POST", f"/users/{path}/notifications/{sent['id']}/read")
    assert status in (200, 204)
    status, marked = await ask(stack, "POST", f"/users/{path}/notifications/read-all")
    assert (status, marked["marked"]) == (200, 0)
    for in_room, member in ((room, path), (path, "member-1")):
        status, _ = await ask(stack, "DELETE", f"/rooms/{in_room}/members/{member}")
        assert status == 204


@pytest.mark.parametrize(
    "path", ["%FF", "%ED%A0%80", "%00", "%0A", "%E2%80%A8", "%", "%4", "a%zz", "{", "}"]
)
async def test_a_path_with_anything_for_an_id_has_an_answer(inbox_stack: Stack, path: str) -> None:
    for route in (
        "users/{}",
        "users/{}/notifications",
        "rooms/{}/members",
        "notifications/{}",
        "clients/{}",
    ):
        status, _ = await ask(inbox_stack, "GET", f"/{route.format(path)}")
        assert status in (200, 404, 422), route
    assert '"ERROR"' not in inbox_stack.processes["server-1"].log.read_text()


@pytest.mark.parametrize("odd", ["%FF", "%C0%AF", "%ED%A0%80", "%", "%2", "%zz", "a%F0%9F%98"])
async def test_what_is_no_percent_encoded_text_is_nobody_s_id(inbox_stack: Stack, odd: str) -> None:
    for method, path in (
        ("GET", f"/users/{odd}"),
        ("DELETE", f"/users/{odd}"),
        ("GET", f"/users/{odd}/notifications"),
        ("POST", f"/users/1/notifications/{odd}/read"),
        ("PUT", f"/rooms/1/members/{odd}"),
        ("GET", f"/notifications/{odd}"),
        ("GET", f"/users/1/notifications?room={odd}"),
        ("GET", f"/notifications?cursor=1.{odd}"),
    ):
        status, problem = await ask(inbox_stack, method, path)
        assert (status, problem["code"]) == (422, "invalid"), path
        assert "must be UTF-8, percent-encoded" in problem["detail"], path
