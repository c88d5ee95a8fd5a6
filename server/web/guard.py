"""Guard of routes that need PostgreSQL or Redis: query checks, and refusals during outages."""

from collections.abc import Callable, Iterable
from typing import Final, Protocol, Self, TypeVar

from aiohttp import web

from common.errors import REDIS_ERRORS
from common.model.problem_codes import ProblemCode
from history.database import DatabaseAwayError
from server.access.route_access import principal_of
from server.web.answers import away, history_off
from server.web.parameters import only
from server.web.route import Route

OF_STORES: Final = (
    ProblemCode.INVALID,
    ProblemCode.HISTORY_OFF,
    ProblemCode.DATABASE_AWAY,
    ProblemCode.REDIS_AWAY,
)
"""Refusals of every guarded route."""
C = TypeVar("C")


class ForClient(Protocol):
    """Context of routes that answer each client application from its own data."""

    def of(self, client: str) -> Self:
        """Return the context for another client."""


Contextual = TypeVar("Contextual", bound=ForClient)


def of_sender(context: Contextual | None) -> Callable[[web.Request], Contextual]:
    """Make the function that finds the context of a request: that of the client who sent it.

    Args:
        context: of any client; None while history is off: every request is then refused.
    """

    def find(request: web.Request) -> Contextual:
        if context is None:
            raise history_off()
        return context.of(principal_of(request).client)

    return find


def guarded(
    routes: Iterable[Route[C]], context_of: Callable[[web.Request], C]
) -> list[web.RouteDef]:
    """Serve routes that answer 503 while history is off or a part of it is away.

    Args:
        routes: each refuses query parameters that it does not declare.
        context_of: finds the context of a request.
    """

    def bound(route: Route[C]) -> web.RouteDef:
        async def answer(request: web.Request) -> web.StreamResponse:
            context = context_of(request)
            only(request, route.query)
            try:
                return await route.handler(request, context)
            except DatabaseAwayError:
                raise away(
                    ProblemCode.DATABASE_AWAY, "PostgreSQL does not answer; repeat"
                ) from None
            except REDIS_ERRORS:
                raise away(ProblemCode.REDIS_AWAY, "Redis does not answer; repeat") from None

        return route.served(answer)

    return [bound(route) for route in routes]
