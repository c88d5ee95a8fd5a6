"""Fixtures that start real parts (see tests/support/processes/stack.py), and their logs when a test
fails."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes.stack import Stack, stacks

MakeStack = Callable[..., Stack]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Shared by all tests that break nothing: 1 Valkey, 1 server, 2 workers, 2 gateways.

    Use users and rooms of your own (`uuid`), and don't count what others may have sent.
    """
    with Stack(tmp_path_factory.mktemp("stack"), workers=2, gateways=2) as shared:
        yield shared


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[MakeStack]:
    """Start stacks of a test's own: `make_stack(workers=3, LEASE_S="1")`; they end with it."""
    with ExitStack() as opened:

        def make(**arguments: Any) -> Stack:
            folder = tmp_path / f"stack-{len(list(tmp_path.iterdir()))}"
            return opened.enter_context(Stack(folder, **arguments))

        yield make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed:
        for a_stack in stacks:
            for name, log in a_stack.logs():
                report.sections.append((f"log of {name}", log))
    return report
