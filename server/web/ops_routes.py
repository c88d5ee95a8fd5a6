"""`/healthz`, `/readyz` and `/metrics` of the server."""

from http import HTTPStatus
from typing import Final

from common.telemetry.readiness import Readiness
from common.web.ops_routes import healthz, metrics, readyz
from server.access.route_access import Access
from server.web.answers import JsonModel
from server.web.route import Route, RouteAnswer


class GetHealthResponse(JsonModel):
    """Health of the process."""

    status: str


class GetReadinessResponse(JsonModel):
    """Readiness of the process; there may be more fields, for people."""

    status: str


ROUTES: Final[tuple[Route[Readiness], ...]] = (
    Route(
        method="GET",
        path="/healthz",
        access=Access.ANYONE,
        handler=healthz,
        name="getHealth",
        tag="operations",
        summary="Is the process alive?",
        answers=(RouteAnswer(HTTPStatus.OK, "Alive.", GetHealthResponse),),
    ),
    Route(
        method="GET",
        path="/readyz",
        access=Access.ANYONE,
        handler=readyz,
        name="getReadiness",
        tag="operations",
        summary="Can it queue notifications?",
        answers=(
            RouteAnswer(HTTPStatus.OK, "Ready.", GetReadinessResponse),
            RouteAnswer(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Not ready; the reason is there.",
                GetReadinessResponse,
            ),
        ),
    ),
    Route(
        method="GET",
        path="/metrics",
        access=Access.OPERATOR,
        handler=metrics,
        name="getMetrics",
        tag="operations",
        summary="Prometheus metrics",
        answers=(RouteAnswer(HTTPStatus.OK, "Text exposition.", str, media_type="text/plain"),),
    ),
)
