"""Ids of Server-Sent Events: the positions of a stream's channels in a bounded token. Pure.

A browser remembers nothing of a stream but the id of its last event, and sends it in a head of
bounded size. So an id holds a short hash of each channel's name instead of the name. Any gateway
can read it, and nothing is stored anywhere.

Form: base64url of version, CRC-32 of the rest, flags, then the positions by epoch.
"""

import base64
import binascii
import zlib
from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import Final

from common.model.publication import Position
from ws_gateway.protocol.messages import EPOCH_MAX_CHARACTERS, OFFSET_MAX

LOST: Final = Position("?", 0)
"""Stands for a position that nobody knows any more: no channel was ever there."""
MAX_CHARACTERS: Final = 6_000
_VERSION: Final = 1
_INCOMPLETE: Final = 1
_HASH_BYTES: Final = 6
_HEAD_BYTES: Final = 6
_POSITION_BYTES: Final = 11
"""Room for a hash and an offset below 2**35."""
_EPOCHS_BYTES: Final = 64
"""Room for the names of a dozen epochs; nearly always there are one or two."""
_EPOCH_HEX: Final = 8


def longest_id(channels: int) -> int:
    """Most characters that an id of a stream with so many channels has."""
    size = _HEAD_BYTES + _EPOCHS_BYTES + channels * _POSITION_BYTES
    return min(MAX_CHARACTERS, -(-size * 4 // 3))


class EventIds:
    """Makes the ids of one stream.

    An id that would be longer than `longest_id` leaves out the channels that don't fit, and says
    so: after a reconnect they are reported as not recovered.

    Args:
        positions: of all channels of the stream.
    """

    __slots__ = ("_epoch_of", "_hashes", "_pieces", "_room")

    def __init__(self, positions: Mapping[str, Position]) -> None:
        self._hashes = {channel: _hash(channel) for channel in positions}
        self._epoch_of: dict[str, str] = {}
        self._pieces: dict[str, dict[str, bytes]] = {}
        self._room = longest_id(len(positions)) * 3 // 4 - _HEAD_BYTES
        for channel, position in positions.items():
            self.move(channel, position)

    def move(self, channel: str, position: Position) -> None:
        """Note where a channel is."""
        before = self._epoch_of.get(channel)
        if before is not None and before != position.epoch:
            pieces = self._pieces[before]
            del pieces[channel]
            if not pieces:
                del self._pieces[before]
        self._epoch_of[channel] = position.epoch
        piece = self._hashes[channel] + _number(position.offset)
        self._pieces.setdefault(position.epoch, {})[channel] = piece

    def id(self) -> bytes:
        """Return the id of an event after which every channel is where it was last noted."""
        flags, left = 0, self._room
        parts: list[bytes] = []
        for epoch, pieces in self._pieces.items():
            name, kept = _epoch(epoch), list(pieces.values())
            size = len(name) + 2 + sum(map(len, kept))
            if size > left:
                flags = _INCOMPLETE
                size = len(name) + 2
                while kept and size + sum(map(len, kept)) > left:
                    kept.pop()
                if not kept:
                    continue
                size += sum(map(len, kept))
            left -= size
            parts += (name, len(kept).to_bytes(2, "big"), *kept)
        rest = bytes((flags,)) + b"".join(parts)
        whole = bytes((_VERSION,)) + zlib.crc32(rest).to_bytes(4, "big") + rest
        return base64.urlsafe_b64encode(whole).rstrip(b"=")


def read_event_id(text: str, channels: Collection[str]) -> dict[str, Position]:
    """Read where a stream was in those of the channels that its id knows of.

    If the id is not one of ours, or had no room for a channel, the channels are at `LOST`. Channels
    that the stream did not have are missing.
    """
    try:
        positions, is_complete = _read(text)
    except (ValueError, IndexError):
        return dict.fromkeys(channels, LOST)
    by_hash: dict[bytes, list[str]] = {}
    for channel in channels:
        by_hash.setdefault(_hash(channel), []).append(channel)
    found = {}
    for name, same in by_hash.items():
        position = positions.get(name)
        if position is None and is_complete:
            continue
        # Of two with one hash nobody can tell which it was.
        at = LOST if position is None or len(same) > 1 else position
        found.update(dict.fromkeys(same, at))
    return found


def _read(text: str) -> tuple[dict[bytes, Position], bool]:
    if len(text) > MAX_CHARACTERS:
        raise ValueError("too long")
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeError):
        raise ValueError("not base64url") from None
    rest = whole[5:]
    if whole[:1] != bytes((_VERSION,)) or zlib.crc32(rest).to_bytes(4, "big") != whole[1:5]:
        raise ValueError("not one of ours")
    positions: dict[bytes, Position] = {}
    at = 1
    while at < len(rest):
        size = rest[at]
        at += 1
        if size == 0:
            epoch, at = rest[at : at + _EPOCH_HEX // 2].hex(), at + _EPOCH_HEX // 2
        else:
            epoch, at = rest[at : at + size].decode("ascii"), at + size
            if size > EPOCH_MAX_CHARACTERS:
                raise ValueError("no epoch of ours")
        count, at = int.from_bytes(rest[at : at + 2], "big"), at + 2
        for _ in range(count):
            name, at = rest[at : at + _HASH_BYTES], at + _HASH_BYTES
            offset = shift = 0
            while True:
                byte = rest[at]
                at += 1
                offset |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            if offset > OFFSET_MAX:
                raise ValueError("no offset of ours")
            positions[name] = Position(epoch, offset)
    return positions, not rest[0] & _INCOMPLETE


def _hash(channel: str) -> bytes:
    return blake2b(channel.encode(errors="surrogatepass"), digest_size=_HASH_BYTES).digest()


def _number(value: int) -> bytes:
    """Return a number with seven bits to a byte, the lowest first (LEB128)."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _epoch(name: str) -> bytes:
    """Return the name of an epoch; the usual eight hexadecimal digits take five bytes."""
    if len(name) == _EPOCH_HEX:
        try:
            raw = bytes.fromhex(name)
        except ValueError:
            raw = b""
        if raw.hex() == name:
            return b"\0" + raw
    # Nobody has seen anything of an epoch without a name.
    name = name or LOST.epoch
    return bytes((len(name),)) + name.encode("ascii")
