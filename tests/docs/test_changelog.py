import re
from collections import Counter

from tests.docs.test_links import PROJECT

HEADINGS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def test_each_release_says_each_thing_once_under_one_heading_of_its_kind() -> None:
    """The file merges by union, which doubles headings and brings back what was moved."""
    text = (PROJECT / "CHANGELOG.md").read_text()
    releases = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert releases[0].startswith("[Unreleased]\n")
    for release in releases:
        name = release.partition("\n")[0]
        headings = re.findall(r"^### (.+)$", release, flags=re.MULTILINE)
        assert headings == [heading for heading in HEADINGS if heading in headings], name
    lines = Counter(line for line in text.splitlines() if line.startswith("- "))
    assert [line for line, count in lines.items() if count > 1] == []
