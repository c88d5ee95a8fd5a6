"""Generator of the tables of `docs/reference/http-api.md`, from the declarations of the routes.

`python -m tools.route_tables` writes one below each heading; a test checks that they are up to
date.
"""

import argparse
import re
from pathlib import Path
from typing import Any, Final

from server.access.route_access import SCOPES, Access
from server.app import ROUTES
from server.web.route import Route

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "reference" / "http-api.md"
HEADINGS: Final = {
    "notifications": "Notifications",
    "inbox": "Inbox",
    "users": "Users",
    "rooms": "Rooms",
    "clients": "Clients",
    "operations": "Operations",
}
"""Heading of each tag."""
_TABLE: Final = re.compile(r"(?:^\|.*(?:\n(?=\|)|$))+", re.MULTILINE)


def render(tag: str) -> str:
    """Render the table of the routes with a tag."""
    lines = ["| request | does | needs |", "| --- | --- | --- |"]
    for route in ROUTES:
        if route.name and route.tag == tag:
            request = f"`{route.method} {route.path}`"
            lines.append(f"| {request} | {route.summary} | {needs(route)} |")
    return "\n".join(lines)


def needs(route: Route[Any]) -> str:
    """Name the credentials that a route needs."""
    if route.access is Access.ANYONE:
        return "nothing"
    key = f"key with {', '.join(f'`{scope}`' for scope in sorted(SCOPES[route.access]))}"
    if route.access in (Access.OPERATOR, Access.REGISTRATION):
        return f"an operator's {key}"
    user = route.access in (Access.INBOX, Access.TICKET)
    return f"a {key}" + (", or the user's token" if user else "")


def replace(text: str) -> str:
    """Put the tables below the headings of a text.

    Raises:
        ValueError: a heading has no table.
    """
    for tag, heading in HEADINGS.items():
        head, title, rest = text.partition(f"\n## {heading}\n")
        found = _TABLE.search(rest)
        if found is None or "\n## " in rest[: found.start()]:
            raise ValueError(f"there is no table below {heading}")
        text = head + title + rest[: found.start()] + render(tag) + rest[found.end() :]
    return text


def main() -> None:
    """Write the tables into the page."""
    PAGE.write_text(replace(PAGE.read_text()))


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tools.route_tables", description=__doc__).parse_args()
    main()
