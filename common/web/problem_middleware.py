"""Problem documents (RFC 9457) for requests that an aiohttp application refuses."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from common.model.problem_codes import ProblemCode
from common.model.problems import Problem

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


_IDENTITY: Final = frozenset({"", "identity"})


def problem_response(problem: Problem) -> web.Response:
    """Make an aiohttp response from a problem."""
    return web.Response(
        status=problem.status, body=problem.body(), headers=problem.response_headers()
    )


def check_coding(codings: str) -> None:
    """Check that a body has no `Content-Encoding` before it is read: nothing is decompressed.

    Args:
        codings: value of that field, of all its lines; empty if there is none.

    Raises:
        Problem: 415; it says that none is accepted (RFC 9110, section 12.5.3).
    """
    if codings and any(one.strip().lower() not in _IDENTITY for one in codings.split(",")):
        raise Problem(
            ProblemCode.UNSUPPORTED_CONTENT_ENCODING,
            "send the body as it is, without a Content-Encoding",
            headers={"Accept-Encoding": "identity"},
        )


def check_encoding(request: web.Request) -> None:
    """Check that a request has no `Content-Encoding`; see `check_coding`.

    Raises:
        Problem: 415.
    """
    check_coding(",".join(request.headers.getall("Content-Encoding", ())))


@web.middleware
async def refuse_encodings(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse encoded bodies on every route; see `check_encoding`."""
    check_encoding(request)
    return await handler(request)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with problem documents also where aiohttp itself refuses."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem_response(problem)
    except web.RequestPayloadError as error:
        # The body does not match its Content- or Transfer-Encoding, so there is no rest to read:
        # aiohttp would try, and log that as the handler's error.
        request.content.feed_eof()
        response = problem_response(Problem(ProblemCode.NOT_HTTP, str(error)))
        response.force_close()
        return response
    except web.HTTPRequestEntityTooLarge:
        return problem_response(Problem(ProblemCode.TOO_LARGE, "the body is too large"))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return problem_response(
            Problem(
                ProblemCode.METHOD_NOT_ALLOWED,
                f"{request.path} takes {allowed}",
                headers={"Allow": allowed},
            )
        )
    except web.HTTPNotFound:
        return problem_response(
            Problem(ProblemCode.NOT_FOUND, f"there is nothing at {request.path}")
        )
    except web.HTTPException as error:
        return problem_response(
            Problem(ProblemCode.OTHER, error.reason, other_status=HTTPStatus(error.status))
        )
