"""Parsers of event stream entries, in the forms that Redis and redis-py return.

An entry that is not an event (somebody else wrote it) gets an empty kind: readers don't know this
kind, and acknowledge it with the rest.
"""

import logging
from typing import Any, Final

from common.events.event import EVENT_FIELDS, Event, parse_event

log = logging.getLogger("roomcast.events")

# The constructor of a named tuple without its `__new__`, which is a Python function.
_event: Final = tuple.__new__


def read_entries(entries: list[Any]) -> list[Event]:
    """Read entries as Redis sends them."""
    found = []
    for entry_id, fields in entries:
        if fields[::2] == EVENT_FIELDS:
            _, kind, _, channel, _, writer, _, text, _, extra = fields
            try:
                known = kind.decode(), channel.decode(), writer.decode()
                event = _event(Event, (entry_id.decode(), *known, text, extra))
            except UnicodeDecodeError as error:
                event = _no_event(entry_id, error)
        else:
            event = _parse_one(entry_id, dict(zip(fields[::2], fields[1::2], strict=True)))
        found.append(event)
    return found


def parse_entries(entries: list[Any]) -> list[Event]:
    """Read entries as redis-py's methods return them; otherwise as `read_entries`."""
    return [_parse_one(entry_id, fields) for entry_id, fields in entries]


def _parse_one(entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    try:
        return parse_event(entry_id, fields)
    except (KeyError, UnicodeDecodeError) as error:
        return _no_event(entry_id, error)


def _no_event(entry_id: bytes, error: Exception) -> Event:
    log.error(
        "an entry of the event stream is not an event; it is passed over",
        extra={"entry": entry_id.decode(), "reason": repr(error)},
    )
    return Event(entry_id.decode(), "", "", "", b"", b"")
