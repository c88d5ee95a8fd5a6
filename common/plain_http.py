"""What aiohttp answers before any application is asked: problem documents too, and quietly."""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from common.http_problems import problem_response
from common.problems import Problem

HEAD_TIMEOUT_S: Final = 10.0
log = logging.getLogger("roomcast.http")


class PlainHttp(web.RequestHandler):
    """One connection that aiohttp serves.

    What is no HTTP is the peer's fault: it is answered with 400 and not logged as an error, or
    anybody could fill the logs with tracebacks.
    """

    __slots__ = ("_head_timer",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head; aiohttp itself limits the later ones."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._head_timer = loop.call_later(HEAD_TIMEOUT_S, self._close_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait no more."""
        self._head_timer.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        if not self._request_count:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what no handler could, and close."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            super().handle_error(request, status, exc, message)
            detail = "the server is at fault; its log says why"
        else:
            log.debug("not HTTP", extra={"reason": str(message)})
            detail = message or "not HTTP"
            if request.writer.output_size:
                raise ConnectionError("an answer has begun already")
        code = "internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "not-http"
        response = problem_response(Problem(HTTPStatus(status), code, detail))
        response.force_close()
        return response


def plain_http(runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
    """Factory of connections that a runner's application serves; the runner must be set up."""
    server = runner.server
    assert server is not None
    loop = asyncio.get_running_loop()
    no_log: Any = None
    return lambda: PlainHttp(server, loop=loop, access_log=no_log)
