"""The page of the HTTP API against the declarations of the routes."""

import pytest

from server.app import ROUTES
from tools.route_tables import HEADINGS, PAGE, replace


def test_the_page_has_each_request_with_what_it_does_and_needs() -> None:
    text = PAGE.read_text()
    assert replace(text) == text, "run `make docs`"


def test_no_request_has_a_tag_without_a_heading() -> None:
    assert {route.tag for route in ROUTES if route.name} == set(HEADINGS)


def test_a_page_without_a_table_below_a_heading_is_refused() -> None:
    with pytest.raises(ValueError, match="below Rooms"):
        replace(PAGE.read_text().replace("## Rooms", "## Halls"))
