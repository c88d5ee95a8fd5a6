"""The stranger's tour: every file that it names is there, and has every name that it mentions."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.processes import PROCESSES
from tests.docs.test_pages import ROOT, page

FILE = re.compile(r"^`([\w/]+(?:\.lib)?\.(?:py|lua))`: ", re.MULTILINE)
NAME = re.compile(r"`([A-Za-z_]\w*)`")


def stops() -> Iterator[tuple[str, str]]:
    """Each file of the tour with what is said of it: up to the next file or heading."""
    parts = FILE.split(page("docs/design/tour.md"))
    for path, text in zip(parts[1::2], parts[2::2], strict=True):
        yield path, text.partition("\n## ")[0]


STOPS = list(stops())


@pytest.mark.parametrize(("path", "text"), STOPS, ids=[path for path, _ in STOPS])
def test_a_file_has_every_name_that_the_tour_mentions_there(path: str, text: str) -> None:
    source = (ROOT / path).read_text()
    for name in NAME.findall(text):
        assert re.search(rf"\b{name}\b", source), f"{path} has no {name}"


def test_every_name_of_the_tour_belongs_to_a_file() -> None:
    told = "".join(text for _, text in STOPS)
    names = NAME.findall(page("docs/design/tour.md"))
    assert sorted(names) == sorted(NAME.findall(told))


def test_the_tour_goes_through_every_process_in_order() -> None:
    folders = [Path(path).parts[0] for path, _ in STOPS]
    processes = [process.module for process in PROCESSES]
    assert list(dict.fromkeys(folder for folder in folders if folder != "common")) == processes
