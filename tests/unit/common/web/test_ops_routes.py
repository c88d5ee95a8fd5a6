"""The three routes that every process has."""

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.telemetry.readiness import Readiness
from common.web.ops_routes import ops_routes
from common.web.problem_middleware import problems
from tests.support.clients.http_wire import Reply, Wire, request
from tests.unit.common.web.conftest import Serve


class Troubled:
    """A probe whose answer can be changed."""

    trouble: str | None = None

    async def __call__(self) -> str | None:
        return self.trouble


async def get(port: int, path: str, *fields: str) -> Reply:
    async with Wire(port) as wire:
        await wire.send(request(b"", *fields, method="GET", path=path, content_type=None))
        return await wire.reply()


async def test_a_process_lives_before_and_while_it_is_not_ready(serve: Serve) -> None:
    probe = Troubled()
    readiness = Readiness(probe)
    app = web.Application()
    app.add_routes(ops_routes(readiness))
    port = await serve(app)
    for trouble, status, said in (
        ("redis is away", 503, {"status": "not ready", "reason": "redis is away"}),
        (None, 200, {"status": "ready"}),
    ):
        probe.trouble = trouble
        await readiness.check()
        ready = await get(port, "/readyz")
        assert (ready.status, ready.json) == (status, said)
        alive = await get(port, "/healthz")
        assert (alive.status, alive.json) == (200, {"status": "alive"})


async def test_metrics_are_in_the_form_that_prometheus_reads(serve: Serve) -> None:
    app = web.Application()
    app.add_routes(ops_routes(Readiness(Troubled())))
    reply = await get(await serve(app), "/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(reply.body.decode())}
    assert "roomcast_ready_at_seconds" in names


async def test_metrics_may_be_for_some_only_and_the_rest_is_for_everybody(serve: Serve) -> None:
    def may_measure(asked: web.Request) -> None:
        if asked.headers.get("x-api-key") != "operator":
            raise Problem(ProblemCode.FORBIDDEN, "this is for operators")

    app = web.Application(middlewares=[problems])
    app.add_routes(ops_routes(Readiness(Troubled()), may_measure))
    port = await serve(app)
    assert (await get(port, "/metrics")).status == 403
    assert (await get(port, "/metrics", "x-api-key: operator")).status == 200
    assert (await get(port, "/healthz")).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_they_are_only_read(serve: Serve, path: str) -> None:
    app = web.Application(middlewares=[problems])
    app.add_routes(ops_routes(Readiness(Troubled())))
    async with Wire(await serve(app)) as wire:
        await wire.send(request(method="POST", path=path))
        assert (await wire.reply()).headers["allow"] == "GET, HEAD"
