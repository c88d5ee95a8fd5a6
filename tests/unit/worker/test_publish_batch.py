import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.jobs.planning import plan_batch, plan_one
from common.model.channels import channel_of, scoped
from tests.support import strategies
from tests.support.examples import examples
from worker.publish_batch import BatchBuilder

NOW_MS = 1_795_233_600_000


def job(**fields: Any) -> bytes:
    body = {"type": "broadcast", "userId": 1, "message": "hello"} | fields
    return plan_one(json.dumps(body).encode()).jobs[0][2]


def turns(args: list[Any]) -> list[tuple[Any, int, list[tuple[Any, Any, Any, Any]]]]:
    """The arguments as publish.lua reads them."""
    found, i = [], 0
    while i < len(args):
        partition, done, _, clients = args[i : i + 4]
        i += 4 + 2 * clients
        n = args[i]
        i += 1
        found.append(
            (partition, int(done), [tuple(args[k : k + 4]) for k in range(i, i + 4 * n, 4)])
        )
        i += 4 * n
    return found


def text_of(head: str | bytes) -> bytes:
    """What the script makes of a head."""
    return (head.encode() if isinstance(head, str) else head) + b'deadbeef","offset":7}'


def built(*jobs: bytes, entries: int = 1000, size: int = 1 << 30) -> BatchBuilder:
    builder = BatchBuilder(entries, size)
    builder.add_turn(b"3", list(jobs), NOW_MS)
    return builder


@examples(250)
@given(st.data())
def test_any_notification_arrives_as_it_was_sent(data: st.DataObject) -> None:
    body = data.draw(strategies.notifications())
    body.pop("expiresAt", None)
    plan = plan_one(data.draw(strategies.encodings(body)))
    seen = {}
    for lane, partition, waiting in plan.jobs:
        assert lane == body.get("priority", "high")
        builder = BatchBuilder(1000, 1 << 30)
        builder.add_turn(str(partition).encode(), [waiting], NOW_MS)
        ((_, done, entries),) = turns(builder.batch.args)
        assert done == 1
        for channel, accepted, head, extra in entries:
            frame = json.loads(text_of(head))
            assert strategies.same(frame["message"], body.get("message"))
            assert strategies.same(frame["data"], body.get("data"))
            assert frame["id"] == plan.answer
            assert frame["userId"] == str(body["userId"])
            assert frame["type"] == body["type"]
            assert frame["priority"] == lane
            assert channel == scoped(frame["channel"])
            assert frame["channel"] == channel_of(body["type"], frame["target"])
            assert (frame["epoch"], frame["offset"]) == ("deadbeef", 7)
            assert int(accepted) > 0
            assert json.loads(extra or b"{}") == (
                {"email": body["email"]} if "email" in body else {}
            )
            assert frame.keys() == {
                "type", "id", "userId", "target", "message", "data", "priority", "createdAt",
                "channel", "epoch", "offset",
            }  # fmt: skip
            assert frame["target"] not in seen
            seen[frame["target"]] = frame
    if body["type"] == "broadcast":
        assert list(seen) == [None]
    else:
        listed = body["target"] if isinstance(body["target"], list) else [body["target"]]
        assert set(seen) == set(map(str, listed))


def test_big_integers_doubled_names_and_spacing_arrive_as_they_were_written() -> None:
    data = '{"n": 123456789012345678901234567890 ,\n"n":1.0,"s":"\\u0041\\ud83d\\ude00"}'
    body = '{"type":"broadcast","userId":1,"data":' + data + "}"
    builder = built(plan_one(body.encode()).jobs[0][2])
    head = turns(builder.batch.args)[0][2][0][2]
    assert f'"data":{data},'.encode() in text_of(head)


def test_jobs_come_out_in_their_order() -> None:
    bodies = [b'{"type":"broadcast","userId":%d,"message":"x"}' % n for n in range(50)]
    plan = plan_batch(b"[" + b",".join(bodies) + b"]")
    builder = built(*(text for _, _, text in plan.jobs))
    ((_, done, entries),) = turns(builder.batch.args)
    assert done == 50
    assert [json.loads(text_of(e[2]))["userId"] for e in entries] == list(map(str, range(50)))
    assert [json.loads(text_of(e[2]))["id"] for e in entries] == plan.answer.split(",")


