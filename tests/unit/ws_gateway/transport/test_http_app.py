"""The HTTP routes of the sockets' port, over the loopback."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web

from common.config.settings import Settings
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.telemetry.readiness import Readiness
from common.web.aiohttp_connection import PlainSite
from tests.support.processes.process import free_port
from ws_gateway.transport.http_app import make_http_app

HOST = "127.0.0.1"


class Operators:
    """Takes one API key for an operator's."""

    def operator_of(self, authorization: str | None, api_key: str | None) -> None:
        if api_key != "operator":
            raise Problem(ProblemCode.UNAUTHORIZED, "no operator")


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async def delivers() -> str | None:
        return None

    operators: Any = Operators()
    app = make_http_app(Readiness(delivers), operators, Settings())
    runner = web.AppRunner(app)
    await runner.setup()
    number = free_port()
    await PlainSite(runner, HOST, number, reuse_port=False).start()
    async with ClientSession(f"http://{HOST}:{number}") as session:
        yield session
    await runner.cleanup()


@pytest.mark.parametrize(
    ("path", "status"),
    [("/healthz", 200), ("/readyz", 503), ("/", 426), ("/events", 404), ("/nowhere", 404)],
)
async def test_every_answer_closes_its_connection(
    session: ClientSession, path: str, status: int
) -> None:
    async with session.get(path) as response:
        assert response.status == status
        assert response.headers["Connection"] == "close"


async def test_who_opens_the_port_in_a_browser_is_told_what_it_is(session: ClientSession) -> None:
    async with session.get("/") as response:
        assert response.headers["Upgrade"] == "websocket"
        assert (await response.json())["code"] == "upgrade-required"


async def test_only_operators_read_the_metrics(session: ClientSession) -> None:
    async with session.get("/metrics") as response:
        assert response.status == 401
    async with session.get("/metrics", headers={"x-api-key": "operator"}) as response:
        assert response.status == 200
