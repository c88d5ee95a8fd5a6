"""Positions in Kafka, as the bridge wrote them."""

import json
from typing import Any

import msgspec
import pytest

from history.queries.kafka_positions import decode_mirror_entries

GOOD = ["default/room:1", "e", 1, 0, 17]


def test_a_list_is_read_as_it_was_written() -> None:
    entries = [GOOD, ["c/broadcast", "", 2**63 - 1, 2**31 - 1, 2**63 - 1], ["", "", 0, 0, 0]]
    text = json.dumps(entries)
    for form in (text, text.encode(), msgspec.Raw(text.encode())):
        assert decode_mirror_entries(form) == [tuple(entry) for entry in entries]
    assert decode_mirror_entries("[]") == []


@pytest.mark.parametrize(
    "wrong",
    [
        {}, [GOOD[:-1]], [[*GOOD, 0]], [[1, *GOOD[1:]]], [[*GOOD[:2], -1, 0, 0]],
        [[*GOOD[:2], 2**63, 0, 0]], [[*GOOD[:3], 2**31, 0]], [[*GOOD[:4], 1.5]],
        [[*GOOD[:4], None]], [GOOD, "x"],
    ],
)  # fmt: skip
def test_what_no_column_or_reader_could_hold_is_refused(wrong: Any) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_mirror_entries(json.dumps(wrong))