def test_an_expired_job_is_an_event_and_is_sent_to_nobody() -> None:
    builder = built(job(type="room", target=[1, 2], expiresAt="2026-11-21T03:59:59.999Z"))
    expired = [entry for _, _, entries in turns(builder.batch.args) for entry in entries]
    assert builder.batch.expired == 1
    for _, accepted, head, _ in expired:
        assert accepted == ""
        assert json.loads(head).keys() == {"id", "userId", "priority", "createdAt"}


@pytest.mark.parametrize(
    ("date", "expired"),
    [("2026-11-21T03:59:59.999Z", 1), ("2026-11-21T04:00:00.000Z", 0), ("0001-01-01T00:00:00Z", 1),
     ("9999-12-31T23:59:59Z", 0)],
)  # fmt: skip
def test_a_job_is_published_until_it_expires(date: str, expired: int) -> None:
    assert built(job(expiresAt=date)).batch.expired == expired


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"x", b"{}", b"5", b"[]", b"\xff\xfe", b'{"id":"\xff"}', b'{"a":' * 100_000,
     b'{"id":"1","type":"room"}'],
)  # fmt: skip
def test_what_is_no_job_becomes_a_dead_letter_and_the_others_go_on(rubbish: bytes) -> None:
    builder = built(job(userId=1), rubbish, job(userId=2))
    ((_, done, entries),) = turns(builder.batch.args)
    assert (done, len(entries), builder.batch.dead) == (3, 3, 1)
    assert entries[1][1:3] == ("dead", rubbish)
    assert str(entries[1][3]).startswith("not a job: ")


@examples(60)
@given(st.lists(st.integers(1, 200), max_size=30), st.integers(1, 20), st.integers(1, 3_000))
def test_a_batch_is_bounded_and_does_at_least_one_job(
    sizes: list[int], most: int, most_bytes: int
) -> None:
    waiting = [job(message="x" * size) for size in sizes]
    builder = BatchBuilder(most, most_bytes)
    builder.add_turn(b"1", waiting[: len(waiting) // 2], NOW_MS)
    builder.add_turn(b"2", waiting[len(waiting) // 2 :], NOW_MS)
    found = turns(builder.batch.args)
    assert [partition for partition, _, _ in found] == [b"1", b"2"]
    done = sum(d for _, d, _ in found)
    assert done >= min(1, len(sizes))
    assert done <= most
    heads = [len(entry[2]) for _, _, entries in found for entry in entries]
    # The last one may pass the bound, none begins behind it.
    assert sum(heads[:-1]) < most_bytes
    if done < len(sizes):
        assert done == most or sum(heads) >= most_bytes


def test_a_job_larger_than_the_bound_is_done_alone() -> None:
    builder = built(job(message="x" * 1000), job(), size=10)
    assert [done for _, done, _ in turns(builder.batch.args)] == [1]


def test_a_small_job_is_done_though_a_large_one_filled_the_batch() -> None:
    builder = BatchBuilder(256, 16_000, 16)
    large, small = job(message="x" * 20_000), job(message="x" * 200)
    builder.add_turn(b"1", [large, small], NOW_MS)
    builder.add_turn(b"2", [large, small], NOW_MS)
    builder.add_turn(b"3", [small, small, small, small, large], NOW_MS)
    builder.add_turn(b"4", [b"rubbish", b"rubbish"], NOW_MS)
    # In their order, and no more than a sixteenth each.
    assert [done for _, done, _ in turns(builder.batch.args)] == [1, 0, 2, 1]
    assert builder.batch.left
    assert builder.batch.read_bytes == len(large) + 2 * len(small) + len(b"rubbish")


def test_a_turn_without_jobs_is_given_up() -> None:
    assert turns(built().batch.args) == [(b"3", 0, [])]
