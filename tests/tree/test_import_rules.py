import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_processes_import_common_and_never_one_another() -> None:
    # In a process of its own: the linter's set-up of logging disables every logger there is.
    program = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([program, "--no-cache"], cwd=PROJECT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


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
