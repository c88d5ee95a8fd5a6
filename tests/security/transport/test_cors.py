"""What browsers are told: pages of listed origins may read answers, others are told nothing."""

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from server.app import ROUTES
from server.web.route import access_rules
from tests.support.credentials import AuthStack
from tests.support.processes.stack import Stack
from tests.support.waiting import until

LISTED = "https://app.example.com"
OTHERS = [
    "https://evil.example",
    "https://app.example.com.evil.example",
    "http://app.example.com",
    "https://app.example.com:444",
    "null",
    "",
    "*",
    f"{LISTED}, https://evil.example",
]
BODY = {"type": "private", "userId": 2, "target": 1, "message": "hello"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("cors")
    with AuthStack(
        folder,
        database=True,
        AUTH_MODE="required",
        CLIENT_REGISTRATION="true",
        ALLOWED_ORIGINS=f"{LISTED},https://example.org",
        gateways=0,
        workers=0,
    ) as started:
        yield started


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def told(response: aiohttp.ClientResponse) -> set[str]:
    return {name for name in response.headers if name.lower().startswith("access-control")}


def preflight(origin: str, method: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,x-api-key",
    }


@pytest.mark.parametrize(("method", "path"), sorted(access_rules(ROUTES)))
async def test_a_preflight_of_every_route_is_answered_without_credentials(
    stack: Stack, session: aiohttp.ClientSession, method: str, path: str
) -> None:
    url = stack.http_urls[0] + path.replace("{", "").replace("}", "")
    async with session.options(url, headers=preflight(LISTED, method)) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == LISTED
        assert method in response.headers["Access-Control-Allow-Methods"].split(", ")
        allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
        asked = preflight(LISTED, method)["Access-Control-Request-Headers"].split(",")
        assert set(asked) <= set(allowed)
        assert "Access-Control-Allow-Credentials" not in response.headers
        assert "Origin" in response.headers.getall("Vary")


@pytest.mark.parametrize("origin", OTHERS)
async def test_other_origins_are_told_nothing(
    stack: Stack, session: aiohttp.ClientSession, origin: str
) -> None:
    root = stack.http_urls[0]
    async with session.options(f"{root}/notify", headers=preflight(origin, "POST")) as response:
        assert response.status == 405
        assert told(response) == set()
    async with session.post(f"{root}/notify", json=BODY, headers={"Origin": origin}) as response:
        assert response.status == 401
        assert told(response) == set()
        assert "Origin" in response.headers.getall("Vary")
    async with session.get(f"{root}/openapi.json", headers={"Origin": origin}) as response:
        assert response.status == 200
        assert told(response) == set()


async def test_options_is_no_way_around_a_key(stack: Stack, session: aiohttp.ClientSession) -> None:
    for headers in ({}, {"Origin": LISTED}):
        async with session.options(f"{stack.http_urls[0]}/notify", headers=headers) as response:
            assert response.status == 405
    for extra in ({}, {"X-HTTP-Method-Override": "OPTIONS"}):
        headers = {**preflight(LISTED, "POST"), **extra}
        async with session.post(
            f"{stack.http_urls[0]}/notify", json=BODY, headers=headers
        ) as response:
            assert response.status == 401


async def test_a_preflight_of_nothing_is_not_found(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    url = f"{stack.http_urls[0]}/nothing"
    async with session.options(url, headers=preflight(LISTED, "GET")) as response:
        assert response.status == 404
        assert "Access-Control-Allow-Methods" not in response.headers


async def chunks() -> AsyncIterator[bytes]:
    yield json.dumps(BODY).encode()


@pytest.mark.parametrize("way", ["at once", "chunked"])
async def test_answers_and_problems_can_be_read(
    stack: Stack, session: aiohttp.ClientSession, way: str
) -> None:
    root = stack.http_urls[0]
    new = {"name": uuid.uuid4().hex, "email": "a@example.org"}
    async with session.post(f"{root}/clients", json=new, headers={"Origin": LISTED}) as response:
        assert response.status == 201
        assert response.headers["Access-Control-Allow-Origin"] == LISTED
        key = (await response.json())["apiKey"]

    async def is_known() -> bool:
        async with session.get(f"{root}/clients/me", headers={"x-api-key": key}) as response:
            return response.status == 200

    await until(is_known)
    for origin, readable in ((LISTED, True), (OTHERS[0], False)):
        for credentials, status in (
            ({"x-api-key": key}, 202),
            ({}, 401),
            ({"x-api-key": "?"}, 401),
        ):
            headers = {"Origin": origin, "Content-Type": "application/json", **credentials}
            async with session.post(
                f"{root}/notify",
                data=json.dumps(BODY).encode() if way == "at once" else chunks(),
                headers=headers,
            ) as response:
                assert response.status == status
                given = response.headers.get("Access-Control-Allow-Origin")
                assert given == (origin if readable else None)
                assert "Origin" in response.headers.getall("Vary")


async def test_an_origin_said_twice_is_none(stack: Stack, session: aiohttp.ClientSession) -> None:
    headers = [("Origin", LISTED), ("Origin", LISTED)]
    async with session.get(f"{stack.http_urls[0]}/healthz", headers=headers) as response:
        assert response.status == 200
        assert told(response) == set()


async def test_who_is_no_browser_goes_the_short_way(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    async with session.post(f"{stack.http_urls[0]}/notify", json=BODY) as response:
        assert response.status == 401
        assert "Server" not in response.headers


STREAM_ORIGINS = [(LISTED, True), *((other, False) for other in OTHERS if other), (None, False)]


def readable_by(response: aiohttp.ClientResponse) -> str | None:
    """Return the origin whose pages may read an answer of the gateway."""
    assert "Origin" in response.headers.getall("Vary")
    return response.headers.get("Access-Control-Allow-Origin")


async def test_event_streams_are_for_listed_pages_and_so_are_their_refusals(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    with Stack(tmp_path, servers=0, workers=0, ALLOWED_ORIGINS=LISTED, MAX_CONNECTIONS="1") as one:
        url = f"{one.url('gateway-1')}/events"
        long = "&room=" + "&room=".join(f"{n:0150}" for n in range(100))

        async def check(query: str, statuses: tuple[int, int]) -> None:
            """Ask for a stream from everywhere; the second status is for strange origins."""
            for origin, listed in STREAM_ORIGINS:
                headers = {"Origin": origin} if origin else {}
                async with session.get(f"{url}?userId={query}", headers=headers) as response:
                    assert response.status == statuses[not (listed or origin is None)]
                    assert readable_by(response) == (origin if listed else None)
                    if response.status == 503:
                        assert response.headers["Retry-After"]

        await check("", (400, 403))
        await check("1&userId=2", (400, 400))
        await check(f"1{long}", (431, 431))
        async with session.get(f"{url}?userId=1", headers={"Origin": LISTED}) as response:
            assert response.status == 200
            assert readable_by(response) == LISTED
            await check("1", (503, 503))

        async def is_free() -> bool:
            async with session.get(f"{url}?userId=1", headers={"Origin": OTHERS[0]}) as response:
                assert readable_by(response) is None
                return response.status == 403

        await until(is_free)


async def test_event_streams_tell_pages_that_a_token_is_not_accepted(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    with AuthStack(
        tmp_path,
        database=True,
        servers=0,
        workers=0,
        AUTH_MODE="required",
        ALLOWED_ORIGINS=LISTED,
        FAILED_ATTEMPTS_PER_MINUTE="4",
    ) as required:
        url = f"{required.url('gateway-1')}/events?userId=1"
        for status in (401, 401, 429, 429):
            for origin, shown in ((LISTED, LISTED), (None, None)):
                headers = {"Authorization": "Bearer x"} | ({"Origin": origin} if origin else {})
                async with session.get(url, headers=headers) as response:
                    assert response.status == status
                    assert readable_by(response) == shown
                    told_name = "Retry-After" if status == 429 else "WWW-Authenticate"
                    assert response.headers[told_name]
                    if shown:
                        exposed = response.headers["Access-Control-Expose-Headers"]
                        assert told_name in exposed.split(", ")


async def test_a_preflight_of_an_event_stream_is_answered_like_one_of_the_server(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    with AuthStack(
        tmp_path,
        database=True,
        servers=0,
        workers=0,
        AUTH_MODE="required",
        ALLOWED_ORIGINS=LISTED,
    ) as required:
        url = f"{required.url('gateway-1')}/events?userId=1&room=x"
        asked = {"Access-Control-Request-Method": "GET"}
        names = "authorization,last-event-id,cache-control"
        for origin, listed in STREAM_ORIGINS:
            headers = asked | {"Access-Control-Request-Headers": names}
            if origin:
                headers["Origin"] = origin
            async with session.options(url, headers=headers) as response:
                assert response.status == (204 if listed else 405)
                assert readable_by(response) == (origin if listed else None)
                if listed:
                    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
                    assert set(names.split(",")) <= set(allowed)
                    assert "GET" in response.headers["Access-Control-Allow-Methods"].split(", ")
