"""Every message is answered, and whoever loses its right to be here is closed."""

import pytest

from common.auth.client_records import ClientRecord
from common.auth.principal import OPEN, Principal
from tests.unit.ws_gateway.gateway_at_work import gateway_at_work
from ws_gateway.transport.web_socket import WebSocket

SHOP = Principal("shop", user="ann")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"action": "join", "room": "1"}, "not-registered"),
        ({"action": "dance"}, "unknown-action"),
        ({}, "invalid"),
        ([], "malformed"),
        (b"{", "malformed"),
        ({"userId": "ann", "room": ["1", "2", "3"]}, "too-many-rooms"),
    ],
)
async def test_what_can_t_be_done_is_answered_and_the_connection_stays(
    message: object, code: str
) -> None:
    async with (
        gateway_at_work(max_rooms=2) as work,
        work.connect(WebSocket) as (connection, peer),
    ):
        assert (await peer.ask(message))["code"] == code
        assert not connection.busy
        assert (await peer.ask({"userId": "ann"}))["type"] == "registered"


async def test_a_connection_registers_once() -> None:
    async with gateway_at_work() as work, work.registered("ann") as (connection, peer):
        assert (await peer.ask({"userId": "bob"}))["code"] == "already-registered"
        assert connection.user == "ann"


async def test_a_token_s_user_is_nobody_else() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket, SHOP) as (_, peer):
        assert (await peer.ask({"userId": "bob"}))["code"] == "forbidden"
        assert (await peer.ask({"userId": "ann"}))["type"] == "registered"


async def test_one_connection_more_than_a_client_may_have_is_closed() -> None:
    async with (
        gateway_at_work(client_max_connections=1) as work,
        work.connect(WebSocket, SHOP) as (first, one),
        work.connect(WebSocket, SHOP) as (_, two),
    ):
        assert (await one.ask({"userId": "ann"}))["type"] == "registered"
        assert (await two.ask({"userId": "ann"}))["code"] == "too-many-connections"
        assert await two.close_code() == 4505
        work.gateway.forget(first)
        assert first.seat == ""


async def test_a_disabled_client_s_connections_are_closed_and_no_others() -> None:
    async with (
        gateway_at_work() as work,
        work.connect(WebSocket, SHOP) as (_, shop),
        work.connect(WebSocket, OPEN) as (other, _),
    ):
        work.gateway.client_changed(ClientRecord("shop", "Shop", 1, disabled=True))
        assert await shop.close_code() == 4504
        assert other.closing_since is None


async def test_a_connection_whose_key_was_revoked_is_closed() -> None:
    by_key = Principal("shop", user="ann", key="k1")
    async with (
        gateway_at_work() as work,
        work.connect(WebSocket, by_key) as (_, revoked),
        work.connect(WebSocket, SHOP) as (by_token, _),
    ):
        work.gateway.client_changed(ClientRecord("shop", "Shop", 1))
        assert await revoked.close_code() == 4503
        assert by_token.closing_since is None


async def test_the_end_of_the_gateway_ends_what_is_under_way() -> None:
    async with gateway_at_work() as work, work.registered("ann") as (connection, peer):
        connection.wait()
        await work.gateway.close()
        assert connection in work.gateway.connections
        connection.resume()
        assert await peer.ask({"action": "ping"}) == {"type": "pong"}
