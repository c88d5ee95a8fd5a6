"""CORS headers of a small application; tests/security/transport has all routes of ours."""

import aiohttp
import pytest
from aiohttp import web

from common.web.cors import RESPONSE_HEADERS, add_cors, answer_lines, is_one_origin
from common.web.problem_middleware import problems
from tests.support.processes.process import LOOPBACK
from tests.unit.common.web.conftest import Serve

LISTED = "https://app.example.com"
OTHER = "https://evil.example"


@pytest.mark.parametrize("origin", [LISTED, "null", "http://localhost:8080", "*", ""])
def test_one_origin_may_be_echoed(origin: str) -> None:
    assert is_one_origin(origin)


@pytest.mark.parametrize(
    "text",
    [f"{LISTED}, {OTHER}", f"{LISTED},{OTHER}", f"{LISTED} {OTHER}", "https://é.example",
     f"{LISTED}\r\nSet-Cookie: a=b", f"{LISTED}\x00", f"{LISTED}\t"],
)  # fmt: skip
def test_what_is_not_one_or_would_break_a_header_may_not(text: str) -> None:
    assert not is_one_origin(text)


def test_an_answer_depends_on_its_origin_also_when_there_is_none() -> None:
    assert answer_lines(None) == ["Vary: Origin"]
    lines = dict(line.split(": ", 1) for line in answer_lines(LISTED))
    assert lines["Vary"] == "Origin"
    assert lines["Access-Control-Allow-Origin"] == LISTED
    assert "RateLimit" in lines["Access-Control-Expose-Headers"].split(", ")


@pytest.fixture
async def url(serve: Serve) -> str:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello", headers={"Vary": "Accept"})

    async def own_options(_: web.Request) -> web.Response:
        return web.Response(text="own")

    app = web.Application(middlewares=[problems])
    app.add_routes([web.get("/", hello), web.post("/", hello), web.options("/own", own_options)])
    add_cors(app, {LISTED}.__contains__, "X-Ours")
    return f"http://{LOOPBACK}:{await serve(app)}"


@pytest.mark.parametrize(("origin", "readable"), [(LISTED, True), (OTHER, False), (None, False)])
@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/nothing", 404)])
async def test_answers_and_refusals_are_for_listed_pages(
    url: str, origin: str | None, readable: bool, path: str, status: int
) -> None:
    headers = {"Origin": origin} if origin else {}
    async with aiohttp.ClientSession() as session, session.get(url + path, headers=headers) as said:
        assert said.status == status
        assert said.headers.get("Access-Control-Allow-Origin") == (origin if readable else None)
        exposed = said.headers.get("Access-Control-Expose-Headers")
        assert exposed == (RESPONSE_HEADERS if readable else None)
        # What the handler said is still there.
        varies = ["Accept", "Origin"] if status == 200 else ["Origin"]
        assert said.headers.getall("Vary") == varies


async def test_a_preflight_is_told_the_methods_and_headers_of_its_route(url: str) -> None:
    headers = {"Origin": LISTED, "Access-Control-Request-Method": "POST"}
    async with aiohttp.ClientSession() as session, session.options(url, headers=headers) as said:
        assert (said.status, await said.read()) == (204, b"")
        assert said.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST"
        assert said.headers["Access-Control-Allow-Headers"] == "X-Ours"
        assert said.headers["Access-Control-Allow-Origin"] == LISTED
        assert int(said.headers["Access-Control-Max-Age"]) > 0


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {"Origin": OTHER, "Access-Control-Request-Method": "POST"}, 405),
        ("/", {"Access-Control-Request-Method": "POST"}, 405),
        ("/", {"Origin": LISTED}, 405),
        ("/nothing", {"Origin": LISTED, "Access-Control-Request-Method": "POST"}, 404),
        ("/own", {"Origin": LISTED, "Access-Control-Request-Method": "POST"}, 200),
    ],
)
async def test_other_options_are_an_application_s_own_matter(
    url: str, path: str, headers: dict[str, str], status: int
) -> None:
    where = url + path
    async with aiohttp.ClientSession() as session, session.options(where, headers=headers) as said:
        assert said.status == status
        assert "Access-Control-Allow-Methods" not in said.headers
