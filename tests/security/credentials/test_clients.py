"""Clients, their keys and their tokens over HTTP, as an operator and a product use them."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from common.auth.api_keys import new_key
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, make_client
from tests.support.processes.process import LOOPBACK
from tests.support.processes.stack import GLOBAL_KEYS
from tests.support.waiting import until

ROOM = {"type": "room", "userId": 1, "target": "1", "message": "hi"}


async def accepts(stack: AuthStack, server: int, key: str) -> bool:
    url = f"{stack.http_urls[server]}/notify"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=ROOM, headers={"x-api-key": key}) as response,
    ):
        assert response.status in (202, 401, 503)
        return response.status == 202


async def test_a_new_client_is_answered_with_its_key_which_works_at_once(
    api: Api, auth_stack: AuthStack
) -> None:
    answer = await api(
        "POST",
        "/clients",
        json={"name": "Shop", "email": "shop@example.com"},
        headers={"Authorization": f"Bearer {auth_stack.operator}"},
    )
    assert answer.status == 201
    assert set(answer.body) == {"clientId", "name", "email", "apiKey", "createdAt", "warning"}
    assert answer.headers["cache-control"] == "no-store"
    key = answer.body["apiKey"]
    assert key.startswith("rk_")
    await until(lambda: accepts(auth_stack, 0, key))
    await until(lambda: accepts(auth_stack, 1, key))
    mine = await api("GET", "/clients/me", headers={"x-api-key": key})
    assert (mine.body["clientId"], mine.body["name"]) == (answer.body["clientId"], "Shop")
    kept = await api("GET", "/clients/me/keys", headers={"x-api-key": key})
    assert key not in kept.text


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


async def test_a_revoked_key_stops_working_on_every_server_within_two_seconds(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    made = await api(
        "POST",
        "/clients/me/keys",
        json={"name": "second", "scopes": ["notify"]},
        headers=shop.bearer,
    )
    assert made.status == 201, made
    key = made.body["apiKey"]
    for server in (0, 1):
        await until(lambda server=server: accepts(auth_stack, server, key))  # type: ignore[misc]
    gone = await api("DELETE", f"/clients/me/keys/{made.body['id']}", headers=shop.bearer)
    assert gone.status == 204
    revoked = time.monotonic()

    async def refused() -> bool:
        return not any([await accepts(auth_stack, server, key) for server in (0, 1)])

    await until(refused)
    assert time.monotonic() - revoked < 2
    assert await accepts(auth_stack, 0, shop.key)
    again = await api("DELETE", f"/clients/me/keys/{made.body['id']}", headers=shop.bearer)
    assert again.status == 404


async def test_a_rotated_key_works_on_for_the_overlap(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    old = (await api("GET", "/clients/me/keys", headers=shop.bearer)).body["keys"][0]
    answer = await api(
        "POST",
        f"/clients/me/keys/{old['id']}/rotate",
        json={"overlapS": 2},
        headers=shop.bearer,
    )
    assert answer.status == 201, answer
    new = Made(shop.id, answer.body["apiKey"])
    await until(lambda: accepts(auth_stack, 0, new.key))
    assert await accepts(auth_stack, 0, shop.key)

    async def over() -> bool:
        return not await accepts(auth_stack, 0, shop.key)

    await until(over)
    keys = (await api("GET", "/clients/me/keys", headers=new.bearer)).body["keys"]
    assert [key["scopes"] for key in keys] == [["admin", "notify", "read"]] * 2


async def test_a_key_gives_no_scope_that_it_lacks(api: Api, shop: Made) -> None:
    async def add(by: Made, *scopes: str) -> Any:
        body = {"name": "k", "scopes": list(scopes)}
        return await api("POST", "/clients/me/keys", json=body, headers=by.bearer)

    manager = Made(shop.id, (await add(shop, "admin")).body["apiKey"])

    async def managing() -> bool:
        return bool((await add(manager, "admin")).status == 201)

    await until(managing)
    refused = await add(manager, "admin", "notify")
    assert (refused.status, refused.body["code"]) == (403, "forbidden")
    first = (await api("GET", "/clients/me/keys", headers=shop.bearer)).body["keys"][-1]
    rotated = await api(
        "POST", f"/clients/me/keys/{first['id']}/rotate", json={}, headers=manager.bearer
    )
    assert rotated.status == 403
    sent = await api("POST", "/notify", json=ROOM, headers=manager.bearer)
    assert (sent.status, sent.body["code"]) == (403, "forbidden")


async def test_only_operators_manage_clients(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    body = {"name": "x", "email": "x@example.com"}
    refused: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/clients", {"json": body}),
        ("GET", "/clients", {}),
        ("GET", f"/clients/{bank.id}", {}),
        ("PATCH", f"/clients/{bank.id}", {"json": {"disabled": True}}),
        ("GET", "/audit", {}),
        ("GET", "/metrics", {}),
    ]
    for method, path, options in refused:
        answer = await api(method, path, headers=shop.bearer, **options)
        assert (answer.status, answer.body["code"]) == (403, "forbidden"), path
    assert await accepts(auth_stack, 0, bank.key)
    operator = {"x-api-key": auth_stack.operator}
    listed = await api("GET", "/clients?limit=1", headers=operator)
    assert len(listed.body["clients"]) == 1
    following = listed.body["nextCursor"]
    more = await api("GET", "/clients", headers=operator, params={"cursor": following})
    assert more.body["clients"][0]["clientId"] != listed.body["clients"][0]["clientId"]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{api.root}/metrics", headers=operator) as response,
    ):
        assert response.status == 200


async def test_a_disabled_client_is_locked_out_until_it_is_enabled(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    operator = {"x-api-key": auth_stack.operator}
    for disabled in (True, False):
        answer = await api(
            "PATCH",
            f"/clients/{shop.id}",
            json={"disabled": disabled, "limits": {"connections": 7}},
            headers=operator,
        )
        assert (answer.status, answer.body["disabled"]) == (200, disabled)
        assert answer.body["limits"] == {"connections": 7}

        async def so(disabled: bool = disabled) -> bool:
            return await accepts(auth_stack, 0, shop.key) is not disabled

        await until(so)
    missing = await api("PATCH", "/clients/nobody", json={"disabled": True}, headers=operator)
    assert missing.status == 404


async def test_what_was_done_is_noted_without_secrets(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    await api("POST", "/clients/me/token-secret/rotate", json={}, headers=shop.bearer)
    mine = (await api("GET", "/clients/me/audit", headers=shop.bearer)).body["events"]
    assert [event["action"] for event in mine] == [
        "token-secret-rotated", "key-added", "client-created",
    ]  # fmt: skip
    assert {event["subject"] for event in mine} == {shop.id}
    assert mine[0]["byClient"] == shop.id
    everything = await api("GET", "/audit", headers={"x-api-key": auth_stack.operator})
    assert {shop.id, bank.id} <= {event["subject"] for event in everything.body["events"]}
    assert shop.key not in everything.text

    def told() -> bool:
        # It is an event as well, which the history writer has seen.
        name = "roomcast_history_events_total"
        return auth_stack.metric("history-1", name, kind="audit") >= 3

    await until(told)
    for name in auth_stack.processes:
        log = auth_stack.processes[name].log.read_text()
        assert shop.key not in log
        assert auth_stack.operator not in log


async def test_a_token_is_for_the_user_s_own_inbox(api: Api, shop: Made, bank: Made) -> None:
    answer = await api(
        "POST", "/tokens", json={"userId": "ann", "rooms": [1], "ttl": 60}, headers=shop.bearer
    )
    assert answer.status == 201, answer
    said = jwt.decode(answer.body["token"], options={"verify_signature": False})
    assert (said["iss"], said["sub"], said["rooms"]) == (shop.id, "ann", ["1"])
    ann = {"Authorization": f"Bearer {answer.body['token']}"}
    assert (await api("GET", "/users/ann/notifications", headers=ann)).status == 200
    for method, path in (
        ("GET", "/users/bob/notifications"),
        ("GET", "/notifications"),
        ("GET", "/users/ann"),
        ("GET", "/clients/me"),
    ):
        assert (await api(method, path, headers=ann)).status == 403, path
    for method, path, body in (("POST", "/notify", ROOM), ("POST", "/tokens", {"userId": "bob"})):
        assert (await api(method, path, headers=ann, json=body)).status == 403, path
    late = await api("POST", "/tokens", json={"userId": "a", "ttl": 10**9}, headers=shop.bearer)
    assert late.status == 422


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


async def test_a_change_that_redis_missed_comes_from_the_database(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    auth_stack.valkey.command(
        "DEL", GLOBAL_KEYS.clients, GLOBAL_KEYS.clients_order, GLOBAL_KEYS.clients_head
    )

    def back() -> bool:
        return bool(auth_stack.valkey.command("HEXISTS", GLOBAL_KEYS.clients, shop.id))

    await until(back)
    assert await accepts(auth_stack, 1, shop.key)


async def test_a_first_client_is_made_at_the_command_line_and_no_secret_is_asked_for_by_http(
    auth_stack: AuthStack,
) -> None:
    key = auth_stack.run("server", "create-client", "till", "till@example.com")
    await until(lambda: accepts(auth_stack, 0, key))
    ready = auth_stack.get("server-1", "/readyz")[1]
    assert "authMode" not in ready


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
