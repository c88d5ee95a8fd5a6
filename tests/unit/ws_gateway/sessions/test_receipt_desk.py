"""Receipts are taken for what was sent here, within limits."""

from typing import Any

import pytest

from common.events.event import EventKind
from tests.unit.ws_gateway.gateway_at_work import GatewayAtWork, Peer, gateway_at_work


class Looks:
    """Looks into Redis, which knows some ids to have been sent, unless it is `away`."""

    def __init__(self, work: GatewayAtWork, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: set[str] = set()
        self.away = False
        monkeypatch.setattr(work.sent, "look", self._look)

    async def _look(self, client: str, user: str, ids: list[str], names: list[str]) -> set[str]:
        if self.away:
            raise ConnectionError("gone")
        return self.known.intersection(ids)


async def receipt(peer: Peer, *ids: str, action: str = "read") -> dict[str, Any]:
    return await peer.ask({"action": action, "id": list(ids)})


async def test_what_redis_knows_to_be_sent_is_written_and_the_rest_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with gateway_at_work() as work, work.registered("ann") as (_, peer):
        Looks(work, monkeypatch).known = {"a"}
        answer = await receipt(peer, "a", "b")
        assert answer == {"type": "read", "userId": "ann", "ids": ["a"], "refused": ["b"]}
        assert work.receipts.written == [(EventKind.READ, "default", "ann", ["a"])]


async def test_what_was_sent_from_here_needs_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway_at_work() as work, work.registered("ann", "1") as (_, peer):
        Looks(work, monkeypatch)
        assert (await receipt(peer, "a"))["code"] == "not-sent"
        work.publish("room:1", b'{"type":"room","id":"a"}')
        assert (await peer.next())["id"] == "a"
        assert (await receipt(peer, "a", action="ack"))["type"] == "acked"
        assert work.receipts.written == [(EventKind.DELIVERED, "default", "ann", ["a"])]


async def test_what_went_to_another_room_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        gateway_at_work() as work,
        work.registered("ann", "1") as (_, ann),
        work.registered("bob", "2") as (_, bob),
    ):
        Looks(work, monkeypatch)
        assert (await receipt(ann, "a"))["ids"] == ["a"]
        work.publish("room:2", b'{"type":"room","id":"a"}')
        assert (await bob.next())["id"] == "a"
        assert (await receipt(ann, "a"))["code"] == "not-sent"
        assert (await receipt(bob, "a"))["type"] == "read"


async def test_receipts_are_unavailable_while_redis_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with gateway_at_work() as work, work.registered("ann") as (connection, peer):
        looks = Looks(work, monkeypatch)
        looks.known = {"a"}
        work.receipts.away = True
        assert (await receipt(peer, "a"))["code"] == "unavailable"
        looks.away = True
        assert (await receipt(peer, "b"))["code"] == "unavailable"
        assert not connection.busy
        assert await peer.ask({"action": "ping"}) == {"type": "pong"}


async def test_more_receipts_than_a_burst_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"user_receipts_burst": 1_000, "user_receipts_per_s": 1}
    async with gateway_at_work(**limits) as work, work.registered("ann") as (_, peer):
        ids = [f"n{number}" for number in range(500)]
        Looks(work, monkeypatch).known = set(ids)
        for _ in range(2):
            assert (await receipt(peer, *ids))["type"] == "read"
        refused = await receipt(peer, *ids)
        assert refused["code"] == "too-many-receipts"
        assert "1 receipts per second" in refused["message"]
