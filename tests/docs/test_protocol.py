import re
from pathlib import Path

import pytest

from common.config.settings import Settings
from deploy.processes import FOLDERS
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.messages import ERROR_CODES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "protocol.md").read_text()
IMAGES = ("compose.yaml", "deploy/docker/Dockerfile", "deploy/haproxy/Dockerfile")
OF_IMAGES = {
    name for file in IMAGES for name in re.findall(r"\$\{([A-Z_]+)", (ROOT / file).read_text())
}
OF_KAFKA = {"INVALID_RECORD", "INVALID_TIMESTAMP"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _table(section: str) -> dict[str, list[str]]:
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return {row[0].strip("`"): row[1:] for row in rows[2:]}


def test_every_error_code_is_explained() -> None:
    assert set(_table(_section("Errors"))) == {str(code) for code in ERROR_CODES}


def test_every_close_code_is_explained() -> None:
    assert set(_table(_section("Close codes"))) == {str(int(code)) for code in CloseCode}


@pytest.mark.parametrize("code", CloseCode)
def test_the_advice_for_a_close_code_says_whether_to_come_back(code: CloseCode) -> None:
    advice = _table(_section("Close codes"))[str(int(code))][-1]
    assert advice.startswith("come back") is code.come_back


@pytest.mark.parametrize("code", [code for code in CloseCode if code >= 4000])
def test_the_range_of_a_close_code_says_the_same(code: CloseCode) -> None:
    assert code.come_back is (code < 4500)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_a_page_names_is_one(page: Path) -> None:
    names = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", page.read_text()))
    names -= _constants() | OF_IMAGES | OF_KAFKA
    assert names <= {name.upper() for name in Settings.model_fields}


def _constants() -> set[str]:
    sources = (path.read_text() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    pattern = re.compile(r"^([A-Z]+_[A-Z_]+)\b", re.MULTILINE)
    return {name for text in sources for name in pattern.findall(text)}
