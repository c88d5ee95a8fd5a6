"""Whatever an application refuses is a problem document."""

import json

import pytest
from aiohttp import web

from common.model.problem_codes import ProblemCode
from common.model.problems import PROBLEM_TYPE, Problem
from common.web.problem_middleware import (
    check_coding,
    problem_response,
    problems,
    refuse_encodings,
)
from tests.support.clients.http_wire import Reply, Wire, request
from tests.unit.common.web.conftest import Serve

MOST_BYTES = 1_000


@pytest.fixture
async def port(serve: Serve) -> int:
    async def full(_: web.Request) -> web.Response:
        raise Problem(ProblemCode.EVENTS_FULL, "try again later", retry_after_s=3)

    async def read(one: web.Request) -> web.Response:
        return web.Response(body=await one.read())

    async def gone(_: web.Request) -> web.Response:
        raise web.HTTPGone

    app = web.Application(middlewares=[problems, refuse_encodings], client_max_size=MOST_BYTES)
    app.add_routes(
        [
            web.get("/full", full),
            web.post("/read", read),
            web.put("/read", read),
            web.get("/gone", gone),
        ]
    )
    return await serve(app)


async def ask(port: int, data: bytes) -> Reply:
    async with Wire(port) as wire:
        await wire.send(data)
        return await wire.reply()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (request(method="GET", path="/full"), 503, ProblemCode.EVENTS_FULL),
        (request(method="GET", path="/nothing"), 404, ProblemCode.NOT_FOUND),
        (request(method="DELETE", path="/read"), 405, ProblemCode.METHOD_NOT_ALLOWED),
        (request(b"x" * (MOST_BYTES + 1), path="/read"), 413, ProblemCode.TOO_LARGE),
        (request(method="GET", path="/gone"), 410, ProblemCode.OTHER),
        (request(b"x", "Content-Encoding: gzip", path="/read"), 415,
         ProblemCode.UNSUPPORTED_CONTENT_ENCODING),
        (request(b"", "Transfer-Encoding: chunked", path="/read", length=False) + b"x\r\n", 400,
         ProblemCode.NOT_HTTP),
    ],
)  # fmt: skip
async def test_every_refusal_is_a_problem_document(
    port: int, data: bytes, status: int, code: ProblemCode
) -> None:
    reply = await ask(port, data)
    assert (reply.status, reply.json["status"], reply.json["code"]) == (status, status, code)
    assert reply.headers["content-type"] == PROBLEM_TYPE


async def test_headers_say_what_to_do(port: int) -> None:
    full = await ask(port, request(method="GET", path="/full"))
    assert full.headers["retry-after"] == "3"
    wrong = await ask(port, request(method="DELETE", path="/read"))
    assert wrong.headers["allow"] == "POST, PUT"
    encoded = await ask(port, request(b"x", "Content-Encoding: br", path="/read"))
    assert encoded.headers["accept-encoding"] == "identity"


async def test_what_is_not_refused_goes_through(port: int) -> None:
    reply = await ask(port, request(b"hello", "Content-Encoding: identity", path="/read"))
    assert (reply.status, reply.body) == (200, b"hello")


@pytest.mark.parametrize("codings", ["", "identity", " Identity ", "identity, IDENTITY", ","])
def test_a_body_as_it_is_may_come(codings: str) -> None:
    check_coding(codings)


@pytest.mark.parametrize("codings", ["gzip", "identity, gzip", "gzip,", "none", "x-identity"])
def test_no_other_coding_may(codings: str) -> None:
    with pytest.raises(Problem) as refused:
        check_coding(codings)
    assert refused.value.status == 415


def test_a_response_has_the_problem_s_status_headers_and_text() -> None:
    problem = Problem(ProblemCode.NOT_FOUND, "there is nothing", headers={"X-A": "b"})
    response = problem_response(problem)
    assert (response.status, response.headers["X-A"]) == (404, "b")
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == json.loads(problem.body())
