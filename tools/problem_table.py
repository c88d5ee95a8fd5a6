"""Generator of the table in `docs/reference/problems.md`, from the list of problem codes.

`python -m tools.problem_table` writes it between its two markers; a test checks that it is there
and up to date.
"""

import argparse
import re
from pathlib import Path
from typing import Final

from common.model.problem_codes import ProblemCode

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "reference" / "problems.md"
BEGIN: Final = "<!-- problems:begin (made by `make docs`) -->"
END: Final = "<!-- problems:end -->"

_MARKED: Final = re.compile(r"<!-- problems:begin[^>]*-->.*?<!-- problems:end -->", re.DOTALL)


def render() -> str:
    """Render the table, markers included."""
    lines = [BEGIN, "| code | status | meaning | again? |", "| --- | --- | --- | --- |"]
    for code in ProblemCode:
        again = "yes" if code.retry else ""
        lines.append(f"| `{code}` | {code.status.value} | {code.meaning} | {again} |")
    return "\n".join([*lines, END])


def replace(text: str) -> str:
    """Put the table between the markers of a text.

    Raises:
        ValueError: the text doesn't have them exactly once.
    """
    replaced, count = _MARKED.subn(lambda _: render(), text)
    if count != 1:
        raise ValueError(f"expected one pair of problems:begin and problems:end, found {count}")
    return replaced


def main() -> None:
    """Write the table into the page."""
    PAGE.write_text(replace(PAGE.read_text()))


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tools.problem_table", description=__doc__).parse_args()
    main()
