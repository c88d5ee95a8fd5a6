"""What pages of other origins may read (CORS, the Fetch standard): those of `ALLOWED_ORIGINS`.

An API key or a token is sent by the page itself, in a header; cookies play no part. So there is no
credentials mode, and whoever is not on the list is told nothing.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

REQUEST_HEADERS: Final = "Authorization, Content-Type, Idempotency-Key, x-api-key"
RESPONSE_HEADERS: Final = (
    "Retry-After, RateLimit, RateLimit-Policy, RateLimit-Limit, RateLimit-Remaining, "
    "RateLimit-Reset, WWW-Authenticate"
)
EVENTS_HEADERS: Final = "Authorization, Cache-Control, Last-Event-ID"
"""What a page may send to ask for an event stream."""
MAX_AGE_S: Final = 600
"""How long a browser may remember what it was told."""


def is_one_origin(text: str) -> bool:
    """Return whether the value of `Origin` is one origin, in characters that may be repeated."""
    return text.isascii() and text.isprintable() and "," not in text and " " not in text


def answer_lines(origin: str | None) -> list[str]:
    """Lines of the head of any answer that depends on the origin.

    Args:
        origin: of the page that may read it, if there is one and it may.
    """
    if origin is None:
        return ["Vary: Origin"]
    return [
        "Vary: Origin",
        f"Access-Control-Allow-Origin: {origin}",
        f"Access-Control-Expose-Headers: {RESPONSE_HEADERS}",
    ]


def add_cors(
    app: web.Application,
    allows_origin: Callable[[str], bool],
    request_headers: str = REQUEST_HEADERS,
) -> None:
    """Answer preflights, and tell browsers which answers their pages may read.

    A preflight needs no credentials: browsers send none with it.

    Args:
        app: whose answers they are, problem documents included.
        allows_origin: whether an origin is on the list.
        request_headers: what pages may send, besides what they always may.
    """

    def allowed(request: web.BaseRequest) -> str | None:
        origins = request.headers.getall("Origin", [])
        if len(origins) != 1 or not is_one_origin(origins[0]):
            return None
        return origins[0] if allows_origin(origins[0]) else None

    async def tell(request: web.Request, response: web.StreamResponse) -> None:
        # Also where there was none: a cache must not give that answer to a page.
        response.headers.add("Vary", "Origin")
        origin = allowed(request)
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = RESPONSE_HEADERS

    @web.middleware
    async def preflights(request: web.Request, handler: Handler) -> web.StreamResponse:
        wrong = request.match_info.http_exception
        if (
            request.method != "OPTIONS"
            or "Access-Control-Request-Method" not in request.headers
            or not isinstance(wrong, web.HTTPMethodNotAllowed)
            or allowed(request) is None
        ):
            return await handler(request)
        return web.Response(
            status=HTTPStatus.NO_CONTENT,
            headers={
                "Access-Control-Allow-Methods": ", ".join(sorted(wrong.allowed_methods)),
                "Access-Control-Allow-Headers": request_headers,
                "Access-Control-Max-Age": str(MAX_AGE_S),
            },
        )

    app.middlewares.insert(0, preflights)
    app.on_response_prepare.append(tell)
