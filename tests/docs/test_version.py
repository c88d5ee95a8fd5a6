"""The version stands in `common/config/version.py`, and whatever else names it agrees."""

import re
import tomllib

import yaml

from common.config.version import VERSION
from tests.docs.test_links import PROJECT


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]
    asyncapi = yaml.safe_load((PROJECT / "docs" / "reference" / "asyncapi.yaml").read_text())
    assert asyncapi["info"]["version"] == VERSION
    assert (
        f"\nARG VERSION={VERSION}\n" in (PROJECT / "deploy" / "docker" / "Dockerfile").read_text()
    )


def test_the_changelog_has_a_section_for_this_version_or_is_on_the_way_to_it() -> None:
    sections = re.findall(r"^## (.+)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d", s) for s in sections[1:]]
    assert all(released), sections
    versions = [tuple(map(int, match.groups())) for match in released if match]
    assert versions == sorted(versions, reverse=True)
    current = tuple(map(int, VERSION.split(".")))
    assert current == versions[0]
