"""All routes of clients."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from history.database import DatabaseAwayError
from server.client_api import audit, clients, keys, tickets, tokens
from server.client_api.context import Context, Handler
from server.history_access import away


def client_routes(context: Context) -> list[web.RouteDef]:
    """Routes of clients, keys, tokens and the audit."""
    # In this order: what is exact before what has an id in it.
    table = [
        *keys.ROUTES, *tokens.ROUTES, *tickets.ROUTES, *audit.ROUTES, *clients.ROUTES
    ]  # fmt: skip
    return [web.route(method, path, _with(context, handler)) for method, path, handler in table]


def _with(context: Context, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request, context)
        except DatabaseAwayError:
            raise away("database-away", "PostgreSQL does not answer; repeat") from None

    return answer
