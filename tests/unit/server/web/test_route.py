import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from common.model.problem_codes import ProblemCode
from server.access.route_access import Access
from server.web.parameters import PathParameter
from server.web.route import Route, access_rules, exact_first, served

THING = PathParameter("id", "The thing.")


async def _text(request: web.Request, context: str) -> web.Response:
    return web.Response(text=f"{context} {request.match_info.get('id')}")


def route(path: str, access: Access = Access.READ, **more: Any) -> Route[str]:
    parameters = (THING,) if "{id}" in path else ()
    return Route(
        method="GET", path=path, access=access, handler=_text, parameters=parameters, **more
    )


def test_a_path_has_the_parameters_that_are_declared() -> None:
    for path, parameters in (("/things/{id}", ()), ("/things", (THING,))):
        with pytest.raises(ValueError, match="other parameters"):
            Route(method="GET", path=path, access=Access.READ, handler=_text, parameters=parameters)


def test_a_body_has_an_example() -> None:
    wrong: list[dict[str, Any]] = [{"body": dict}, {"examples": {"none": {}}}]
    for more in wrong:
        with pytest.raises(ValueError, match="example"):
            route("/a", **more)


def test_refusals_follow_from_access_and_body_and_are_listed_once() -> None:
    anyone = route("/a", Access.ANYONE).refusals
    assert ProblemCode.NOT_HTTP in anyone
    assert ProblemCode.UNAUTHORIZED not in anyone
    plain = route("/a", errors=(ProblemCode.INVALID, ProblemCode.HISTORY_OFF)).refusals
    assert {ProblemCode.UNAUTHORIZED, ProblemCode.HISTORY_OFF} <= set(plain)
    assert ProblemCode.TOO_LARGE not in plain
    body = route("/a", body=dict, examples={"none": {}}, errors=(ProblemCode.INVALID,)).refusals
    assert {ProblemCode.TOO_LARGE, ProblemCode.MALFORMED_JSON} <= set(body)
    assert len(set(body)) == len(body)


def test_a_route_is_declared_once() -> None:
    one, other = route("/a"), route("/a/{id}", Access.ADMIN)
    assert access_rules([one, other]) == {
        ("GET", "/a"): Access.READ, ("GET", "/a/{id}"): Access.ADMIN,
    }  # fmt: skip
    with pytest.raises(ValueError, match="GET /a is declared twice"):
        access_rules([one, other, route("/a")])


def test_exact_paths_come_first_and_ids_have_any_character() -> None:
    async def ask() -> list[str]:
        app = web.Application()
        app.add_routes(exact_first(served([route("/a/{id}"), route("/a/me")], "context")))
        async with TestClient(TestServer(app)) as client:
            return [
                await (await client.get(path)).text() for path in ("/a/me", "/a/you", "/a/%7Bx%7D")
            ]

    assert asyncio.run(ask()) == ["context None", "context you", "context {x}"]
