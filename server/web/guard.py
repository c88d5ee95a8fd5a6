"""Refusals of routes while history is off, or PostgreSQL or Redis is away."""

from collections.abc import Awaitable, Callable
from typing import Protocol, Self, TypeVar

from aiohttp import web

from common.model.problem_codes import ProblemCode
from common.redis.errors import REDIS_ERRORS
from history.database import DatabaseAwayError
from server.access.route_access import principal_of
from server.web.answers import away, history_off


class ForClient(Protocol):
    """Context of routes that answer each client application from its own data."""

    def of(self, client: str) -> Self:
        """Return the context for another client."""


Context = TypeVar("Context", bound=ForClient)
HistoryHandler = Callable[[web.Request, Context], Awaitable[web.Response]]
Route = tuple[str, str, HistoryHandler[Context]]
"""Method, path and handler."""


def history_routes(context: Context | None, routes: list[Route[Context]]) -> list[web.RouteDef]:
    """Make routes that answer 503 while history is off or a part of it is away."""
    return [
        web.get(path, _guarded(context, handler))
        if method == "GET"
        else web.route(method, path, _guarded(context, handler))
        for method, path, handler in routes
    ]


def _guarded(
    context: Context | None, handler: HistoryHandler[Context]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        if context is None:
            raise history_off()
        try:
            return await handler(request, context.of(principal_of(request).client))
        except DatabaseAwayError:
            raise away(ProblemCode.DATABASE_AWAY, "PostgreSQL does not answer; repeat") from None
        except REDIS_ERRORS:
            raise away(ProblemCode.REDIS_AWAY, "Redis does not answer; repeat") from None

    return answer
