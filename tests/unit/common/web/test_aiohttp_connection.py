"""Connections of an aiohttp application; tests/api/wire has the same of whole processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from common.model.problems import Problem
from common.web import aiohttp_connection
from common.web.aiohttp_connection import READ_AHEAD_BYTES, PlainSite, url_of
from common.web.problem_middleware import problems
from common.web.request_head import read_head
from tests.support.clients.http_wire import Wire, chunked, request
from tests.support.examples import examples
from tests.support.processes.process import LOOPBACK
from tests.unit.common.web.conftest import Serve


class Answers:
    """The application: it answers with what it got."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.begun: list[str] = []
        self.failures: list[Exception] = []

    async def echo(self, one: web.Request) -> web.Response:
        self.begun.append(one.path_qs)
        await self.may_answer.wait()
        return web.Response(body=await one.read())

    async def refuse(self, _: web.Request) -> web.Response:
        return web.Response(status=403)

    async def read_slowly(self, one: web.Request) -> web.Response:
        try:
            size = 0
            async for piece in one.content.iter_any():
                size += len(piece)
                await self.may_answer.wait()
        except Exception as error:
            self.failures.append(error)
            raise
        return web.Response(text=str(size))

    async def break_down(self, _: web.Request) -> web.Response:
        raise ValueError("a defect")


@pytest.fixture
async def answers() -> Answers:
    return Answers()


@pytest.fixture
async def wire(serve: Serve, answers: Answers) -> AsyncIterator[Wire]:
    app = web.Application(middlewares=[problems])
    app.add_routes(
        [
            web.route("*", "/notify", answers.echo),
            web.post("/refuse", answers.refuse),
            web.post("/slowly", answers.read_slowly),
            web.get("/broken", answers.break_down),
        ]
    )
    async with Wire(await serve(app)) as opened:
        yield opened
    answers.may_answer.set()


async def test_requests_of_a_connection_are_answered_one_after_the_other(
    wire: Wire, answers: Answers
) -> None:
    answers.may_answer.clear()
    await wire.send(
        *(request(b"%d" % number, path=f"/notify?{number}") for number in range(40)),
    )
    assert answers.begun == ["/notify?0"]
    answers.may_answer.set()
    assert [int((await wire.reply()).body) for _ in range(40)] == list(range(40))


@pytest.mark.parametrize("step", [1, 7, 50])
async def test_it_does_not_matter_where_the_stream_is_cut(wire: Wire, step: int) -> None:
    stream = request(b"one") + chunked(b"two" * 20, step=7) + request(b"three")
    for at in range(0, len(stream), step):
        wire.writer.write(stream[at : at + step])
        await wire.writer.drain()
        await asyncio.sleep(0)
    assert [(await wire.reply()).body for _ in range(3)] == [b"one", b"two" * 20, b"three"]


@pytest.mark.parametrize(
    "rubbish",
    [b"rubbish\r\n\r\n", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"\x16\x03\x01" + b"x" * 50,
     request(method="GET", path="nowhere"), request(method="GET", path="/ x")],
)  # fmt: skip
async def test_what_is_not_http_is_refused_once_and_nothing_behind_it_is_read(
    wire: Wire, answers: Answers, rubbish: bytes
) -> None:
    await wire.send(request(b"good") + rubbish + request(b"behind"))
    assert (await wire.reply()).status == 200
    refused = await wire.reply()
    assert (refused.status, refused.json["code"]) == (400, "not-http")
    assert await wire.closed()
    assert len(answers.begun) == 1


async def test_nothing_is_answered_behind_the_last_request(wire: Wire, answers: Answers) -> None:
    await wire.send(request(b"last", "Connection: close") + request(b"behind"))
    assert (await wire.reply()).body == b"last"
    assert await wire.closed()
    assert len(answers.begun) == 1


async def test_a_body_is_asked_for_when_it_is_read(wire: Wire) -> None:
    whole = request(b"body", "Expect: 100-continue")
    head = whole[: -len(b"body")]
    await wire.send(head)
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.send(b"body")
    assert (await wire.reply()).body == b"body"
    await wire.send(head.replace(b"/notify", b"/refuse"))
    refused = await wire.reply()
    assert (refused.status, refused.headers["connection"]) == (403, "close")


async def test_a_sender_waits_for_a_handler_that_reads_slowly(wire: Wire, answers: Answers) -> None:
    answers.may_answer.clear()
    size = 64 * 1024 * 1024
    wire.writer.transport.set_write_buffer_limits(high=0)
    await wire.send(
        request(path="/slowly", length=False)[:-2] + b"Content-Length: %d\r\n\r\n" % size
    )
    sent = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            while sent < size:
                wire.writer.write(bytes(READ_AHEAD_BYTES))
                sent += READ_AHEAD_BYTES
                await wire.writer.drain()
    # What lies between are the buffers of the two sockets.
    assert sent < size / 2
    answers.may_answer.set()
    while sent < size:
        wire.writer.write(bytes(READ_AHEAD_BYTES))
        sent += READ_AHEAD_BYTES
        await wire.writer.drain()
    assert (await wire.reply()).body == b"%d" % size


async def test_a_handler_learns_that_the_rest_of_a_body_does_not_come(
    wire: Wire, answers: Answers
) -> None:
    await wire.send(request(b"x" * 100, path="/slowly")[:-50])
    wire.writer.write_eof()
    assert (await wire.reply()).status == 400
    assert [type(error) for error in answers.failures] == [web.RequestPayloadError]


async def test_a_defect_is_answered_with_500_and_no_word_of_it(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    await wire.send(request(method="GET", path="/broken"))
    reply = await wire.reply()
    assert (reply.status, reply.json["code"]) == (500, "internal")
    assert b"defect" not in reply.body
    assert "a defect" in caplog.text


async def test_who_never_sends_a_head_is_cut_off(
    wire: Wire, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiohttp_connection, "HEAD_TIMEOUT_S", 0.7)
    port = await serve(web.Application())
    async with Wire(port) as silent, Wire(port) as slow:
        await slow.send(b"GET / HT")
        assert await silent.closed()
        assert (await slow.reply()).status == 408
        assert await slow.closed()


async def test_a_port_that_is_taken_is_an_error(serve: Serve) -> None:
    port = await serve(web.Application())
    runner = web.AppRunner(web.Application())
    await runner.setup()
    with pytest.raises(OSError, match="in use"):
        await PlainSite(runner, LOOPBACK, port, reuse_port=False).start()
    await runner.cleanup()


def target(text: str, method: str = "GET") -> str:
    head = read_head(f"{method} {text} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    return str(url_of(head))


@examples(100)
@given(st.from_regex(r"/[A-Za-z0-9._~/-]{0,20}(\?[A-Za-z0-9=&+-]{0,10})?", fullmatch=True))
def test_an_absolute_target_is_the_same_as_its_path(path: str) -> None:
    expected = target(path)
    for host in ("http://test", "HTTPS://user@[::1]:80"):
        assert target(host + path) == expected
    assert target(f"{path}#fragment") == expected


def test_a_path_is_not_decoded() -> None:
    assert target("/a%2Fb%20c?d=%26") == "/a%2Fb%20c?d=%26"
    assert target("http://test?a") == "/?a"
    assert target("*", "OPTIONS") == "*"


@pytest.mark.parametrize("text", ["notify", "*", "test:443", "ftp://test/"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(Problem) as refused:
        target(text)
    assert refused.value.status == 400
