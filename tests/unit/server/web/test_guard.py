import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from redis.exceptions import ConnectionError as RedisConnectionError

from common.auth.principal import Principal
from common.web.problem_middleware import problems
from history.database import DatabaseAwayError
from server.access.route_access import PRINCIPAL, Access
from server.web.guard import guarded, of_sender
from server.web.parameters import flag_parameter
from server.web.route import Route

FLAG = flag_parameter("unread", "Only what is not read.")


@dataclass(frozen=True)
class Notes:
    """A context of one client."""

    client: str = "default"

    def of(self, client: str) -> "Notes":
        return Notes(client)


@web.middleware
async def _by_shop(request: web.Request, handler: Any) -> web.StreamResponse:
    request[PRINCIPAL] = Principal("shop")
    response: web.StreamResponse = await handler(request)
    return response


async def ask(context: Notes | None, url: str, error: Exception | None = None) -> tuple[int, Any]:
    async def handler(_: web.Request, notes: Notes) -> web.Response:
        if error is not None:
            raise error
        return web.json_response({"client": notes.client})

    route = Route(
        method="GET", path="/notes", access=Access.READ, handler=handler, parameters=(FLAG,)
    )
    app = web.Application(middlewares=[problems, _by_shop])
    app.add_routes(guarded([route], of_sender(context)))
    async with TestClient(TestServer(app)) as client, client.get(url) as response:
        return response.status, await response.json(content_type=None)


def test_a_route_is_answered_from_what_its_sender_owns() -> None:
    assert asyncio.run(ask(Notes(), "/notes?unread=true")) == (200, {"client": "shop"})


@pytest.mark.parametrize(
    ("context", "url", "error", "status", "code"),
    [
        (None, "/notes", None, 503, "history-off"),
        (Notes(), "/notes?read=true", None, 422, "invalid"),
        (Notes(), "/notes?unread=true&unread=true", None, 422, "invalid"),
        (Notes(), "/notes", DatabaseAwayError(), 503, "database-away"),
        (Notes(), "/notes", RedisConnectionError(), 503, "redis-away"),
        (Notes(), "/notes", TimeoutError(), 503, "redis-away"),
    ],
)
def test_what_can_not_be_answered_is_refused(
    context: Notes | None, url: str, error: Exception | None, status: int, code: str
) -> None:
    found, body = asyncio.run(ask(context, url, error))
    assert (found, body["code"]) == (status, code)
