"""Table of all routes of clients."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from common.model.problem_codes import ProblemCode
from history.database import DatabaseAwayError
from server.clients import audit_routes, key_routes, ticket_routes, token_routes
from server.clients import client_routes as clients
from server.clients.context import Context, Handler
from server.web.answers import away


def client_routes(context: Context) -> list[web.RouteDef]:
    """Make the routes of clients, keys, tokens and the audit log."""
    # The order matters: exact paths before those with an id.
    table = [
        *key_routes.ROUTES, *token_routes.ROUTES, *ticket_routes.ROUTES, *audit_routes.ROUTES,
    *clients.ROUTES ]  # fmt: skip
    return [web.route(method, path, _with(context, handler)) for method, path, handler in table]


def _with(context: Context, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request, context)
        except DatabaseAwayError:
            raise away(ProblemCode.DATABASE_AWAY, "PostgreSQL does not answer; repeat") from None

    return answer
