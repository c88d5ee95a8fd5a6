"""The routes of inboxes over HTTP (`server/inbox/inbox_routes.py`)."""

import uuid
from typing import Any

import pytest
from yarl import URL

from tests.support.clients.api import Api
from tests.support.processes.stack import KEYS, Stack
from tests.support.waiting import until


async def test_an_item_is_the_frame_byte_for_byte_and_whether_it_was_read(
    api: Api, user: str, inbox_stack: Stack
) -> None:
    data = '{"big": 123456789012345678901234567890, "empty": [], "tab":"\\t", "e":1.0e5}'
    body = '{"type":"private","userId":1,"target":"%s","message":"h\\u00e9","data":%s}'
    answer = await api(
        "POST",
        "/notify",
        data=(body % (user, data)).encode(),
        headers={"Content-Type": "application/json"},
    )
    await api.arrived(user, answer.body["id"])
    async with inbox_stack.valkey.client() as redis:
        entries: Any = await redis.xrange(KEYS.events, "-", "+")
    (frame,) = [
        fields["p"]
        for _, fields in entries
        if answer.body["id"] in fields["p"] and fields["k"] == "published"
    ]
    text = (await api("GET", f"/users/{user}/notifications", params={"limit": 1})).text
    item = frame[:-1] + ',"read":false,"readAt":null}'
    assert text.startswith('{"notifications":[' + item + '],"nextCursor":')
    assert data in text


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/users/1/notifications?limit=0", "limit"),
        ("/users/1/notifications?limit=101", "limit"),
        ("/users/1/notifications?cursor=x", "cursor"),
        ("/users/1/notifications?cursor=1.x&limit=a", "limit"),
        ("/users/1/notifications?unread=yes", "unread"),
        ("/users/1/notifications?since=yesterday", "since"),
        ("/users/1/notifications?room=%00", "room"),
        ("/users/1/notifications?rome=1", "rome"),
        ("/users/%0A/notifications", "id"),
        ("/users/" + "x" * 129 + "/notifications", "id"),
        ("/notifications?status=lost", "status"),
        ("/notifications?type=mail", "type"),
        ("/notifications/1?receipts=all", "receipts"),
        ("/rooms/%01/members", "id"),
    ],
)
async def test_bad_questions_are_refused_with_a_pointer(
    api: Api, path: str, parameter: str
) -> None:
    async with api._session.get(URL(api.root + path, encoded=True)) as response:
        body = await response.json(content_type=None)
        assert response.status == 422, body
        assert response.content_type == "application/problem+json"
    assert body["errors"][0]["pointer"] == f"/{parameter}"


async def test_ids_are_percent_decoded(api: Api) -> None:
    user = f"a/b ü%{uuid.uuid4().hex[:6]}"
    sent = await api.send("private", user)

    async def there() -> bool:
        return sent in await api.ids(user)

    await until(there)
