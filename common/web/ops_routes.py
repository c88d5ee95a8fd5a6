"""Routes `/healthz`, `/readyz` and `/metrics`, the same on every process."""

from collections.abc import Callable

from aiohttp import web

from common.telemetry.metrics import CONTENT_TYPE, exposition
from common.telemetry.readiness import Readiness


def ops_routes(
    readiness: Readiness, may_measure: Callable[[web.Request], None] | None = None
) -> list[web.RouteDef]:
    """Make the three routes, for an aiohttp application.

    Args:
        readiness: of the process.
        may_measure: raises to refuse a reader of the metrics; None: everybody may read them.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        ready, body = readiness.status()
        return web.json_response(body, status=200 if ready else 503)

    async def metrics(request: web.Request) -> web.Response:
        if may_measure is not None:
            may_measure(request)
        return web.Response(body=exposition(), headers={"Content-Type": CONTENT_TYPE})

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/metrics", metrics),
    ]
