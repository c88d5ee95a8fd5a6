"""Sockets and event streams with user tokens."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from common.auth.authenticator import UNIDENTIFIED
from tests.security.limits.limiting import one_more
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, token_of
from tests.support.waiting import until


def opening(stack: AuthStack, **how: Any) -> connect:
    return connect(stack.ws_urls[0], compression=None, proxy=None, **how)


async def ask(socket: ClientConnection, **body: Any) -> dict[str, Any]:
    await socket.send(json.dumps(body))
    async with asyncio.timeout(10):
        found: dict[str, Any] = json.loads(await socket.recv())
    return found


async def post(api: Api, client: Made, **body: Any) -> str:
    answer = await api("POST", "/notify", json={"userId": 1, **body}, headers=client.bearer)
    assert answer.status == 202, answer
    return str(answer.body["id"])


async def test_a_token_in_the_first_frame_registers_its_user(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    text = await token_of(api, shop)
    async with opening(auth_stack) as socket:
        answer = await ask(socket, userId="ann")
        assert (answer["code"], answer["message"]) == ("unauthorized", UNIDENTIFIED)
        for wrong, code in (
            ({"userId": "ann", "token": "x"}, "unauthorized"),
            ({"userId": "ann", "token": 1}, "invalid"),
            ({"userId": "bob", "token": text}, "forbidden"),
            ({"userId": "ann", "room": 2, "token": text}, "forbidden"),
        ):
            answer = await ask(socket, **wrong)
            assert (answer["type"], answer["code"]) == ("error", code), wrong
        answer = await ask(socket, userId="ann", room=1, token=text)
        assert answer["type"] == "registered"
        assert set(answer["channels"]) == {"user:ann", "room:1", "broadcast"}
        answer = await ask(socket, action="join", room="2")
        assert (answer["type"], answer["code"]) == ("error", "forbidden")
        sent = await post(api, shop, type="private", target="ann", message="hi")
        frame = json.loads(await socket.recv())
        assert (frame["id"], frame["channel"]) == (sent, "user:ann")


async def test_a_token_in_the_handshake_does_too(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    text = await token_of(api, shop)
    by_header = {"additional_headers": {"Authorization": f"Bearer {text}"}}
    by_protocol = {"subprotocols": ["roomcast", f"bearer.{text}"]}
    for how in (by_header, by_protocol):
        async with opening(auth_stack, **how) as socket:
            assert socket.subprotocol == (None if how is by_header else "roomcast")
            assert (await ask(socket, userId="bob"))["code"] == "forbidden"
            assert (await ask(socket, userId="ann"))["type"] == "registered"
    for headers in (
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": f"Bearer {shop.key}"},
    ):
        with pytest.raises(InvalidStatus) as refused:
            await opening(auth_stack, additional_headers=headers)
        assert refused.value.response.status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        await opening(auth_stack, **by_protocol, **by_header)
    assert refused.value.response.status_code == 401


async def test_one_client_hears_nothing_of_another(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    sockets, ids = {}, {}
    try:
        for client in (shop, bank):
            socket = sockets[client.id] = await opening(auth_stack)
            text = await token_of(api, client)
            assert (await ask(socket, userId="ann", room=1, token=text))["type"] == "registered"
        for client in (shop, bank):
            sent = [
                await post(api, client, type="private", target="ann", message=client.id),
                await post(api, client, type="room", target=1, message=client.id),
                await post(api, client, type="broadcast", message=client.id),
            ]
            heard = [json.loads(await sockets[client.id].recv()) for _ in sent]
            assert {frame["id"] for frame in heard} == set(sent)
            ids[client.id] = sent
            assert {frame["offset"] for frame in heard} == {1}
            assert shop.id not in json.dumps([{**frame, "message": ""} for frame in heard])
        # What one reads is told to that client's users and nobody else.
        strange = await ask(sockets[shop.id], action="read", id=ids[bank.id])
        assert strange["code"] == "not-sent"
        read = await ask(sockets[shop.id], action="read", id=ids[shop.id])
        assert read["type"] == "read"
        for socket in sockets.values():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await socket.recv()
    finally:
        for socket in sockets.values():
            await socket.close()


async def test_a_connection_ends_with_its_token_unless_it_is_refreshed(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    short = await token_of(api, shop, ttl=2)
    async with opening(auth_stack) as left, opening(auth_stack) as kept:
        for socket in (left, kept):
            assert (await ask(socket, userId="ann", room=1, token=short))["type"] == "registered"
        began = time.monotonic()
        for wrong, code in (
            (await token_of(api, shop, "bob"), "forbidden"),
            (await token_of(api, shop, rooms=["2"]), "forbidden"),
            ("x", "unauthorized"),
        ):
            answer = await ask(kept, action="refresh", token=wrong)
            assert (answer["type"], answer["code"]) == ("error", code)
        fresh = await token_of(api, shop)
        answer = await ask(kept, action="refresh", token=fresh)
        assert answer["type"] == "refreshed"
        with pytest.raises(ConnectionClosed):
            await left.recv()
        assert left.close_code == 4503
        assert time.monotonic() - began < 10
        assert (await ask(kept, action="ping"))["type"] == "pong"
    async with opening(auth_stack) as late:
        assert (await ask(late, userId="ann", token=short))["code"] == "unauthorized"


async def test_the_connections_of_a_disabled_client_are_closed(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    async with opening(auth_stack) as socket, opening(auth_stack) as other:
        for client, one in ((shop, socket), (bank, other)):
            text = await token_of(api, client)
            assert (await ask(one, userId="ann", token=text))["type"] == "registered"
        await api(
            "PATCH",
            f"/clients/{shop.id}",
            json={"disabled": True},
            headers={"x-api-key": auth_stack.operator},
        )
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        assert socket.close_code == 4504
        assert (await ask(other, action="ping"))["type"] == "pong"


async def test_event_streams_take_tokens_in_the_header_and_never_in_the_url(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    text = await token_of(api, shop)
    url = auth_stack.ws_urls[0].replace("ws:", "http:") + "events"
    bearer = {"Authorization": f"Bearer {text}"}
    async with aiohttp.ClientSession() as session:
        for query, headers, status in (
            ("?userId=ann", {}, 401),
            ("?userId=ann", {"Authorization": "Bearer x"}, 401),
            (f"?userId=ann&token={text}", {}, 400),
            (f"?userId=ann&access_token={text}", {}, 400),
            ("?userId=bob", bearer, 403),
            ("?userId=ann&room=2", bearer, 403),
            ("?userId=ann&room=1", bearer, 200),
        ):
            async with session.get(url + query, headers=headers) as response:
                assert response.status == status, query
                if not headers and status == 401:
                    assert (await response.json())["detail"] == UNIDENTIFIED
                if status == 200:
                    assert b"registered" in await response.content.readuntil(b"\n\n")


async def test_pages_of_strange_origins_may_not_connect(
    auth_stack: AuthStack, api: Api, shop: Made
) -> None:
    headers = {"Authorization": f"Bearer {await token_of(api, shop)}"}
    with pytest.raises(InvalidStatus) as refused:
        await opening(auth_stack, origin="https://evil.example", additional_headers=headers)
    assert refused.value.response.status_code == 403
    listed = "https://a.example, https://b.example"
    async with one_more(auth_stack, "gateway", ALLOWED_ORIGINS=listed) as name:
        url = auth_stack.url(name).replace("http", "ws")
        for origin, good in (("https://b.example", True), ("https://c.example", False)):
            try:
                async with connect(
                    url, origin=Origin(origin), compression=None, proxy=None
                ) as socket:
                    answer = await ask(socket, userId="ann", token=headers["Authorization"][7:])
                    assert (answer["type"] == "registered") is good
            except InvalidStatus:
                assert not good


async def test_metrics_beside_the_sockets_are_for_operators(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    url = auth_stack.url("gateway-1") + "/metrics"
    async with aiohttp.ClientSession() as session:
        for headers, status in (
            ({}, 401),
            (shop.bearer, 403),
            ({"x-api-key": auth_stack.operator}, 200),
        ):
            async with session.get(url, headers=headers) as response:
                assert response.status == status


async def test_what_is_delivered_to_a_user_of_a_client_counts_as_theirs(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    sent = await post(api, shop, type="private", target="ann", message="hi")
    text = await token_of(api, shop)
    async with opening(auth_stack) as socket:
        assert (await ask(socket, userId="ann", token=text))["type"] == "registered"
        assert (await ask(socket, action="read", id=sent))["type"] == "read"

    async def read() -> bool:
        answer = await api("GET", "/users/ann/notifications", headers=shop.bearer)
        return [item["read"] for item in answer.body["notifications"]] == [True]

    await until(read)
    answer = await api("GET", "/users/ann/notifications", headers=bank.bearer)
    assert answer.body["notifications"] == []
