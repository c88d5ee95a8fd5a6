"""`history/writing/writer.py` as a process, on a real stream and a real database."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from common.events.group_reader import EventReader
from common.redis.client import connect
from history.writing import writer
from history.writing.partitions import Partitions
from history.writing.store import Store
from tests.conftest import MakeStack
from tests.history.stream import add, count, fetch, frame, published, unread
from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import KEYS, Stack
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until

AT = "2026-11-21T04:00:00.123Z"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("history"), history=1, HISTORY_DELAY_S="0.05") as shared:
        yield shared


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def written(stack: Stack) -> None:
    async def all_read() -> bool:
        return await unread(stack) == 0

    await until(all_read, "all events are acknowledged")


async def test_what_is_posted_and_delivered_has_its_row(stack: Stack) -> None:
    async with Client(stack.ws_urls[0], user=7, room="posted") as client:
        answer = await post(
            stack,
            {"type": "room", "userId": 2, "target": "posted", "message": "hi",
             "data": {"big": 2**70}, "email": "a@b.cd"},
        )  # fmt: skip
        await until(lambda: client.ids == [answer.id])
    await written(stack)
    (row,) = await fetch(stack, "SELECT * FROM publications WHERE notification = $1", answer.id)
    got = client.notifications[0]
    assert json.loads(row["frame"]) == got
    assert row["client"] == "default"
    assert (row["channel"], row["epoch"], row["offset"]) == ("room:posted", got["epoch"], 1)
    assert (row["status"], row["type"], row["target"]) == ("published", "room", "posted")
    assert (row["sender"], row["priority"], row["email"]) == ("2", got["priority"], "a@b.cd")
    assert row["created_at"] == datetime.fromisoformat(got["createdAt"])
    assert timedelta(0) <= row["published_at"] - row["created_at"] < timedelta(seconds=10)


async def test_every_kind_of_event_becomes_its_rows(stack: Stack) -> None:
    at = now()
    time = datetime.fromisoformat(at)
    user = {"c": "default/user:9", "w": "g1"}
    receipt = json.dumps({"id": "n1", "userId": "9", "at": at})
    report = {"gateway": "g1", "epoch": "e", "runs": [[1, 5, 2], [1, 5, 1], [1, 7, 1]], "at": at}
    entries = [["default/user:9", "e", 1, 0, 17], ["default/room:9", "e", 2, 3, 4]]
    mirror = {"topic": "t", "at": at, "firstMs": 5, "lastMs": 7, "entries": entries}
    _, _, _, _, mirrored, dead = await add(
        stack,
        {"k": "expired", **user, "p": json.dumps({"id": "n0", "createdAt": at})},
        {"k": "delivered", **user, "p": receipt},
        {"k": "read", **user, "p": receipt},
        {"k": "written", **user, "p": json.dumps(report)},
        {"k": "mirrored", "c": "", "w": "b1", "p": json.dumps(mirror)},
        {"k": "dead", "c": "", "w": "w1", "p": '{"id": "n2", ', "x": "not a job: \0"},
    )  # fmt: skip
    await written(stack)
    (expired,) = await fetch(stack, "SELECT * FROM publications WHERE notification = 'n0'")
    assert (expired["status"], expired["type"], expired["channel"]) == (
        "expired", "private", "user:9",
    )  # fmt: skip
    assert (expired["epoch"], expired["offset"], expired["target"]) == ("", 0, "9")
    receipts = await fetch(stack, "SELECT * FROM receipts WHERE user_id = '9' ORDER BY kind")
    assert [tuple(row) for row in receipts] == [
        ("default", "n1", "9", "delivered", time),
        ("default", "n1", "9", "read", time),
    ]
    writes = await fetch(
        stack, "SELECT * FROM writes WHERE channel = 'user:9' ORDER BY last_offset"
    )
    assert [tuple(row) for row in writes] == [
        ("default", "user:9", "e", 1, 5, "g1", 3, time),
        ("default", "user:9", "e", 1, 7, "g1", 1, time),
    ]
    (batch,) = await fetch(stack, "SELECT * FROM mirror_batches")
    assert tuple(batch) == (mirrored, "t", 5, 7, json.dumps(entries), time)
    (letter,) = await fetch(stack, "SELECT * FROM dead_letters WHERE event = $1", dead)
    assert (letter["notification"], letter["text"]) == ("", b'{"id": "n2", ')
    assert letter["reason"] == "not a job: \N{REPLACEMENT CHARACTER}"


async def test_delivering_again_changes_nothing(stack: Stack) -> None:
    entries = [published(frame(n, room="again")) for n in range(1, 21)]
    await add(stack, *entries)
    await written(stack)
    # Some are new, some known, one is there twice.
    await add(stack, *entries[5:], *[published(frame(n, room="again")) for n in range(21, 31)])
    await add(stack, entries[0], entries[0])
    await written(stack)
    rows = await fetch(
        stack, "SELECT \"offset\" FROM publications WHERE channel = 'room:again' ORDER BY 1"
    )
    assert [row[0] for row in rows] == list(range(1, 31))


async def test_rubbish_holds_nothing_up(stack: Stack) -> None:
    before = stack.metric("history-1", "roomcast_history_events_total", kind="malformed")
    refused = stack.metric("history-1", "roomcast_history_refused_rows_total")
    long_ago = "1999-01-01T00:00:00Z"
    good = [published(frame(n, room="rubbish")) for n in range(1, 40)]
    await add(
        stack,
        *good[:20],
        {"k": "published", "c": "default/room:rubbish", "p": "{", "x": ""},
        {"k": "published", "c": "default/room:rubbish", "p": b"\xff\xfe", "x": ""},
        {"k": "published", "c": "no slash", "p": json.dumps(frame(1)), "x": ""},
        {"k": "published", "c": "default/room:rubbish", "p": "[" * 100_000, "x": ""},
        {"k": "unknown", "c": "default/room:rubbish", "p": "{}"},
        {"something": "else"},
        published(frame(2**63, room="rubbish")),
        published(frame(1, room="rubbish", createdAt="yesterday")),
        *good[20:30],
        published(frame(100, room="rubbish", id="with \0")),
        published(frame(101, room="rubbish", createdAt=long_ago)),
        published(frame(102, room="rubbish", createdAt="9999-01-01T00:00:00Z")),
        published(frame(103, room="rubbish", createdAt="0001-01-01T00:00:00+23:00")),
        *good[30:],
        published(frame(104, room="rubbish", userId="\0")),
    )
    await written(stack)
    rows = await fetch(
        stack, "SELECT \"offset\" FROM publications WHERE channel = 'room:rubbish' ORDER BY 1"
    )
    assert [row[0] for row in rows] == list(range(1, 40))
    malformed = stack.metric("history-1", "roomcast_history_events_total", kind="malformed")
    assert malformed - before == 8
    assert stack.metric("history-1", "roomcast_history_refused_rows_total") - refused == 5
    reasons = [line["reason"] for line in stack.processes["history-1"].log_lines() if "row" in line]
    assert any("0x00" in reason for reason in reasons), reasons


async def test_a_dead_letter_of_any_text_is_kept(stack: Stack) -> None:
    texts: list[Any] = [
        "",
        "\0",
        json.dumps({"id": "n7"}),
        json.dumps({"id": "x" * 10_000}),
        b"\xff",
    ]
    ids = await add(
        stack, *({"k": "dead", "c": "", "w": "w", "p": text, "x": "why"} for text in texts)
    )
    await written(stack)
    rows = await fetch(
        stack,
        "SELECT notification, text FROM dead_letters WHERE event = ANY($1) ORDER BY at, event",
        ids,
    )
    found = {(row["notification"], row["text"]) for row in rows}
    assert found == {
        ("n7" if text == texts[2] else "", text if isinstance(text, bytes) else text.encode())
        for text in texts
    }


async def test_old_events_get_their_day_and_too_old_ones_are_left_out(stack: Stack) -> None:
    old = datetime.now(UTC) - timedelta(days=20)
    text = old.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    await add(stack, published(frame(1, room="old", createdAt=text)))
    await written(stack)
    partition = f"publications_{old:%Y%m%d}"
    assert await count(stack, partition) == 1


async def test_a_partition_that_somebody_dropped_is_made_again(stack: Stack) -> None:
    await add(stack, published(frame(1, room="gone")))
    await written(stack)
    await fetch(stack, f"DROP TABLE publications_{datetime.now(UTC):%Y%m%d}")
    await add(stack, *(published(frame(n, room="gone")) for n in range(2, 5)))
    await written(stack)
    rows = await fetch(stack, "SELECT 1 FROM publications WHERE channel = 'room:gone'")
    assert len(rows) == 3


async def test_a_group_that_redis_lost_is_made_again_from_the_start(stack: Stack) -> None:
    await add(stack, published(frame(1, room="group")))
    await written(stack)
    async with stack.valkey.client() as client:
        await client.xgroup_destroy(KEYS.events, "history")
    await add(stack, published(frame(2, room="group")))
    await written(stack)
    rows = await fetch(
        stack, "SELECT \"offset\" FROM publications WHERE channel = 'room:group' ORDER BY 1"
    )
    assert [row[0] for row in rows] == [1, 2]


def test_its_metrics_tell_what_it_saved(stack: Stack) -> None:
    events = stack.metric("history-1", "roomcast_history_events_total")
    transactions = stack.metric("history-1", "roomcast_history_transactions_total")
    saved = stack.metric("history-1", "roomcast_history_writes_saved_ratio")
    assert 0 < transactions < events
    assert abs(saved - (1 - transactions / events)) < 0.001
    assert stack.metric("history-1", "roomcast_history_retained_seconds") >= 86_400
    assert stack.metric("history-1", "roomcast_history_leads") == 1


def test_it_refuses_to_start_without_a_database(make_stack: MakeStack) -> None:
    stack = make_stack(servers=0, workers=0, gateways=0)
    name = stack.add("history")
    process = stack.processes[name]
    process.start()
    assert process.wait() == 2
    assert "setting DATABASE_URL is refused" in process.log_tail()


async def test_large_messages_are_read_in_small_batches(make_stack: MakeStack) -> None:
    stack = make_stack(servers=0, workers=0, gateways=0, history=1)
    large = "x" * 64_000
    for first in range(1, 2_001, 250):
        bodies = (frame(n, message=large) for n in range(first, first + 250))
        await add(stack, *(published(body) for body in bodies))
    await written(stack)
    assert await count(stack, "publications") == 2_000
    assert peak_kb(stack.processes["history-1"].pid) < 400_000


def peak_kb(pid: int) -> int:
    """Most memory that a process had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


async def test_it_is_ready_though_no_event_comes(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECK_INTERVAL_S", 600)
    valkey, partitions = Valkey(tmp_path), Partitions(30)
    valkey.start()
    redis, store = connect(valkey.url, timeout_s=60), Store(stack.database_url, partitions)
    reader = EventReader(redis, valkey.url, KEYS, "history", batch=10, block_s=50)
    ours = writer.Writer(reader, store, partitions, delay_s=0.05)
    running = asyncio.create_task(ours.run())
    try:
        await until(lambda: not any(ours.trouble.values()))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.drop_connections()
        await reader.close()
        await redis.aclose()
        valkey.stop()
