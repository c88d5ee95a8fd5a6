"""The few HTTP routes on the port of the sockets."""

from aiohttp import web

from common.auth.authenticator import Authenticator
from common.config.settings import Settings
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.telemetry.readiness import Readiness
from common.web.cors import EVENTS_HEADERS, add_cors
from common.web.ops_routes import ops_routes
from common.web.problem_middleware import problems, refuse_encodings
from ws_gateway.protocol.event_stream_format import EVENTS_PATH


def make_http_app(
    readiness: Readiness, authenticator: Authenticator, settings: Settings
) -> web.Application:
    """Make the application that answers whatever is neither a handshake nor a stream.

    Args:
        readiness: of the process.
        authenticator: says who is an operator, and may read the metrics.
        settings: the origins that browsers may come from.
    """

    def may_measure(request: web.Request) -> None:
        # On this port are the sockets of everybody.
        authenticator.operator_of(
            request.headers.get("Authorization"), request.headers.get("x-api-key")
        )

    app = web.Application(middlewares=[problems, refuse_encodings])
    app.add_routes(
        [
            *ops_routes(readiness, may_measure),
            web.get("/", _no_socket),
            web.get(EVENTS_PATH, _no_stream, allow_head=False),
        ]
    )
    add_cors(app, settings.allows_origin, EVENTS_HEADERS)
    app.on_response_prepare.append(_close_after_answer)
    return app


async def _close_after_answer(_: web.Request, response: web.StreamResponse) -> None:
    # An upgrade must never come on a connection that aiohttp holds.
    response.force_close()
    response.headers["Connection"] = "close"


async def _no_stream(_: web.Request) -> web.Response:
    # Streams are answered by `Front`: this is for what else may be asked of their path.
    raise web.HTTPNotFound


async def _no_socket(_: web.Request) -> web.Response:
    # Somebody opened the port in a browser, or with curl. Handshakes are answered by `Front`.
    raise Problem(
        ProblemCode.UPGRADE_REQUIRED,
        "here are WebSockets: connect with ws:// or wss://; GET /events has Server-Sent Events",
        headers={"Upgrade": "websocket"},
    )
