"""Markers of whole folders, which pytest itself gives to modules and tests only."""

from collections.abc import Iterable
from pathlib import Path

import pytest


def mark_below(folder: Path, items: Iterable[pytest.Item], marker: pytest.MarkDecorator) -> None:
    """Mark the tests below a folder; for `pytest_collection_modifyitems` of its conftest."""
    for item in items:
        if item.path.is_relative_to(folder):
            item.add_marker(marker)
