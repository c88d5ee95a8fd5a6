"""The page of the HTTP API against the OpenAPI document that the server gives out."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from server.openapi.document import openapi_document
from tests.docs.test_pages import page, rows

TITLES = {
    "notifications": "Notifications",
    "inbox": "Inbox",
    "users": "Users",
    "rooms": "Rooms",
    "clients": "Clients",
    "operations": "Operations",
}
"""Heading of each tag."""


def needs(operation: dict[str, Any]) -> str:
    """Say which credentials a request needs, as the page does."""
    ways = {name for way in operation["security"] for name in way}
    if not ways:
        return "nothing"
    found = re.search(
        r"An API key needs the scope (.+?)(, and an operator's client)?\.$",
        operation["description"],
    )
    assert found
    scopes, is_operators = found.groups()
    key = f"a key with {scopes.replace(' and ', ', ')}"
    return (
        f"an operator's {key[2:]}"
        if is_operators
        else key + (", or the user's token" if "userToken" in ways else "")
    )


def described(tag: str) -> Iterator[list[str]]:
    for path, operations in openapi_document()["paths"].items():
        for method, operation in operations.items():
            if operation["tags"] == [tag]:
                yield [f"`{method.upper()} {path}`", operation["summary"], needs(operation)]


@pytest.mark.parametrize("tag", TITLES)
def test_the_page_has_each_request_with_what_it_does_and_needs(tag: str) -> None:
    section = page("docs/reference/http-api.md").partition(f"\n## {TITLES[tag]}\n")[2]
    listed = list(rows(section.partition("\n## ")[0], "request", "does", "needs"))
    expected = list(described(tag))
    assert listed == expected, "\n".join(f"| {' | '.join(row)} |" for row in expected)


def test_no_request_has_a_tag_without_a_heading() -> None:
    tags = {
        tag
        for operations in openapi_document()["paths"].values()
        for operation in operations.values()
        for tag in operation["tags"]
    }
    assert tags == set(TITLES)
