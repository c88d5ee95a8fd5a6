"""`POST /notify` has a short way in and aiohttp's: both give the same answers."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.clients.http_wire import Reply, Wire, chunked, request
from tests.support.processes.stack import Stack

MIB = 1024 * 1024
BODY = {"type": "room", "userId": 1, "target": "nobody-is-here", "message": "hi"}
GOOD = json.dumps(BODY).encode()
BATCH = json.dumps([BODY, BODY]).encode()


def body(**fields: Any) -> bytes:
    return json.dumps(BODY | fields).encode()


def of_size(size: int) -> bytes:
    return GOOD + b" " * (size - len(GOOD))


Way = Callable[[Wire, bytes, str | None, tuple[str, ...]], Awaitable[None]]


async def fast(wire: Wire, data: bytes, content_type: str | None, fields: tuple[str, ...]) -> None:
    await wire.send(request(data, *fields, content_type=content_type))


async def split(wire: Wire, data: bytes, content_type: str | None, fields: tuple[str, ...]) -> None:
    whole = request(data, *fields, content_type=content_type)
    head = whole.index(b"\r\n\r\n") + 4
    await wire.send(whole[: head // 2], whole[head // 2 : head], whole[head:][:5], whole[head:][5:])


async def in_chunks(
    wire: Wire, data: bytes, content_type: str | None, fields: tuple[str, ...]
) -> None:
    whole = chunked(data, *fields)
    if content_type != "application/json":
        line = f"Content-Type: {content_type}\r\n" if content_type is not None else ""
        whole = whole.replace(b"Content-Type: application/json\r\n", line.encode())
    await wire.send(whole)


async def expecting(
    wire: Wire, data: bytes, content_type: str | None, fields: tuple[str, ...]
) -> None:
    whole = request(data, "Expect: 100-continue", *fields, content_type=content_type)
    head = whole.index(b"\r\n\r\n") + 4
    await wire.send(whole[:head], whole[head:])


async def closing(
    wire: Wire, data: bytes, content_type: str | None, fields: tuple[str, ...]
) -> None:
    await wire.send(request(data, "Connection: close", *fields, content_type=content_type))


async def handed_over(
    wire: Wire, data: bytes, content_type: str | None, fields: tuple[str, ...]
) -> None:
    await wire.send(request(method="GET", path="/healthz", content_type=None))
    assert (await wire.reply()).status == 200
    await fast(wire, data, content_type, fields)


WAYS: list[Way] = [fast, split, in_chunks, expecting, closing, handed_over]


@pytest.fixture
def port(stack: Stack) -> int:
    return stack.ports["server-1"]


async def ask(
    port: int,
    way: Way,
    data: bytes,
    *fields: str,
    content_type: str | None = "application/json",
) -> Reply:
    async with Wire(port) as wire:
        await way(wire, data, content_type, fields)
        return await wire.reply()


CASES: dict[str, tuple[bytes, str | None, tuple[str, ...], int, str]] = {
    "good": (GOOD, "application/json", (), 202, ""),
    "batch": (BATCH, "application/json", (), 202, ""),
    "charset": (GOOD, 'Application/JSON; charset="UTF-8"', (), 202, ""),
    "big enough": (of_size(MIB), "application/json", (), 202, ""),
    "too big": (of_size(MIB + 1), "application/json", (), 413, "too-large"),
    "far too big": (of_size(3 * MIB), "application/json", (), 413, "too-large"),
    "no type": (GOOD, None, (), 415, "unsupported-media-type"),
    "wrong type": (GOOD, "text/plain", (), 415, "unsupported-media-type"),
    "wrong charset": (GOOD, "application/json; charset=latin-1", (), 415, "unsupported-media-type"),
    "empty": (b"", "application/json", (), 400, "malformed-json"),
    "malformed": (b"{", "application/json", (), 400, "malformed-json"),
    "not utf-8": (b'{"type":"\xff"}', "application/json", (), 400, "malformed-json"),
    "deep": (b"[" * 50_000, "application/json", (), 400, "malformed-json"),
    "nan": (GOOD.replace(b'"hi"', b"NaN"), "application/json", (), 422, "invalid"),
    "surrogate": (GOOD.replace(b"hi", rb"\ud800"), "application/json", (), 422, "invalid"),
    "field": (body(priority="x", x=1), "application/json", (), 422, "invalid"),
    "scalar": (b"5", "application/json", (), 422, "invalid"),
    "empty key": (GOOD, "application/json", ("Idempotency-Key:",), 422, "invalid-idempotency-key"),
    "long key": (GOOD, "application/json", (f"Idempotency-Key: {'k' * 256}",), 422,
                 "invalid-idempotency-key"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_every_way_in_gives_the_same_answer(port: int, case: str) -> None:
    data, content_type, fields, status, code = CASES[case]
    replies = [await ask(port, way, data, *fields, content_type=content_type) for way in WAYS]
    for way, reply in zip(WAYS, replies, strict=True):
        where = f"{case} by {way.__name__}: {reply.body!r}"
        assert reply.status == status, where
        if status == 202:
            assert reply.headers["content-type"].startswith("application/json"), where
            answers = reply.json if isinstance(reply.json, list) else [reply.json]
            for answer in answers:
                assert answer.keys() == {"id", "status"}
                assert uuid.UUID(answer["id"]).version == 7
                assert answer["status"] == "queued"
        else:
            assert reply.headers["content-type"] == "application/problem+json", where
            assert reply.json["code"] == code, where
            assert reply.json["status"] == status
            assert reply.json == replies[0].json, where


async def test_a_key_is_one_key_on_every_way_in(port: int) -> None:
    key = f"Idempotency-Key: {uuid.uuid4()} é"
    answers = [(await ask(port, way, GOOD, key)).json for way in WAYS]
    assert answers == [answers[0]] * len(WAYS)
    conflicts = [await ask(port, way, body(message="other"), key) for way in WAYS]
    assert {reply.status for reply in conflicts} == {422}
    assert {reply.json["code"] for reply in conflicts} == {"idempotency-key-reused"}


async def test_255_characters_are_a_key(port: int) -> None:
    for way in (fast, in_chunks):
        assert (
            await ask(port, way, GOOD, f"Idempotency-Key: {uuid.uuid4().hex:k<255}")
        ).status == 202


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_another_method_is_told_which_one_it_is(port: int, method: str) -> None:
    async with Wire(port) as wire:
        await wire.send(request(method=method, content_type=None))
        if method == "HEAD":
            head = await wire.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 405")
            return
        reply = await wire.reply()
    assert reply.status == 405
    assert reply.headers["allow"] == "POST"
    assert reply.json["code"] == "method-not-allowed"


@pytest.mark.parametrize("path", ["/", "/notify/", "/notifyx", "/NOTIFY", "/nothing?x=1", "/%00"])
async def test_an_unknown_path_is_not_found(port: int, path: str) -> None:
    async with Wire(port) as wire:
        await wire.send(request(GOOD, path=path))
        reply = await wire.reply()
    assert (reply.status, reply.json["code"]) == (404, "not-found")
    assert reply.headers["content-type"] == "application/problem+json"


async def test_a_query_is_ignored(port: int) -> None:
    async with Wire(port) as wire:
        await wire.send(request(GOOD, path="/notify?a=b"))
        assert (await wire.reply()).status == 202


async def test_pipelined_requests_are_answered_in_order_through_every_way_in(port: int) -> None:
    async with Wire(port) as wire:
        bad = b"{"
        run = [request(GOOD), request(bad), request(BATCH), request(bad), chunked(GOOD),
               request(bad), request(GOOD), request(method="GET", path="/healthz"),
               request(GOOD)]  # fmt: skip
        await wire.send(b"".join(run))
        found = [(await wire.reply()).status for _ in run]
    assert found == [202, 400, 202, 400, 202, 400, 202, 200, 202]


@pytest.mark.parametrize("step", [1, 7, 100])
async def test_a_pipeline_may_be_cut_anywhere(port: int, step: int) -> None:
    run = b"".join([request(GOOD), request(b"{"), request(BATCH)])
    async with Wire(port) as wire:
        for n in range(0, len(run), step):
            wire.writer.write(run[n : n + step])
            await asyncio.sleep(0)
        assert [(await wire.reply()).status for _ in range(3)] == [202, 400, 202]


@pytest.mark.parametrize("way", [fast, in_chunks, handed_over])
async def test_a_connection_goes_on_after_any_answer(port: int, way: Way) -> None:
    async with Wire(port) as wire:
        await way(wire, GOOD, "application/json", ())
        assert (await wire.reply()).status == 202
        for data, status in ((b"{", 400), (GOOD, 202), (body(x=1), 422), (GOOD, 202)):
            await wire.send(request(data))
            assert (await wire.reply()).status == status


async def test_connection_close_is_closed_after_the_answer(port: int) -> None:
    async with Wire(port) as wire:
        await closing(wire, GOOD, "application/json", ())
        assert (await wire.reply()).status == 202
        assert await wire.closed()


async def test_what_was_sent_before_the_half_close_is_answered(port: int) -> None:
    async with Wire(port) as wire:
        await wire.send(request(GOOD) + request(b"{") + request(GOOD))
        wire.writer.write_eof()
        assert [(await wire.reply()).status for _ in range(3)] == [202, 400, 202]
        assert await wire.closed()


async def test_http_1_0_is_answered_and_closed(port: int) -> None:
    async with Wire(port) as wire:
        await wire.send(request(GOOD, version="HTTP/1.0"))
        assert (await wire.reply()).status == 202
        assert await wire.closed()


ENCODINGS = ["gzip", "x-gzip", "GZIP", "deflate", "br", "zstd", "foo", "gzip, gzip", "identity, br"]


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_body_with_an_encoding_is_refused_on_every_route_of_every_port(
    stack: Stack, encoding: str
) -> None:
    field = f"Content-Encoding: {encoding}"
    paths = {
        "server-1": ["/notify", "/users", "/nothing", "/healthz", "/readyz"],
        "gateway-1": ["/healthz", "/nothing", "/events?userId=1"],
        "worker-1": ["/healthz", "/nothing"],
    }
    for process, asked in paths.items():
        for path in asked:
            method = "POST" if path in ("/notify", "/users", "/nothing") else "GET"
            start = f"{method} {path}".encode()
            in_chunks = chunked(GOOD, field).replace(b"POST /notify", start)
            for data in (request(GOOD, field, method=method, path=path), in_chunks):
                async with Wire(stack.ports[process]) as wire:
                    await wire.send(data)
                    reply = await wire.reply()
                    where = f"{process} {method} {path}"
                    assert reply.status == 415, where
                    assert reply.json["code"] == "unsupported-content-encoding", where
                    assert reply.headers["accept-encoding"] == "identity", where
                    if process != "gateway-1":
                        await wire.send(request(method="GET", path="/healthz", content_type=None))
                        assert (await wire.reply()).status == 200, where


async def test_an_encoding_is_refused_before_the_body_has_come(port: int) -> None:
    async with Wire(port) as wire:
        await wire.send(request(GOOD, "Content-Encoding: gzip")[: -len(GOOD)])
        assert (await wire.reply()).status == 415


async def test_who_waits_to_be_told_to_send_a_body_is_told_when_it_is_read(port: int) -> None:
    for fields, first in (((), b"HTTP/1.1 100 "), (("Content-Encoding: gzip",), b"HTTP/1.1 415 ")):
        data = request(GOOD, "Expect: 100-continue", *fields)
        async with Wire(port) as wire:
            await wire.send(data[: -len(GOOD)])
            assert (await wire.reader.readline()).startswith(first)
            if not fields:
                await wire.reader.readline()
                await wire.send(GOOD)
                assert (await wire.reply()).status == 202


@pytest.mark.parametrize("encoding", ["", "identity", "Identity , identity"])
async def test_no_encoding_by_another_name_is_none(port: int, encoding: str) -> None:
    for way in WAYS:
        assert (await ask(port, way, GOOD, f"Content-Encoding: {encoding}")).status == 202


@pytest.mark.parametrize(
    "rubbish",
    [
        b"rubbish\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
        b"POST /notify HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /notify HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /notify HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /notify HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n"
        b"\r\n{}",
        b"POST /notify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /notify HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /notify HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"POST /notify HTTP/1.1\r\n: x\r\n\r\n",
        b"POST /notify HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"POST /notify HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n",
        b"GET " + b"/x" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /notify HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 50_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_with_a_problem_document(
    port: int, rubbish: bytes
) -> None:
    async with Wire(port) as wire:
        await wire.send(rubbish)
        reply = await wire.reply()
        assert reply.status in (400, 414, 431, 505)
        assert reply.headers["content-type"] == "application/problem+json", reply.body
        assert reply.json["status"] == reply.status
        assert await wire.closed()


async def test_a_key_in_flight_is_a_conflict_to_come_back_for(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(gateways=0, workers=0)
    port = stack.ports["server-1"]
    stack.valkey.freeze()
    try:
        for ways in ((fast, in_chunks), (fast, fast), (in_chunks, in_chunks)):
            key = f"Idempotency-Key: {uuid.uuid4()}"
            asked = [asyncio.create_task(ask(port, way, GOOD, key)) for way in ways]
            done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            assert len(waiting) == 1
            conflict = done.pop().result()
            assert (conflict.status, conflict.json["code"]) == (409, "idempotency-key-in-flight")
            assert int(conflict.headers["retry-after"]) >= 1
            # Whether the other one was queued is unknown; it may be repeated.
            reply = await waiting.pop()
            assert (reply.status, reply.json["code"]) == (503, "outcome-unknown")
            assert int(reply.headers["retry-after"]) >= 1
    finally:
        stack.valkey.thaw()
