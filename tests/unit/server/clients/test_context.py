from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import Field, TypeAdapter, ValidationError

from common.auth.client_directory import Directory
from common.auth.principal import Principal
from common.config.settings import Settings
from common.model.problem_codes import ProblemCode
from common.model.problems import FieldError, Problem
from common.redis.client import connect
from common.redis.shards import Shards
from history.queries.clients import Actor
from server.access.client_limits import Limiter
from server.access.route_access import PRINCIPAL
from server.clients.context import (
    NAME_MAX_CHARACTERS,
    WHOLE,
    Body,
    Context,
    Name,
    actor_of,
    bad,
    no_client,
    own,
    time_or_null,
    time_text,
)  # fmt: skip
from server.clients.ticket_issuer import TicketIssuer
from server.clients.usage_report import UsageReport

NUMBER: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=1), WHOLE])
NAME: TypeAdapter[str] = TypeAdapter(Name)


async def test_without_a_database_there_are_no_clients() -> None:
    # Nothing is connected until something is asked.
    redis, keys = connect("redis://127.0.0.1:1", timeout_s=1), Shards().global_keys
    directory, settings = Directory(redis, keys), Settings(_env_file=None)
    usage = UsageReport(redis, keys, Limiter(redis, keys, directory, settings))
    tickets = TicketIssuer(redis, keys, settings, lambda: False)
    context = Context(None, directory, 60, usage, tickets)
    with pytest.raises(Problem) as refused:
        _ = context.clients
    assert (refused.value.code, refused.value.status) == (ProblemCode.HISTORY_OFF, 503)
    with pytest.raises(Problem) as refused:
        await context.client("shop")
    assert refused.value.code == ProblemCode.HISTORY_OFF


def test_a_body_has_no_unknown_field() -> None:
    class Known(Body):
        name: str

    assert Known.model_validate({"name": "x"}).name == "x"
    with pytest.raises(ValidationError, match="colour"):
        Known.model_validate({"name": "x", "colour": "red"})


@pytest.mark.parametrize("value", [60, 60.0])
def test_a_whole_number_may_be_written_as_a_float(value: Any) -> None:
    found = NUMBER.validate_python(value)
    assert (found, type(found)) == (60, int)


@pytest.mark.parametrize("value", ["60", True, 60.5, None, 0])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        NUMBER.validate_python(value)


@pytest.mark.parametrize("name", ["", "x" * (NAME_MAX_CHARACTERS + 1), "a\nb", "a\x7f", "a\x00"])
def test_a_name_that_a_log_could_not_show_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        NAME.validate_python(name)


@pytest.mark.parametrize("name", ["x", "x" * NAME_MAX_CHARACTERS, "Zoë's shop"])
def test_a_usual_name_is_taken(name: str) -> None:
    assert NAME.validate_python(name) == name


@pytest.mark.parametrize("principal", [None, Principal("shop", key="k1")])
async def test_the_actor_is_the_key_that_was_shown(principal: Principal | None) -> None:
    actors = []

    async def note(request: web.Request) -> web.Response:
        if principal is not None:
            request[PRINCIPAL] = principal
            assert own(request) == principal.client
        actors.append(actor_of(request))
        return web.Response()

    app = web.Application()
    app.router.add_get("/", note)
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/")).status == 200
    assert actors == [Actor("shop", "k1") if principal else Actor("", "")]


def test_a_refused_field_is_named() -> None:
    problem = bad("/ttl", "must be at most 60 seconds")
    assert (problem.code, problem.status) == (ProblemCode.INVALID, 422)
    assert list(problem.errors) == [FieldError("/ttl", "must be at most 60 seconds")]
    assert "/ttl: must be" in str(problem.detail)


def test_an_unknown_client_is_404() -> None:
    assert (no_client().code, no_client().status) == (ProblemCode.CLIENT_NOT_FOUND, 404)


def test_times_are_in_utc_with_milliseconds() -> None:
    east = timezone(timedelta(hours=2))
    assert time_text(datetime(2026, 1, 2, 3, 4, 5, 678_000, east)) == "2026-01-02T01:04:05.678Z"
    assert time_or_null(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000Z"
    assert time_or_null(None) is None
