"""Connections enter channels that are open, and leave nothing behind."""

from common.auth.principal import OPEN, Principal
from common.model.publication import Position
from tests.unit.ws_gateway.gateway_at_work import GatewayAtWork, gateway_at_work, pub
from ws_gateway.channels.channel import Channel
from ws_gateway.sessions.channel_membership import ChannelMembership, channel_names
from ws_gateway.transport.web_socket import WebSocket

ROOM = ("default/room:1",)


def membership(work: GatewayAtWork) -> ChannelMembership:
    return ChannelMembership(work.hub, work.gateway.clock, work.gateway.connections)


def test_a_user_hears_channels_of_its_own_client_application() -> None:
    names = ("shop/user:ann", "shop/room:1", "shop/broadcast")
    assert channel_names(Principal("shop"), "ann", ["1"]) == names
    assert channel_names(OPEN, "ann", []) == ("default/user:ann", "default/broadcast")


async def test_a_connection_waits_while_a_channel_is_opened() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket) as (connection, _):
        got: list[list[Channel]] = []
        work.redis.held_names = {pub("room:1")}
        membership(work).open(connection, ROOM, got.append)
        assert connection.busy
        assert got == []


async def test_it_does_not_wait_for_a_channel_that_is_open() -> None:
    async with gateway_at_work() as work, work.registered("ann", "1") as (connection, _):
        got: list[list[Channel]] = []
        membership(work).open(connection, ROOM, got.append)
        assert not connection.busy
        assert [channel.name for channel in got[0]] == [*ROOM]


async def test_entering_tells_from_where_on_it_is_live_and_counts_once() -> None:
    async with gateway_at_work() as work, work.registered("ann", "1") as (connection, _):
        work.publish("room:1", b"{}", b"{}")
        channel = work.hub.channels[ROOM[0]]
        positions = membership(work).enter(connection, [channel])
        assert positions == {"room:1": Position("e", 2)}
        assert list(channel.members) == [connection]


async def test_a_channel_is_heard_by_those_who_are_not_closing() -> None:
    async with gateway_at_work() as work:
        members = membership(work)
        assert not members.is_heard("default/user:ann")
        async with work.registered("ann") as (connection, _):
            assert members.is_heard("default/user:ann")
            assert members.is_there(connection)
            connection.closing_since = 0.0
            assert not members.is_heard("default/user:ann")
            assert not members.is_there(connection)


async def test_who_leaves_is_not_brought_up_any_more() -> None:
    async with gateway_at_work() as work, work.registered("ann", "1") as (connection, _):
        channel = work.hub.channels[ROOM[0]]
        connection.fall_behind(channel, Position("e", 0))
        membership(work).leave(connection, [*ROOM, "default/room:never-opened"])
        assert not connection.behind
        assert not channel.members
        assert channel.empty_since is not None
