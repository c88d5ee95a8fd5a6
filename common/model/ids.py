"""Ids of users and rooms, as every entry point accepts them, and of notifications."""

import re
from typing import Final

import uuid_utils

ID_MAX_CHARACTERS: Final = 128

ID_PATTERN: Final = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]{1,128}$"
"""Printable: no control characters, no line or paragraph separators. JSON Schema's form."""

_printable: Final = re.compile(ID_PATTERN.removeprefix("^").removesuffix("$"))


_UUID_CHARACTERS: Final = 36


def identifier(value: object) -> str:
    """Return an id as a string: 1 and "1" are the same.

    Raises:
        ValueError: it is neither an integer nor 1 to 128 printable characters.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and _printable.fullmatch(value) and not _has_surrogate(value):
        return value
    raise ValueError("must be an integer or 1 to 128 printable characters")


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def made_at_ms(notification: str) -> int | None:
    """Return the Unix time (ms) in a UUIDv7 (RFC 9562, section 5.7); None for any other id."""
    if len(notification) != _UUID_CHARACTERS or notification[14] != "7":
        return None
    try:
        return int(notification[:8] + notification[9:13], 16)
    except ValueError:
        return None


def new_id() -> str:
    """Make a UUIDv7 (RFC 9562)."""
    return str(uuid_utils.uuid7())
