"""Entries of the event stream, read one at a time."""

import pytest

from common.events.event import EVENT_FIELDS, Event, EventKind, parse_event

FIELDS = {
    b"k": b"published",
    b"c": b"default/room:\xc3\xa9",
    b"w": b"w1",
    b"p": b"{}",
    b"x": b"more",
}


def test_an_entry_is_an_event() -> None:
    event = parse_event(b"1795233600123-7", FIELDS)
    assert event == Event("1795233600123-7", "published", "default/room:é", "w1", b"{}", b"more")
    assert event.kind == EventKind.PUBLISHED
    assert event.at_ms == 1_795_233_600_123


def test_fields_stand_in_the_order_in_which_scripts_write_them() -> None:
    assert list(FIELDS) == EVENT_FIELDS


def test_a_kind_of_a_later_version_is_handed_on() -> None:
    assert parse_event(b"1-0", FIELDS | {b"k": b"invented"}).kind == "invented"


def test_writer_and_extra_may_be_absent() -> None:
    event = parse_event(b"1-0", {name: FIELDS[name] for name in (b"k", b"c", b"p")})
    assert (event.writer, event.extra) == ("", b"")


@pytest.mark.parametrize("missing", [b"k", b"c", b"p"])
def test_what_lacks_a_field_is_no_event(missing: bytes) -> None:
    with pytest.raises(KeyError):
        parse_event(b"1-0", {name: text for name, text in FIELDS.items() if name != missing})


@pytest.mark.parametrize("name", [b"k", b"c", b"w"])
def test_names_are_unicode_and_texts_any_bytes(name: bytes) -> None:
    assert parse_event(b"1-0", FIELDS | {b"p": b"\xff", b"x": b"\xff"}).text == b"\xff"
    with pytest.raises(UnicodeDecodeError):
        parse_event(b"1-0", FIELDS | {name: b"\xff"})
