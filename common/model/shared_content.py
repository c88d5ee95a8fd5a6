"""Shared content: kept in Redis once per notification instead of once per target.

A content is `message` and `data` as they stand in the text of a publication. A notification for
many channels would keep it with each of them, in the log and in the event stream. A large content
is kept apart instead, under its digest; the texts there have `null` in its place and say where it
goes. Sockets never see that: publications are whole, and readers put contents back.

A content is kept for as long as an event has it, and for `LOG_TTL_S` after the last one.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

SHARED_MIN_BYTES: Final = 2_048
"""Smaller contents are kept with each target: sharing would cost more than it saves."""
PLACEHOLDER: Final = b'null,"data":null'
"""Placeholder for the content in a text."""
_BEFORE: Final = b'"message":'
REFERENCE_FIELD: Final = b"b"
"""Field of an event's entry, after the others: digest and place of its content."""


def content_of(message: bytes, data: bytes) -> bytes:
    """Make the content of a notification from two JSON texts."""
    return b'%b,"data":%b' % (message, data)


def digest_of(content: bytes) -> str:
    """Return the digest that names a content, the same for the same bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def place_in(text: bytes) -> int:
    """Find the placeholder in the beginning of a frame."""
    # No text within the frame can contain this: a quote in one is escaped.
    return text.index(_BEFORE) + len(_BEFORE)


def with_content(text: bytes, place: int, content: bytes) -> bytes:
    """Put a content back into a text."""
    return text[:place] + content + text[place + len(PLACEHOLDER) :]


def references(entries: Iterable[Any]) -> set[bytes]:
    """Collect the digests of the contents that raw entries of the event stream refer to."""
    return {
        fields[-1].partition(b":")[0]
        for _, fields in entries
        if len(fields) > 10 and fields[-2] == REFERENCE_FIELD
    }


def put_back(entries: list[Any], contents: Mapping[bytes, bytes | None]) -> list[Any]:
    """Put the contents of entries back into their texts, and remove the references.

    An entry whose content is gone (somebody deleted it) keeps `null` in its place.
    """
    return [
        (entry_id, _whole(fields, contents))
        if len(fields) > 10 and fields[-2] == REFERENCE_FIELD
        else (entry_id, fields)
        for entry_id, fields in entries
    ]


def _whole(fields: list[bytes], contents: Mapping[bytes, bytes | None]) -> list[bytes]:
    digest, _, place = fields[-1].partition(b":")
    content = contents.get(digest)
    found = fields[:-2]
    if content is not None and place.isdigit():
        text = found.index(b"p") + 1
        found[text] = with_content(found[text], int(place), content)
    return found
