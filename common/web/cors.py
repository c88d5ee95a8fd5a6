"""CORS (the Fetch standard) for pages of the origins in `ALLOWED_ORIGINS`.

Pages send an API key or a token themselves, in a header; cookies play no part. So there is no
credentials mode, and other origins get no CORS headers.
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
"""Request headers that a page may send for an event stream."""
MAX_AGE_S: Final = 600
"""Seconds that a browser may cache the answer to a preflight."""


def is_one_origin(text: str) -> bool:
    """Return True if the value of `Origin` is one origin, in characters that are safe to echo."""
    return text.isascii() and text.isprintable() and "," not in text and " " not in text


def answer_lines(origin: str | None) -> list[str]:
    """Return the CORS header lines of an answer.

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
    """Answer preflights, and tell browsers which answers pages may read.

    A preflight needs no credentials: browsers send none with it.

    Args:
        app: whose answers they are, problem documents included.
        allows_origin: whether an origin is on the list.
        request_headers: headers that pages may send, besides those that they always may.
    """

    def allowed(request: web.BaseRequest) -> str | None:
        origins = request.headers.getall("Origin", [])
        if len(origins) != 1 or not is_one_origin(origins[0]):
            return None
        return origins[0] if allows_origin(origins[0]) else None

    async def tell(request: web.Request, response: web.StreamResponse) -> None:
        # Also without an origin: a cache must not give that answer to a page.
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
