"""A gateway knows what it sent, and looks in Redis for the rest."""

import json

import pytest

from common.model.publication import Position, Publication
from tests.support.stores.job_queue import KEYS, Queue, notification
from tests.unit.ws_gateway.fakes import FakeConnection
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.pending import Pending
from ws_gateway.reports import sent_ids
from ws_gateway.reports.sent_ids import SentIds

ROOM = "default/room:1"


def ids_of(log: list[Publication]) -> list[str]:
    return [json.loads(publication.text)["id"] for publication in log]


class Gateway:
    """Two rooms with a member each, and what was sent to them."""

    def __init__(self, queue: Queue) -> None:
        self.channels = {
            name: Channel(name, name.partition("/")[2]) for name in (ROOM, "default/room:2")
        }
        self.member, self.other = FakeConnection(), FakeConnection()
        for channel, member in zip(self.channels.values(), (self.member, self.other), strict=True):
            channel.add(member)
        self.sent = SentIds(queue.redis, KEYS, self.channels)

    def send(self, *ids: str, name: str = ROOM, sockets: int = 1) -> None:
        items = [
            Pending(json.dumps({"type": "room", "id": an_id}).encode(), Position("e", n), 1)
            for n, an_id in enumerate(ids, 1)
        ]
        self.sent.note(self.channels[name], items, sockets)


async def test_nothing_is_remembered_before_the_first_receipt(queue: Queue) -> None:
    gateway = Gateway(queue)
    gateway.send("a")
    assert len(gateway.sent) == 0
    assert gateway.sent.unknown(gateway.member, ["a"]) == ["a"]
    gateway.send("a", "b")
    assert gateway.sent.unknown(gateway.member, ["a", "b", "c"]) == ["c"]


async def test_what_went_to_a_room_is_known_to_its_members_only(queue: Queue) -> None:
    gateway = Gateway(queue)
    gateway.sent.unknown(gateway.member, [])
    gateway.send("a")
    gateway.send("a", "b", name="default/room:2")
    gateway.send("c", sockets=0)
    assert gateway.sent.unknown(gateway.member, ["a", "b", "c"]) == ["b", "c"]
    assert gateway.sent.unknown(gateway.other, ["a", "b", "c"]) == ["c"]


async def test_what_is_read_of_a_log_to_be_replayed_is_known_too(queue: Queue) -> None:
    await queue.send(notification(), notification())
    log = await queue.log(ROOM)
    gateway = Gateway(queue)
    gateway.sent.unknown(gateway.member, [])
    gateway.sent.note_read(ROOM, log)
    ids = ids_of(log)
    assert gateway.sent.unknown(gateway.member, ids) == []


async def test_the_oldest_are_forgotten(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_ids, "REMEMBERED", 2)
    gateway = Gateway(queue)
    gateway.sent.unknown(gateway.member, [])
    gateway.send(*"abcde")
    assert gateway.sent.unknown(gateway.member, list("abcde")) == ["a", "b"]
    assert len(gateway.sent) == 3


async def test_a_look_finds_what_the_logs_and_the_user_s_inbox_have(queue: Queue) -> None:
    await queue.send(notification(), notification(room=2))
    (ours,) = ids_of(await queue.log(ROOM))
    (theirs,) = ids_of(await queue.log("default/room:2"))
    await queue.redis.zadd(KEYS.unread("default/ann"), {"unread": 1})
    gateway = Gateway(queue)
    asked = [ours, theirs, "unread", "never"]
    found = await gateway.sent.look("default", "ann", asked, [ROOM])
    assert found == {ours, "unread"}


async def test_what_else_a_look_saw_is_remembered(queue: Queue) -> None:
    await queue.send(notification(), notification())
    ids = ids_of(await queue.log(ROOM))
    gateway = Gateway(queue)
    assert gateway.sent.unknown(gateway.member, ids) == ids
    assert await gateway.sent.look("default", "ann", ids[:1], [ROOM]) == {ids[0]}
    assert gateway.sent.unknown(gateway.member, ids) == []


async def test_looks_are_bounded_for_each_user(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent_ids, "USER_LOOKS_BURST", 2)
    sent = Gateway(queue).sent
    assert [sent.may_look("shop", "ann") for _ in range(3)] == [True, True, False]
    assert sent.may_look("shop", "bob")
