"""The HTTP application: routes, and problem documents for everything else."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware
from multidict import CIMultiDict

from common.telemetry.readiness import Readiness
from common.web.ops_routes import ops_routes
from common.web.problem_middleware import problems
from server.access.route_access import check_routes, principal_of
from server.clients.context import Context
from server.clients.routes import client_routes
from server.inbox.reader import Inbox
from server.inbox.routes import inbox_routes
from server.members.context import Members
from server.members.room_routes import room_routes
from server.members.user_routes import user_routes
from server.notifications.context import SentNotifications
from server.notifications.list_routes import sent_routes
from server.notifications.status_routes import story_routes
from server.notify.handler import Intake, Reply
from server.openapi.docs_page import docs_routes
from server.web.bodies import BODY_MAX_BYTES, read_body
from server.web.guard import history_routes


@dataclass(frozen=True, slots=True)
class Stored:
    """Contexts of the routes that need PostgreSQL, by subject."""

    inbox: Inbox
    members: Members
    notifications: SentNotifications


_ID: Final = re.compile(r"\{(\w+)\}")


def make_app(
    intake: Intake,
    readiness: Readiness,
    control: Middleware,
    clients: Context,
    stored: Stored | None = None,
) -> web.Application:
    """Make the application with all routes; those of history answer 503 without it.

    Args:
        intake: answers `POST /notify`.
        readiness: of this process.
        control: enforces the access rules of routes.
        clients: context of the routes of clients.
        stored: contexts of the routes of history.
    """

    async def notify(request: web.Request) -> web.Response:
        reply: Reply = await intake.reply(
            await read_body(request),
            request.headers.get("Content-Type", ""),
            request.headers.get("Idempotency-Key"),
            principal_of(request),
        )
        headers = CIMultiDict(reply.headers)
        for line in reply.lines.splitlines():
            name, _, value = line.partition(": ")
            headers[name] = value
        return web.Response(status=reply.status, body=reply.body, headers=headers)

    app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[problems, control])
    app.add_routes([web.post("/notify", notify), *ops_routes(readiness), *docs_routes()])
    of_history = [
        *history_routes(stored.inbox if stored else None, inbox_routes()),
        *history_routes(stored.members if stored else None, [*room_routes(), *user_routes()]),
        *history_routes(
            stored.notifications if stored else None, [*sent_routes(), *story_routes()]
        ),
    ]
    app.add_routes(_with_any_id(of_history))
    app.add_routes(_with_any_id(client_routes(clients)))
    check_routes(app)
    return app


def _with_any_id(routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    """Let ids in routes have any character; aiohttp's own pattern leaves out braces."""
    return [
        web.RouteDef(
            route.method, _ID.sub(r"{\1:[^/]+}", route.path), route.handler, dict(route.kwargs)
        )
        for route in routes
    ]
