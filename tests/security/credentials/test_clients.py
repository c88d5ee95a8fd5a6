"""Requests with and without good credentials, and what one client sees of another."""

import asyncio
import json
from pathlib import Path

import pytest

from common.auth.api_keys import new_key
from tests.support.clients.api import Api
from tests.support.credentials import ROOM, AuthStack, Made, accepts, make_client
from tests.support.processes.process import LOOPBACK
from tests.support.waiting import until


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer rubbish"},
        {"Authorization": f"Bearer {new_key().text}"},
        {"x-api-key": ""},
        {"x-api-key": new_key().text},
        {"x-api-key": "rk_é"},
        {"x-api-key": new_key().text, "Authorization": f"Bearer {new_key().text}"},
    ],
)
@pytest.mark.parametrize("path", ["/notify", "/notifications", "/clients", "/metrics"])
async def test_without_good_credentials_nothing_is_done(
    api: Api, path: str, headers: dict[str, str]
) -> None:
    method = "POST" if path == "/notify" else "GET"
    answer = await api(
        method, path, headers=headers, **({"json": ROOM} if method == "POST" else {})
    )
    assert answer.status == 401
    assert answer.body["code"] == "unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_two_equal_headers_are_refused_however_they_are_parsed(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    port = auth_stack.ports["server-1"]
    for extra in ("", "Connection: close\r\n"):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        body = json.dumps(ROOM)
        writer.write(
            f"POST /notify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{extra}"
            f"x-api-key: {shop.key}\r\nx-api-key: {shop.key}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        assert b" 400 " in await reader.readline()
        writer.close()


async def test_one_client_sees_nothing_of_another(api: Api, shop: Made, bank: Made) -> None:
    sent = {}
    for client in (shop, bank):
        await api("PUT", "/rooms/1/members/ann", headers=client.bearer)
        for kind, target in (("private", "ann"), ("room", "1"), ("broadcast", None)):
            body = {"type": kind, "userId": 1, "message": client.id}
            if target:
                body["target"] = target
            key = {"Idempotency-Key": f"same-{kind}"}
            answer = await api("POST", "/notify", json=body, headers={**client.bearer, **key})
            assert answer.status == 202, answer
            sent[client.id, kind] = answer.body["id"]
    assert len(set(sent.values())) == 6
    for client, other in ((shop, bank), (bank, shop)):

        async def there(client: Made = client) -> bool:
            page = await api("GET", "/users/ann/notifications", headers=client.bearer)
            return len(page.body["notifications"]) == 3

        await until(there)
        page = await api("GET", "/users/ann/notifications", headers=client.bearer)
        assert {item["message"] for item in page.body["notifications"]} == {client.id}
        listed = await api("GET", "/notifications", headers=client.bearer)
        assert {item["id"] for item in listed.body["notifications"]} == {
            an_id for (owner, _), an_id in sent.items() if owner == client.id
        }
        foreign = sent[other.id, "private"]
        story = await api("GET", f"/notifications/{foreign}", headers=client.bearer)
        unknown = await api("GET", "/notifications/unknown", headers=client.bearer)
        assert story.status == unknown.status == 404
        assert story.body["detail"] == unknown.body["detail"]
        read = await api("POST", f"/users/ann/notifications/{foreign}/read", headers=client.bearer)
        assert read.status == 404
    members = await api("GET", "/rooms/1/members", headers=shop.bearer)
    assert len(members.body["members"]) == 1


async def test_without_redis_no_credentials_are_taken(tmp_path: Path) -> None:
    with AuthStack(tmp_path / "own", workers=0, gateways=0, history=1, AUTH_MODE="required") as own:
        async with Api(own) as api:
            client = await make_client(api, own)
            await asyncio.to_thread(own.valkey.freeze)

            async def refused() -> bool:
                answer = await api("GET", "/clients/me", headers=client.bearer)
                return answer.status == 503 and answer.body["code"] == "credentials-unknown"

            await until(refused)
            sent = await api("POST", "/notify", json=ROOM, headers=client.bearer)
            assert (sent.status, sent.body["code"]) == (503, "credentials-unknown")
            assert "retry-after" in sent.headers
            await asyncio.to_thread(own.valkey.thaw)
            await until(lambda: accepts(own, 0, client.key))
