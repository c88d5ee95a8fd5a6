import asyncio
import json

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from common.model.channels import Kind
from common.model.problem_codes import ProblemCode
from common.web.problem_middleware import problems
from server.web.answers import (
    RETRY_AFTER_S,
    JsonModel,
    KindName,
    NextCursor,
    Time,
    away,
    history_off,
    json_answer,
)


class Visit(JsonModel):
    """An answer of a test's."""

    user_id: str
    seen_at: Time
    kind: KindName
    next_cursor: NextCursor


VISIT = Visit("ünal", "2026-11-21T08:00:00.000Z", "room", None)


def test_names_are_camel_case_and_null_is_there() -> None:
    answer = json_answer(VISIT)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {
        "userId": "ünal", "seenAt": VISIT.seen_at, "kind": "room", "nextCursor": None,
    }  # fmt: skip
    assert "ünal".encode() in answer.body


def test_an_answer_may_have_another_status_and_more_headers() -> None:
    answer = json_answer(VISIT, 201, Location="/visits/1")
    assert (answer.status, answer.headers["location"]) == (201, "/visits/1")
    assert answer.content_type == "application/json"


def test_the_types_of_fields_are_described() -> None:
    fields = msgspec.json.schema(Visit)["$defs"]["Visit"]["properties"]
    assert fields["seenAt"]["format"] == "date-time"
    assert fields["kind"]["enum"] == [kind.value for kind in Kind]
    assert {one["type"] for one in fields["nextCursor"]["anyOf"]} == {"string", "null"}
    assert "next page" in fields["nextCursor"]["description"]


@pytest.mark.parametrize(
    ("refusal", "code", "retry_after"),
    [
        # It does not pass by itself.
        (history_off(), "history-off", None),
        (away(ProblemCode.REDIS_AWAY, "no answer"), "redis-away", str(RETRY_AFTER_S)),
        (away(ProblemCode.DATABASE_AWAY, "no answer"), "database-away", str(RETRY_AFTER_S)),
    ],
)
def test_a_refusal_says_when_to_come_again_if_that_helps(
    refusal: Exception, code: str, retry_after: str | None
) -> None:
    async def refuse(_: web.Request) -> web.Response:
        raise refusal

    async def ask() -> tuple[int, str, str | None]:
        app = web.Application(middlewares=[problems])
        app.router.add_get("/", refuse)
        async with TestClient(TestServer(app)) as client, client.get("/") as response:
            body = await response.json(content_type="application/problem+json")
            return response.status, body["code"], response.headers.get("retry-after")

    assert asyncio.run(ask()) == (503, code, retry_after)
