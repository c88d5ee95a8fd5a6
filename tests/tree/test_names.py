"""Names: one word for one thing, and none of the standard library's."""

import re
import sys
from pathlib import Path
from typing import Final

import pytest

from common.config.settings import Settings
from deploy.processes import FOLDERS

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = (*FOLDERS, "deploy", "loadtests", "roomcast", "sdk", "tests", "tools")
# *Client* is the application that sends. What connects, listens or reads is a connection.
OTHER_END: Final = re.compile(
    r"\bclients?\b (that |which |who |may |does |doesn't |did |didn't |was |were |is |are |will )*"
    r"(not |already )*"
    r"(read|connect|reconnect|come|came|register|resume|receive|get|got|hear|heard|listen|ping|"
    r"behind|left behind|cut off|told)(s|d|ed|ing)?\b"
    r"|\b(connected|reconnecting|connecting|slow) clients?\b",
    re.IGNORECASE,
)
PAGES: Final = (
    *sorted((ROOT / "ws_gateway").rglob("*.py")),
    *(
        ROOT / "docs" / name
        for name in (
            *("reference/protocol.md", "reference/asyncapi.yaml", "reference/metrics.md"),
            *("design/gateway.md", "design/epochs.md", "design/guarantees.md"),
            *("guide/receive.md", "operations/alerts.md"),
        )
    ),
)
OF_APPLICATIONS: Final = {
    *("client_registration", "client_requests_per_s", "client_notifications_per_day"),
    *("client_max_connections", "client_max_tickets", "client_max_recipients"),
    *("client_message_max_bytes", "client_fan_out_bytes_per_s", "client_receipts_per_s"),
    "lane_client_share",
}
# Given by those who use it: the Redis that every process is a client of.
GIVEN: Final = {"redis_client", "redis_client_file"}


def _modules() -> list[Path]:
    return [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "__pycache__" not in path.parts
    ]


def _names(path: Path) -> set[str]:
    """Name of a module, and of each folder that it is in below the top."""
    parts = path.relative_to(ROOT).parts
    return {*parts[1:-1], path.stem} - {"__init__", "__main__"}


def test_no_module_has_a_name_of_the_standard_library() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in _modules()
        for name in _names(path) & sys.stdlib_module_names
    ]
    assert found == []


def test_settings_say_client_of_the_application_that_sends_only() -> None:
    named = {name for name in Settings.model_fields if "client" in name}
    assert named == OF_APPLICATIONS | GIVEN


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_calls_the_other_end_of_a_socket_a_client(path: Path) -> None:
    text = re.sub(r"\s+", " ", path.read_text())
    assert [match[0] for match in OTHER_END.finditer(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "A client that doesn't read is left behind.",
        "clients who reconnect",
        "what clients get",
        "The client was behind",
    ],
)
def test_such_a_client_is_found(text: str) -> None:
    assert OTHER_END.search(text)
