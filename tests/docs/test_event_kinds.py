"""The pages on events and on Kafka name every kind of event, and no other."""

import re

import pytest

from common.events.event import EventKind
from tests.docs.test_links import PROJECT

EVENTS = (PROJECT / "docs" / "reference" / "events.md").read_text()
KAFKA = (PROJECT / "docs" / "reference" / "kafka.md").read_text()


@pytest.mark.parametrize("kind", EventKind)
def test_each_kind_is_in_the_table_of_events(kind: EventKind) -> None:
    cells = [line.split("|")[1] for line in EVENTS.splitlines() if line.startswith("| `")]
    assert any(f"`{kind}`" in cell for cell in cells)


def test_the_page_on_kafka_has_the_types_of_all_cloud_events() -> None:
    named = set(re.findall(r"`(roomcast\.[a-z]+(?:\.[a-z-]+)?)`", KAFKA))
    types = {kind.cloud_type for kind in EventKind if kind.cloud_type}
    assert types <= named
