"""Generator of the table in docs/reference/settings.md, from the settings class.

`python -m tools.settings_table` writes it between its two markers; a test checks that it is there
and up to date.
"""

import argparse
import re
from enum import Enum
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from common.config.settings import Settings

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "reference" / "settings.md"
BEGIN: Final = "<!-- settings:begin (made by `make docs`) -->"
END: Final = "<!-- settings:end -->"

_MARKED: Final = re.compile(r"<!-- settings:begin[^>]*-->.*?<!-- settings:end -->", re.DOTALL)


def render() -> str:
    """Render the table, markers included."""
    lines = [BEGIN, "| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name.upper()}` | {_default(field)} | {meaning} |")
    return "\n".join([*lines, END])


def replace(text: str) -> str:
    """Put the table between the markers of a text.

    Raises:
        ValueError: the text doesn't have them exactly once.
    """
    replaced, count = _MARKED.subn(lambda _: render(), text)
    if count != 1:
        raise ValueError(f"expected one pair of settings:begin and settings:end, found {count}")
    return replaced


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr):
        # A default in the source is not a secret.
        value = value.get_secret_value()
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    return f"`{value}`" if value is not None and value != "" else ""


def main() -> None:
    """Write the table into its page."""
    PAGE.write_text(replace(PAGE.read_text()))


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tools.settings_table", description=__doc__).parse_args()
    main()
