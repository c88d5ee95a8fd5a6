import tomllib
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

PROJECT = Path(__file__).parents[2]


def test_processes_import_common_and_never_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS


def test_the_rules_know_every_process() -> None:
    rules = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]
    independent = {
        module
        for contract in rules["contracts"]
        if contract["type"] == "independence"
        for module in contract["modules"]
    }
    runs = {path.parent.name for path in PROJECT.glob("*/__main__.py")}
    assert runs - {"loadtests"} <= independent
