"""The page about security names tests that there are."""

import re
from pathlib import Path

import pytest

from tests.support.processes.process import ROOT

PAGE = (ROOT / "docs" / "design" / "security.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "`test_" in line]
TESTS = {
    name
    for path in Path(ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}


def test_every_attack_in_the_table_has_a_test() -> None:
    table = PAGE.partition("| attack |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(table) == len(ROWS) > 15


@pytest.mark.parametrize("row", ROWS, ids=[row[2:40] for row in ROWS])
def test_the_tests_that_a_line_names_are_there(row: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", row))
    assert named
    assert named <= TESTS
