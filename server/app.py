"""The HTTP application: routes, and problem documents for what no route answers."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from common.problems import Problem
from common.telemetry.ops import ops_routes
from common.telemetry.readiness import Readiness
from server.docs_page import docs_routes
from server.intake import BODY_MAX_BYTES, Intake, Reply, too_large

BODY_TIMEOUT_S = 30.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem_response(problem: Problem) -> web.Response:
    """Aiohttp response of a problem."""
    return web.Response(
        status=problem.status, body=problem.body(), headers=problem.response_headers()
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what aiohttp refuses by itself with problem documents, too."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem_response(problem)
    except web.HTTPRequestEntityTooLarge:
        return problem_response(too_large())
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return problem_response(
            Problem(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "method-not-allowed",
                f"{request.path} takes {allowed}",
                headers={"Allow": allowed},
            )
        )
    except web.HTTPNotFound:
        return problem_response(
            Problem(HTTPStatus.NOT_FOUND, "not-found", f"there is nothing at {request.path}")
        )
    except web.HTTPException as error:
        return problem_response(Problem(HTTPStatus(error.status), "http", error.reason))


def make_app(intake: Intake, readiness: Readiness) -> web.Application:
    """Application with every route of the server."""

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
    return app
