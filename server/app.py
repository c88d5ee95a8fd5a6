"""The HTTP application: routes, and problem documents for what no route answers."""

import asyncio
from http import HTTPStatus

from aiohttp import web

from common.http_problems import problems
from common.problems import Problem
from common.telemetry.ops import ops_routes
from common.telemetry.readiness import Readiness
from server.docs_page import docs_routes
from server.history_access import History, history_routes
from server.inbox_routes import inbox_routes
from server.intake import BODY_MAX_BYTES, Intake, Reply
from server.rooms import room_routes
from server.sent import sent_routes
from server.story import story_routes
from server.users import user_routes

BODY_TIMEOUT_S = 30.0


def make_app(
    intake: Intake, readiness: Readiness, history: History | None = None
) -> web.Application:
    """Application with every route of the server; those of history are off without it."""

    async def notify(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await request.read()
        except TimeoutError:
            raise Problem(
                HTTPStatus.REQUEST_TIMEOUT, "request-timeout", "the body did not come in time"
            ) from None
        reply: Reply = await intake.reply(
            body,
            request.headers.get("Content-Type", ""),
            request.headers.get("Idempotency-Key"),
        )
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[problems])
    app.add_routes([web.post("/notify", notify), *ops_routes(readiness), *docs_routes()])
    of_history = [
        *inbox_routes(), *room_routes(), *user_routes(), *sent_routes(), *story_routes()
    ]  # fmt: skip
    app.add_routes(history_routes(history, of_history))
    return app
