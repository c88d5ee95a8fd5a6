"""Ids of notifications, found in the text that clients get. Pure."""

from typing import Final

import msgspec

_ID: Final = b'"id":"'
_WITHIN: Final = 80
"""Bytes of a text within which the id begins: only the type comes before it."""


class _Identified(msgspec.Struct):
    id: str


_decode: Final = msgspec.json.Decoder(_Identified).decode


def notification_id(text: bytes) -> str:
    """Return the id of the notification in a publication's text.

    All of the JSON is read only if its beginning is not the one that workers write.

    Raises:
        msgspec.MsgspecError: there is none.
    """
    at = text.find(_ID, 0, _WITHIN) + len(_ID)
    if at < len(_ID):
        return _decode(text).id
    raw = text[at : text.find(b'"', at)]
    return _decode(text).id if b"\\" in raw else raw.decode()
