"""Entries of the event stream, read many at a time, with what others wrote among them."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events.event import EVENT_FIELDS, Event
from common.events.stream_entries import parse_entries, read_entries
from tests.support.examples import examples

GOOD = [b"k", b"published", b"c", b"default/room:1", b"w", b"w1", b"p", b"{}", b"x", b""]
NOTHING = Event("2-0", "", "", "", b"", b"")

texts = st.sampled_from([b"", b"w", b"{}", b"\xc3\xa9", b"\xff"])
orders = st.one_of(
    st.just(EVENT_FIELDS),
    st.just(EVENT_FIELDS[:-1]),
    st.lists(st.sampled_from([*EVENT_FIELDS, b"b"]), max_size=6, unique=True),
)
field_sets = orders.flatmap(lambda names: st.fixed_dictionaries(dict.fromkeys(names, texts)))
entries = st.lists(field_sets, max_size=4).map(
    lambda all_fields: [(b"%d-0" % number, fields) for number, fields in enumerate(all_fields)]
)


@examples(100)
@given(entries)
def test_both_forms_of_an_entry_are_the_same_event(
    found: list[tuple[bytes, dict[bytes, bytes]]],
) -> None:
    flat = [
        (entry_id, [word for pair in fields.items() for word in pair]) for entry_id, fields in found
    ]
    events = read_entries(flat)
    assert events == parse_entries(found)
    assert [event.id.encode() for event in events] == [entry_id for entry_id, _ in found]
    assert all(type(event) is Event for event in events)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"hello", b"world"],
        [b"k", b"published", b"c", b"default/room:1"],
        [word.replace(b"w1", b"\xff") for word in GOOD],
        [word.replace(b"published", b"\xff") for word in GOOD],
    ],
)
def test_what_is_no_event_is_logged_and_passed_on_without_a_kind(
    fields: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    found = read_entries([(b"1-0", GOOD), (b"2-0", fields), (b"3-0", GOOD)])
    assert [event.kind for event in found] == ["published", "", "published"]
    assert found[1] == NOTHING
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert vars(record)["entry"] == "2-0"
