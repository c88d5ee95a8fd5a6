"""Rooms are joined and left after registration."""

from common.auth.principal import Principal
from common.auth.principal import Rooms as AllowedRooms
from tests.support.waiting import until
from tests.unit.ws_gateway.gateway_at_work import gateway_at_work, pub
from ws_gateway.transport.web_socket import WebSocket


async def test_a_room_that_is_joined_is_heard_from_its_position_on() -> None:
    async with gateway_at_work() as work, work.registered("ann") as (connection, peer):
        work.stand_at("room:1", 7)
        answer = await peer.ask({"action": "join", "room": ["1", "2"]})
        assert answer["rooms"] == ["1", "2"]
        assert answer["channels"]["room:1"] == {"epoch": "e", "offset": 7}
        work.publish("room:1", b"[8]")
        assert (await peer.frame()).data == b"[8]"
        assert connection.rooms == ("1", "2")


async def test_joining_twice_changes_nothing() -> None:
    async with gateway_at_work() as work, work.registered("ann", "1") as (connection, peer):
        assert (await peer.ask({"action": "join", "room": "1"}))["type"] == "joined"
        assert connection.rooms == ("1",)


async def test_a_room_that_is_left_is_not_heard() -> None:
    async with gateway_at_work() as work, work.registered("ann", "1", "2") as (connection, peer):
        assert (await peer.ask({"action": "leave", "room": "1"}))["rooms"] == ["1"]
        work.publish("room:1", b"[1]")
        work.publish("room:2", b"[2]")
        assert (await peer.frame()).data == b"[2]"
        assert connection.rooms == ("2",)


async def test_who_leaves_a_room_that_it_is_not_in_leaves_none() -> None:
    async with gateway_at_work() as work, work.registered("ann", "1") as (connection, peer):
        assert (await peer.ask({"action": "leave", "room": ["1", "2"]}))["code"] == "not-in-room"
        assert connection.rooms == ("1",)


async def test_rooms_are_bounded_over_all_joins() -> None:
    async with gateway_at_work(max_rooms=2) as work, work.registered("ann", "1") as (_, peer):
        assert (await peer.ask({"action": "join", "room": "2"}))["type"] == "joined"
        assert (await peer.ask({"action": "join", "room": "3"}))["code"] == "too-many-rooms"
        assert (await peer.ask({"action": "join", "room": ["1", "2"]}))["type"] == "joined"


async def test_a_token_that_names_rooms_allows_no_others() -> None:
    principal = Principal("shop", user="ann", rooms=AllowedRooms(frozenset({"1"})))
    async with (
        gateway_at_work() as work,
        work.connect(WebSocket, principal) as (connection, peer),
    ):
        assert (await peer.ask({"userId": "ann"}))["type"] == "registered"
        assert (await peer.ask({"action": "join", "room": "2"}))["code"] == "forbidden"
        assert (await peer.ask({"action": "join", "room": "1"}))["type"] == "joined"
        assert connection.rooms == ("1",)


async def test_a_room_that_opens_after_the_connection_is_gone_has_no_member() -> None:
    async with gateway_at_work() as work, work.registered("ann") as (connection, peer):
        work.redis.held_names = {pub("room:1")}
        peer.send({"action": "join", "room": "1"})
        await until(lambda: connection.busy)
        connection.abort()
        await until(lambda: connection not in work.gateway.connections)
        work.redis.released.set()
        channel = work.hub.channels["default/room:1"]
        await until(lambda: not channel.waiters)
        assert not channel.members
