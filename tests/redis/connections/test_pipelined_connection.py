"""The connection of the hot paths: in order, at most once, and never silent about a loss."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoScriptError, ResponseError

from common.redis import pipelined_connection
from common.redis.pipelined_connection import Link, LinkLostError, Word, evalsha, is_waited_for
from common.redis.scripts import Script
from tests.support.processes.process import LOOPBACK, free_port
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until

TIMEOUT_S = 20.0
LOGIN_S = 1.0


@pytest.fixture
def short_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """An overdue reply is noticed no sooner than one to the login would have been."""
    monkeypatch.setattr(pipelined_connection, "CONNECT_TIMEOUT_S", LOGIN_S)


@pytest.fixture
async def link(server: Valkey, redis: Any) -> AsyncIterator[Link]:
    """A connection to a Valkey that is empty."""
    opened = await Link.connect(server.url, "test")
    yield opened
    opened.close()


async def outcomes(futures: "list[asyncio.Future[Any]]") -> list[Any]:
    async with asyncio.timeout(TIMEOUT_S):
        return await asyncio.gather(*futures, return_exceptions=True)


async def test_commands_are_answered_in_the_order_in_which_they_were_sent(link: Link) -> None:
    sent = []
    for number in range(50):
        sent.append(link.send(["RPUSH", "list", number], TIMEOUT_S))
        sent += link.send_together([["LLEN", "list"], ["LINDEX", "list", -1]], TIMEOUT_S)
    expected: list[Any] = []
    for number in range(50):
        expected += [number + 1, number + 1, b"%d" % number]
    assert await outcomes(sent) == expected


async def test_a_refusal_is_that_command_s_alone(link: Link) -> None:
    first, refused, last = await outcomes(
        link.send_together([["SET", "a", "1"], ["LPUSH", "a", "2"], ["GET", "a"]], TIMEOUT_S)
    )
    assert (first, last) == (b"OK", b"1")
    assert isinstance(refused, ResponseError)
    assert str(refused).startswith("WRONGTYPE")


async def test_a_script_that_redis_does_not_know_is_loaded_and_run_once(
    link: Link, redis: Any
) -> None:
    script = Script("take")
    script.text = "#!lua\nredis.call('INCR', KEYS[1]) return ARGV[1]"
    script.sha = await redis.script_load(script.text)
    await redis.script_flush()
    with pytest.raises(NoScriptError):
        await link.send(evalsha(script, ["count"], ["x"]), TIMEOUT_S)
    for _ in range(2):
        assert await link.run(script, ["count"], ["x"], timeout_s=TIMEOUT_S) == b"x"
    assert await redis.get("count") == b"2"


@pytest.mark.usefixtures("short_login")
async def test_a_reply_that_is_overdue_ends_the_connection(server: Valkey, redis: Any) -> None:
    link = await Link.connect(server.url, "test")
    server.freeze()
    try:
        early = link.send(["RPUSH", "list", "1"], 0.1)
        late = link.send(["RPUSH", "list", "2"], TIMEOUT_S)
        found = await outcomes([early, late])
    finally:
        server.thaw()
    assert [type(error) for error in found] == [LinkLostError] * 2
    assert link.lost.done()
    # What was sent may have been executed, in order and once.
    assert await redis.lrange("list", 0, -1) in ([b"1", b"2"], [b"1"], [])


@pytest.mark.usefixtures("short_login")
async def test_a_reader_that_pauses_by_itself_finds_no_reply_overdue(server: Valkey) -> None:
    link = await Link.connect(server.url, "test")
    link.pause()
    waits = link.send(["PING"], 0.05)
    await asyncio.sleep(LOGIN_S + 0.2)
    assert not link.lost.done()
    link.go_on()
    assert await outcomes([waits]) == [b"PONG"]
    link.close()


async def test_a_server_that_is_killed_fails_what_is_unanswered_and_all_that_follows(
    tmp_path: Path,
) -> None:
    valkey = Valkey(tmp_path)
    valkey.start()
    link = await Link.connect(valkey.url, "test")
    blocked = link.send(["BLPOP", "nothing", 0], TIMEOUT_S)
    behind = link.send(["PING"], TIMEOUT_S)
    await asyncio.sleep(0.05)
    valkey.kill()
    async with asyncio.timeout(TIMEOUT_S):
        await link.lost
    after = [link.send(["PING"], TIMEOUT_S), *link.send_together([["PING"]] * 2, TIMEOUT_S)]
    found = await outcomes([blocked, behind, *after])
    assert [type(error) for error in found] == [LinkLostError] * 5
    link.push_command(["SUBSCRIBE", "a"])
    link.close()


async def test_who_gave_up_on_a_reply_takes_nobody_else_s(link: Link) -> None:
    given_up, kept = link.send_together([["ECHO", "a"], ["ECHO", "b"]], TIMEOUT_S)
    given_up.cancel()
    assert await kept == b"b"
    assert await link.call("ECHO", "c", timeout_s=TIMEOUT_S) == b"c"


async def test_publications_come_apart_from_replies(server: Valkey, redis: Any) -> None:
    pushed: list[list[Any]] = []
    rounds: list[int] = []
    link = await Link.connect(
        server.url, "test", on_push=pushed.append, on_pushed=lambda: rounds.append(len(pushed))
    )
    link.push_command(["SUBSCRIBE", "room"])
    await until(lambda: pushed)
    for number in range(3):
        await redis.publish("room", str(number))
    assert await link.call("ECHO", "x", timeout_s=TIMEOUT_S) == b"x"
    await until(lambda: len(pushed) == 4)
    assert [list(one) for one in pushed] == [
        [b"subscribe", b"room", 1],
        *([b"message", b"room", b"%d" % number] for number in range(3)),
    ]
    # Called once all of a read are there.
    assert rounds[-1] == 4
    assert rounds == sorted(rounds)
    link.close()


async def test_it_has_a_name_and_the_database_of_its_url(server: Valkey, redis: Any) -> None:
    link = await Link.connect(server.url.replace("/0", "/3"), "worker-7")
    await link.call("SET", "a", "1", timeout_s=TIMEOUT_S)
    (told,) = [one for one in await redis.client_list() if one["name"] == "worker-7"]
    assert told["db"] == "3"
    assert not await redis.exists("a")
    link.close()


async def test_a_unix_socket_and_a_password_are_in_the_url(tmp_path: Path) -> None:
    path = tmp_path / "v"
    valkey = Valkey(tmp_path, unixsocket=str(path))
    valkey.start()
    try:
        valkey.command("ACL", "SETUSER", "me", "on", ">secret", "+@all", "~*")
        link = await Link.connect(f"unix://me:secret@{path}", "test")
        assert await link.call("ACL", "WHOAMI", timeout_s=TIMEOUT_S) == b"me"
        link.close()
    finally:
        valkey.stop()


async def test_nobody_at_the_address_is_an_error_at_once() -> None:
    with pytest.raises(OSError, match="Connect"):
        await Link.connect(f"redis://{LOOPBACK}:{free_port()}/0", "test")


async def test_a_peer_that_is_no_redis_is_left() -> None:
    was_left = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while await reader.read(100):
                pass
        writer.close()
        was_left.set()

    async with await asyncio.start_server(talk, LOOPBACK, 0) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(LinkLostError):
            await Link.connect(f"redis://{LOOPBACK}:{port}/0", "test")
        async with asyncio.timeout(TIMEOUT_S):
            await was_left.wait()


async def test_a_full_redis_lets_nobody_wait_and_other_refusals_are_errors(
    link: Link, server: Valkey
) -> None:
    await link.call("RPUSH", "from", "x", timeout_s=TIMEOUT_S)
    move: list[Word] = ["BLMOVE", "from", "to", "LEFT", "RIGHT", 1]
    assert await is_waited_for(link.send(move, TIMEOUT_S))
    server.command("CONFIG", "SET", "maxmemory", "1")
    try:
        assert not await is_waited_for(link.send(move, TIMEOUT_S))
    finally:
        server.command("CONFIG", "SET", "maxmemory", "0")
    with pytest.raises(ResponseError, match="timeout"):
        await is_waited_for(link.send([*move[:-1], "x"], TIMEOUT_S))
