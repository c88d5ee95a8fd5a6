import pytest

from common.model.problem_codes import ProblemCode
from server.app import ROUTES
from server.openapi.document import openapi_document
from server.web.route import Route

DOCUMENT = openapi_document(ROUTES)
DOCUMENTED = [route for route in ROUTES if route.name]


@pytest.mark.parametrize("route", DOCUMENTED, ids=lambda route: route.name)
def test_a_refusal_names_the_codes_of_its_status(route: Route[object]) -> None:
    operation = DOCUMENT["paths"][route.path][route.method.lower()]
    for code in route.refusals:
        if code.status.value in (answer.status.value for answer in route.answers):
            continue
        refusal = operation["responses"][str(code.status.value)]
        assert f"`{code}`: {code.meaning}" in refusal["description"]
        if code.retry:
            assert "Retry-After" in refusal["headers"]


def test_a_body_is_refused_with_the_codes_that_read_json_has() -> None:
    (notify,) = [route for route in ROUTES if route.path == "/notify"]
    assert {ProblemCode.TOO_LARGE, ProblemCode.INVALID} <= set(notify.refusals)


def test_every_route_has_a_tag_of_the_document() -> None:
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    assert {route.tag for route in DOCUMENTED} == tags


def test_routes_without_a_name_are_not_in_the_document() -> None:
    hidden = {route.path for route in ROUTES if not route.name}
    assert hidden == {"/openapi.json", "/docs", "/docs/{name}"}
    assert not hidden & set(DOCUMENT["paths"])
