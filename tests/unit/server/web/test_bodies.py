import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import BaseModel, ConfigDict

from common.model.problems import Problem
from common.web.problem_middleware import problems
from server.web import bodies
from server.web.bodies import BODY_MAX_BYTES, LOOKED_WITHIN_BYTES, check_type, read_json, too_large
from tests.support.clients.http_wire import Reply, Wire, request


class Note(BaseModel):
    """A body of a test's."""

    model_config = ConfigDict(extra="forbid")

    text: str
    weight: float = 0
    more: object = None


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server that reads a note and answers with its text."""

    async def take(asked: web.Request) -> web.Response:
        return web.json_response({"text": (await read_json(asked, Note)).text})

    app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[problems])
    app.router.add_post("/", take)
    async with TestServer(app) as server:
        assert server.port is not None
        yield server.port


async def post(port: int, body: bytes, content_type: str | None = "application/json") -> Reply:
    async with Wire(port) as wire:
        await wire.send(request(body, path="/", content_type=content_type))
        return await wire.reply()


async def test_a_good_body_becomes_the_model(port: int) -> None:
    reply = await post(port, '{"text": "grüße"}'.encode())
    assert (reply.status, reply.json) == (200, {"text": "grüße"})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed-json"),
        (b'{"text": "a"', 400, "malformed-json"),
        (b'{"text": "a", "weight": NaN}', 400, "malformed-json"),
        (b'{"text": "a", "more": ' + b"[" * 150 + b"]" * 150 + b"}", 200, ""),
        (b'{"text": "a", "more": ' + b"[" * 9_000 + b"]" * 9_000 + b"}", 400, "malformed-json"),
        (b'{"text": "' + b"a" * BODY_MAX_BYTES + b'"}', 413, "too-large"),
    ],
)
async def test_what_is_no_json_or_too_large_is_refused(
    port: int, body: bytes, status: int, code: str
) -> None:
    reply = await post(port, body)
    assert (reply.status, reply.json.get("code", "")) == (status, code)


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b"{}", ["/text"]),
        (b'{"text": 1, "txt": "a"}', ["/text", "/txt"]),
        (b'{"text": "a", "text": "b"}', ["/text"]),
        (b'{"text": "a", "more": {"x": 1, "x": 2}}', ["/more/x"]),
    ],
)
async def test_every_bad_field_is_pointed_at(port: int, body: bytes, pointers: list[str]) -> None:
    reply = await post(port, body)
    assert reply.status == 422
    assert sorted(error["pointer"] for error in reply.json["errors"]) == pointers


async def test_in_a_large_body_only_the_names_at_the_top_are_compared(port: int) -> None:
    text = json.dumps("a" * LOOKED_WITHIN_BYTES).encode()
    within = b'{"text": ' + text + b', "more": {"x": 1, "x": 2}}'
    assert (await post(port, within)).status == 200
    twice = b'{"text": ' + text + b', "text": "b"}'
    assert (await post(port, twice)).json["errors"][0]["pointer"] == "/text"


async def test_a_body_that_does_not_come_is_not_waited_for(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.05)
    whole = request(b'{"text": "a"}', path="/")
    async with Wire(port) as wire, asyncio.timeout(5):
        await wire.send(whole[:-1])
        reply = await wire.reply()
    assert (reply.status, reply.json["code"]) == (408, "request-timeout")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json", "Application/JSON", "application/json; charset=utf-8",
        'application/json;charset="UTF-8"', "application/json ; Charset = utf8",
        "application/json;",
    ],
)  # fmt: skip
def test_json_in_utf_8_is_taken(content_type: str) -> None:
    check_type(content_type)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/jsonp", "application/merge-patch+json", "json"],
)
def test_another_type_is_refused_with_the_one_that_is_taken(content_type: str) -> None:
    with pytest.raises(Problem) as refused:
        check_type(content_type)
    assert refused.value.status == 415
    assert refused.value.headers == {"Accept": "application/json"}


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "utf-8; x=y"])
def test_another_charset_is_refused(charset: str) -> None:
    with pytest.raises(Problem, match="charset") as refused:
        check_type(f"application/json; charset={charset}")
    assert refused.value.status == 415


async def test_a_body_without_a_type_is_refused_unread(port: int) -> None:
    reply = await post(port, b"no json", None)
    assert (reply.status, reply.json["code"]) == (415, "unsupported-media-type")


def test_the_refusal_of_a_large_body_names_the_limit() -> None:
    assert too_large().status == 413
    assert str(BODY_MAX_BYTES) in too_large().detail
