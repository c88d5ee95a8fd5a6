"""No test is left out without a word: only `tests/support/skips.py` skips, and in CI it fails."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.skips import need_programs, skip_or_fail

TESTS: Final = Path(__file__).parents[1]
ALLOWED: Final = (TESTS / "support" / "skips.py", Path(__file__))
SKIPPING: Final = {
    *("skip", "skipif", "skipIf", "skipUnless", "skipTest", "SkipTest", "Skipped"),
    *("importorskip", "xfail", "collect_ignore", "collect_ignore_glob"),
}


def _skips(source: str) -> Iterator[int]:
    """Yield the lines that skip a test, excuse it from passing, or import what does."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.alias(name=name):
                if name in SKIPPING:
                    yield node.lineno


def test_no_other_module_skips_a_test() -> None:
    found = [
        f"{path.relative_to(TESTS.parent)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        if path not in ALLOWED
        for line in _skips(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "pytest.skip('x')",
        "@pytest.mark.skipif(True, reason='x')\ndef test_it(): ...",
        "pytestmark = [pytest.mark.skip]",
        "from pytest import importorskip as need",
        "raise unittest.SkipTest",
        "collect_ignore = ['test_slow.py']",
    ],
)
def test_every_way_to_skip_is_found(source: str) -> None:
    assert list(_skips(source))


def test_where_something_is_missing_a_developer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "false")
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        skip_or_fail("no such thing")


def test_where_something_is_missing_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    need_programs("python3", why="this test")
    with pytest.raises(pytest.fail.Exception, match="this test needs a-b and c-d on the PATH"):
        need_programs("a-b", "python3", "c-d", why="this test")
