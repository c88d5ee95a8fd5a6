"""Ids of notifications, found in the text that sockets get. Pure."""

from typing import Final

from common.events.payloads import decode_identified

_ID: Final = b'"id":"'
_WITHIN: Final = 80
"""Bytes of a text within which the id begins: only the type comes before it."""


def notification_id(text: bytes) -> str:
    """Return the id of the notification in a publication's text.

    All of the JSON is read only if its beginning is not the one that workers write.

    Raises:
        msgspec.MsgspecError: there is none.
    """
    at = text.find(_ID, 0, _WITHIN) + len(_ID)
    if at < len(_ID):
        return decode_identified(text).id
    raw = text[at : text.find(b'"', at)]
    return decode_identified(text).id if b"\\" in raw else raw.decode()
