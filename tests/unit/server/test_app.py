import inspect
import re
from typing import Any

import pytest

from server.app import ROUTES
from server.web.route import Route

BODIES = [route for route in ROUTES if route.body is not None and route.path != "/notify"]


@pytest.mark.parametrize("route", BODIES, ids=lambda route: route.name)
def test_a_handler_reads_the_body_that_its_route_declares(route: Route[Any]) -> None:
    read = re.findall(r"read_json\(request, (\w+)\)", inspect.getsource(route.handler))
    assert read == [route.body.__name__]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_handler_of_a_route_without_a_body_reads_none(route: Route[Any]) -> None:
    if route.body is None:
        assert "read_json" not in inspect.getsource(route.handler)


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.name], ids=lambda route: route.name
)
def test_a_route_has_an_answer_for_each_status_and_a_model_unless_it_has_no_body(
    route: Route[Any],
) -> None:
    statuses = {answer.status for answer in route.answers}
    assert len(statuses) == len(route.answers)
    assert statuses
    # An answer without a body has nothing to describe.
    assert all((answer.status == 204) == (answer.model is None) for answer in route.answers)
