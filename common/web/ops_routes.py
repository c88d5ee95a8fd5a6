"""Routes `/healthz`, `/readyz` and `/metrics`, the same on every process."""

from collections.abc import Callable

from aiohttp import web

from common.telemetry.metrics import CONTENT_TYPE, exposition
from common.telemetry.readiness import Readiness


async def healthz(_: web.Request, __: Readiness) -> web.Response:
    """Answer that the process is alive."""
    return web.json_response({"status": "alive"})


async def readyz(_: web.Request, readiness: Readiness) -> web.Response:
    """Answer with the readiness: 200 or 503."""
    ready, body = readiness.status()
    return web.json_response(body, status=200 if ready else 503)


async def metrics(_: web.Request, __: Readiness) -> web.Response:
    """Answer with all metrics, in Prometheus' text format."""
    return web.Response(body=exposition(), headers={"Content-Type": CONTENT_TYPE})


def ops_routes(
    readiness: Readiness, may_measure: Callable[[web.Request], None] | None = None
) -> list[web.RouteDef]:
    """Make the three routes, for an aiohttp application.

    Args:
        readiness: of the process.
        may_measure: raises to refuse a reader of the metrics; None: everybody may read them.
    """

    async def health(request: web.Request) -> web.Response:
        return await healthz(request, readiness)

    async def ready(request: web.Request) -> web.Response:
        return await readyz(request, readiness)

    async def measured(request: web.Request) -> web.Response:
        if may_measure is not None:
            may_measure(request)
        return await metrics(request, readiness)

    return [
        web.get("/healthz", health),
        web.get("/readyz", ready),
        web.get("/metrics", measured),
    ]
