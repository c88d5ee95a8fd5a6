"""The page of problem codes, and that there is one list of them."""

import re
import subprocess
from pathlib import Path

from common.model.problem_codes import ProblemCode
from deploy.processes import FOLDERS
from tools.problem_table import PAGE, replace

ROOT = Path(__file__).parents[2]
LIST = "common/model/problem_codes.py"


def _sources() -> dict[str, str]:
    files = subprocess.run(
        ["git", "ls-files", *(f"{folder}/*.py" for folder in FOLDERS)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return {file: (ROOT / file).read_text() for file in files if file != LIST}


def test_the_page_lists_every_code_as_it_is() -> None:
    text = PAGE.read_text()
    assert replace(text) == text, "run `make docs`"


def test_every_code_of_the_list_is_used() -> None:
    used = {
        name for text in _sources().values() for name in re.findall(r"ProblemCode\.(\w+)", text)
    }
    assert {code.name for code in ProblemCode} == used


def test_no_code_is_spelled_out_anywhere_else() -> None:
    # A plain word may mean something else; what has a hyphen is a code.
    codes = "|".join(code for code in ProblemCode if "-" in code)
    for file, text in _sources().items():
        if file != "kafka_bridge/ingest/job_queue.py":
            # Those are verdicts of the script that accepts.
            assert re.findall(rf'(?<!b)"({codes})"', text) == [], file
