"""The site of the documentation: it builds with every page, and fails for a broken link."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.test_pages import ROOT

CONFIG = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "zensical.toml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    return folder


@pytest.fixture(scope="module")
def site(copy: Path) -> Path:
    built = build(copy)
    assert built.returncode == 0, built.stdout + built.stderr
    return copy / str(CONFIG["site_dir"])


def pages() -> list[Path]:
    return [path.relative_to(ROOT / "docs") for path in sorted((ROOT / "docs").rglob("*.md"))]


def test_every_page_is_on_the_site_and_found_by_search(site: Path) -> None:
    found = {
        item["location"].partition("#")[0]
        for item in json.loads((site / "search.json").read_text())["items"]
    }
    for page in pages():
        assert (site / page.with_suffix(".html")).exists()
        assert str(page.with_suffix(".html")) in found


def test_the_site_loads_nothing_from_anywhere_else(site: Path) -> None:
    loading = re.compile(r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+href=\"?https?:")
    for path in site.rglob("*.html"):
        assert not loading.search(path.read_text()), path


def test_a_link_that_leads_nowhere_stops_the_build(site: Path, copy: Path) -> None:
    page = copy / "docs" / "index.md"
    text = page.read_text()
    page.write_text(f"{text}\n[a page](nowhere.md) [a heading](glossary.md#nowhere)\n")
    built = build(copy)
    page.write_text(text)
    assert built.returncode != 0
    assert "page does not exist" in built.stderr + built.stdout
    assert "anchor does not exist" in built.stderr + built.stdout
