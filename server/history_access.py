"""What the routes of history share: whether it is on, and what they say when a part is away."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.keys import Keys
from common.problems import Problem
from history.database import Database, DatabaseAwayError
from server.changes import Changes
from server.inbox import Inbox

RETRY_AFTER_S = 1
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class History:
    """What the routes work with.

    Args:
        database: PostgreSQL.
        inbox: the inboxes.
        changes: writes users, memberships and what was read through.
        redis: a client with a short timeout.
        keys: of the shard.
    """

    database: Database
    inbox: Inbox
    changes: Changes
    redis: Redis
    keys: Keys

    async def close(self) -> None:
        """Close what is connected."""
        await self.database.close()
        await self.redis.aclose()


HistoryHandler = Callable[[web.Request, History], Awaitable[web.Response]]
Route = tuple[str, str, HistoryHandler]
"""Method, path, and what answers it."""


def history_routes(history: History | None, routes: list[Route]) -> list[web.RouteDef]:
    """Routes that answer 503 while history is off or a part of it is away."""
    return [
        web.get(path, _guarded(history, handler))
        if method == "GET"
        else web.route(method, path, _guarded(history, handler))
        for method, path, handler in routes
    ]


def _guarded(
    history: History | None, handler: HistoryHandler
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        if history is None:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "history-off", "DATABASE_URL is not set here"
            )
        try:
            return await handler(request, history)
        except DatabaseAwayError:
            raise _away("database-away", "PostgreSQL does not answer; repeat") from None
        except (RedisError, OSError, TimeoutError):
            raise _away("redis-away", "Redis does not answer; repeat") from None

    return answer


def _away(code: str, detail: str) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, retry_after_s=RETRY_AFTER_S)


def json_answer(body: Any, status: int = 200, **headers: str) -> web.Response:
    """Answer with JSON; `Location="…"` becomes that header."""
    return web.Response(
        status=status, body=_encode(body), content_type="application/json", headers=headers
    )
