"""`POST /notify` as aiohttp serves it, in front of a real Redis."""

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from common.web.problem_middleware import problems
from server.access.client_limits import Limiter
from server.access.route_access import PRINCIPAL, Access
from server.notify.handler import Intake
from server.notify.notify_routes import ROUTES, Queued, QueuedBatch
from server.notify.redis_watch import RedisWatch
from server.web.bodies import BODY_MAX_BYTES
from server.web.route import served
from tests.redis.notify.conftest import A_DAY, SHOP, Make
from tests.support.stores.job_queue import Queue

(ROUTE,) = ROUTES
BODY: Any = ROUTE.examples["room"]
Http = TestClient[web.Request, web.Application]


@web.middleware
async def _by_shop(request: web.Request, handler: Any) -> web.StreamResponse:
    request[PRINCIPAL] = SHOP
    response: web.StreamResponse = await handler(request)
    return response


@pytest.fixture
async def http(make: Make, watch: RedisWatch, limiter: Limiter) -> AsyncIterator[Http]:
    app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[problems, _by_shop])
    app.add_routes(served(ROUTES, Intake(make(), watch, limiter)))
    async with TestClient(TestServer(app)) as client:
        yield client


def test_it_takes_the_scope_to_notify() -> None:
    assert (ROUTE.method, ROUTE.path, ROUTE.access) == ("POST", "/notify", Access.NOTIFY)


@pytest.mark.parametrize("name", sorted(ROUTE.examples))
async def test_every_example_of_the_description_is_queued(
    queue: Queue, http: Http, name: str
) -> None:
    async with http.post("/notify", json=ROUTE.examples[name]) as response:
        assert response.status == 202
        msgspec.json.decode(await response.read(), type=Queued, strict=True)
    assert await queue.waiting_count() == 1


async def test_a_batch_is_answered_as_described(queue: Queue, http: Http) -> None:
    async with http.post("/notify", json=[BODY, BODY]) as response:
        assert response.status == 202
        assert len(msgspec.json.decode(await response.read(), type=QueuedBatch)) == 2
    assert await queue.waiting_count() == 2


async def test_an_answer_has_the_headers_of_the_limits(http: Http) -> None:
    async with http.post("/notify", json=BODY) as response:
        assert response.content_type == "application/json"
        assert response.headers["RateLimit-Limit"] == str(A_DAY)
        assert response.headers["RateLimit-Remaining"] == str(A_DAY - 1)
        assert 0 < int(response.headers["RateLimit-Reset"]) <= 86_400


async def test_a_refusal_has_its_status_and_its_headers(queue: Queue, http: Http) -> None:
    async with http.post("/notify", json=[BODY] * (A_DAY + 1)) as response:
        assert (response.status, response.content_type) == (429, "application/problem+json")
        assert (await response.json(content_type=None))["code"] == "quota-exceeded"
        assert int(response.headers["Retry-After"]) > 0
    assert await queue.waiting_count() == 0


async def test_the_key_in_the_header_makes_a_repeat_safe(queue: Queue, http: Http) -> None:
    answers = []
    for _ in range(2):
        async with http.post("/notify", json=BODY, headers={"Idempotency-Key": "k"}) as response:
            answers.append(await response.read())
    assert answers[0] == answers[1]
    assert await queue.waiting_count() == 1


async def test_a_body_in_chunks_is_read_whole(queue: Queue, http: Http) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        raw = json.dumps(BODY).encode()
        yield raw[:10]
        yield raw[10:]

    headers = {"Content-Type": "application/json"}
    async with http.post("/notify", data=chunks(), headers=headers) as response:
        assert response.status == 202
    assert await queue.waiting_count() == 1


async def test_a_body_that_is_not_said_to_be_json_is_refused(queue: Queue, http: Http) -> None:
    headers = {"Content-Type": "text/plain"}
    async with http.post("/notify", data=json.dumps(BODY), headers=headers) as response:
        assert response.status == 415
        assert response.headers["Accept"] == "application/json"
    assert await queue.waiting_count() == 0
