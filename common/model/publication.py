r"""Publications, as sent on `rc:{s}:pub:<name>` and kept in `rc:{s}:log:<name>`.

    <epoch> <offset> <accepted> <base>\n<text>

The header lets a gateway order publications without parsing JSON: `accepted` is the Unix time in
milliseconds, `base` is `-` or, on the first publication of an epoch, `<old epoch>:<where it
ended>`. `text` is exactly what sockets get. `common/redis/lua/publish/publish.lua` writes it.
"""

from typing import Final, NamedTuple

SIGNAL: Final = b"! "
"""Prefix of a payload that is a signal and not a publication: `! <connection>\\n<text>`.

The text is for all connections subscribed to the channel except that one; it has no offset, and
connections that are offline miss it.
"""
CLOSE_DELETED: Final = b"!deleted"
"""In place of the connection: the user was deleted, and all connections of it are closed."""


class Position(NamedTuple):
    """Place in a channel: the epoch and the offset last published in it (0: none yet)."""

    epoch: str
    offset: int


class Publication(NamedTuple):
    """One publication, as a gateway reads it."""

    epoch: str
    offset: int
    accepted_ms: int
    base: Position | None
    text: bytes

    def follows(self, position: Position) -> bool:
        """Return True if this comes right after `position`, also across an epoch's end."""
        if self.offset != position.offset + 1:
            return False
        return self.epoch == position.epoch or self.base == position

    def is_known_at(self, position: Position) -> bool:
        """Return True if a reader at `position` has this publication already."""
        return self.epoch == position.epoch and self.offset <= position.offset


def parse_publication(payload: bytes) -> Publication:
    """Split a payload into header and text.

    Raises:
        ValueError: the header is not of the form above.
    """
    header, separator, text = payload.partition(b"\n")
    if not separator:
        raise ValueError("publication without a header")
    words = header.decode("ascii").split(" ")
    if len(words) == 5 and ":" in words[4]:
        # Only in a log: the place of a shared content, which the text then lacks.
        words.pop()
    epoch, offset, accepted, base = words
    if base == "-":
        return Publication(epoch, int(offset), int(accepted), None, text)
    base_epoch, _, base_offset = base.rpartition(":")
    return Publication(
        epoch, int(offset), int(accepted), Position(base_epoch, int(base_offset)), text
    )
