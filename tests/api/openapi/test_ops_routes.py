"""How each process says that it lives (`server/web/ops_routes.py`)."""

import asyncio
import urllib.request
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from common.telemetry.readiness import Readiness
from server.access.route_access import Access
from server.web.ops_routes import ROUTES
from server.web.route import served
from tests.support.processes.stack import Stack


@pytest.mark.parametrize(
    ("process", "path", "kind"),
    [
        ("server-1", "/healthz", "application/json"),
        ("server-1", "/readyz", "application/json"),
        ("server-1", "/metrics", "text/plain"),
        ("gateway-1", "/healthz", "application/json"),
        ("gateway-1", "/metrics", "text/plain"),
        ("worker-1", "/readyz", "application/json"),
    ],
)
def test_every_process_tells_how_it_is(stack: Stack, process: str, path: str, kind: str) -> None:
    with urllib.request.urlopen(f"{stack.url(process)}{path}", timeout=30) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith(kind)


async def _ask(readiness: Readiness, path: str) -> tuple[int, bytes]:
    app = web.Application()
    app.add_routes(served(ROUTES, readiness))
    async with TestClient(TestServer(app)) as client, client.get(path) as response:
        return response.status, await response.read()


@pytest.mark.parametrize(
    ("path", "reason", "expected"),
    [
        ("/healthz", None, (200, "alive")),
        ("/healthz", "redis is away", (200, "alive")),
        ("/readyz", None, (200, "ready")),
        ("/readyz", "redis is away", (503, "not ready")),
    ],
)
def test_an_answer_is_as_it_is_declared(
    path: str, reason: str | None, expected: tuple[int, str]
) -> None:
    async def probe() -> str | None:
        return reason

    async def ask() -> tuple[int, bytes]:
        readiness = Readiness(probe)
        await readiness.check()
        return await _ask(readiness, path)

    status, text = asyncio.run(ask())
    (route,) = (route for route in ROUTES if route.path == path)
    (model,) = (answer.model for answer in route.answers if answer.status == status)
    found: Any = msgspec.json.decode(text, type=model)
    assert (status, found.status) == expected


def test_only_operators_read_the_metrics() -> None:
    assert {route.path: route.access for route in ROUTES} == {
        "/healthz": Access.ANYONE,
        "/readyz": Access.ANYONE,
        "/metrics": Access.OPERATOR,
    }
