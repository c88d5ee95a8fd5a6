"""The parts of `make test`: runs of pytest that share the tests by their markers."""

import itertools
import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_every_test_but_those_of_compose_is_in_one_part() -> None:
    recipe = (PROJECT / "Makefile").read_text().partition("ifeq ($(strip $(ARGS)),)")[2]
    parts = re.findall(r'-m "(.*?)"', recipe.partition("\nelse\n")[0])
    assert len(parts) == 2
    names = sorted(set(re.findall(r"\w+", " ".join(parts))) - {"and", "or", "not"})
    assert "compose" in names
    for given in itertools.product([False, True], repeat=len(names)):
        markers = dict(zip(names, given, strict=True))
        chosen = [part for part in parts if eval(part, {}, markers)]
        assert len(chosen) == (0 if markers["compose"] else 1), markers
