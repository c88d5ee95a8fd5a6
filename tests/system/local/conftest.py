"""The marker of the tests here."""

from pathlib import Path

import pytest

from tests.support.markers import mark_below


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_below(Path(__file__).parent, items, pytest.mark.unmeasured)
