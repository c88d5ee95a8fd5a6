"""API keys: made, read and compared. Pure.

A key is `rk_<id>_<secret><checksum>`: an id that is no secret, 256 random bits, and a CRC-32 of
all before it, each in base 62. With the prefix and the checksum, secret scanners can recognize a
key in code and logs without asking a server, as with GitHub's tokens
(https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/).
"""

import hashlib
import hmac
import secrets
import string
import zlib
from typing import Final, NamedTuple

PREFIX: Final = "rk_"
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BASE: Final = len(_DIGITS)
_ID_CHARACTERS: Final = 12
_SECRET_BITS: Final = 256
_SECRET_CHARACTERS: Final = 43
_CHECKSUM_CHARACTERS: Final = 6
_ID_END: Final = len(PREFIX) + _ID_CHARACTERS
KEY_ID: Final = slice(len(PREFIX), _ID_END)
"""Place of the id in a key."""
LENGTH: Final = _ID_END + 1 + _SECRET_CHARACTERS + _CHECKSUM_CHARACTERS


class NewKey(NamedTuple):
    """A new key: its id, the text shown once to its owner, and the digest that is stored."""

    id: str
    text: str
    digest: bytes


def _base62(number: int, characters: int) -> str:
    found = []
    for _ in range(characters):
        number, digit = divmod(number, _BASE)
        found.append(_DIGITS[digit])
    return "".join(reversed(found))


def random_name(characters: int) -> str:
    """Make a random name in base 62."""
    return _base62(secrets.randbelow(_BASE**characters), characters)


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECKSUM_CHARACTERS)


def new_key() -> NewKey:
    """Make a key."""
    an_id = random_name(_ID_CHARACTERS)
    secret = _base62(secrets.randbits(_SECRET_BITS), _SECRET_CHARACTERS)
    text = f"{PREFIX}{an_id}_{secret}"
    text += _checksum(text)
    return NewKey(an_id, text, digest(text))


def key_id(text: str) -> str | None:
    """Return the id of a key, or None if the text can't be one, as with most typing errors."""
    if len(text) != LENGTH or not text.isascii() or not text.startswith(PREFIX):
        return None
    if text[-_CHECKSUM_CHARACTERS:] != _checksum(text[:-_CHECKSUM_CHARACTERS]):
        return None
    return text[KEY_ID]


def digest(text: str) -> bytes:
    """Return the digest that is stored of a key: SHA-256, 32 bytes.

    docs/decisions/0034-api-key-hash.md says why the hash need not be slow.

    Args:
        text: the whole key.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def is_key(text: str, stored: bytes) -> bool:
    """Compare a key with a stored digest, in constant time."""
    return hmac.compare_digest(digest(text), stored)
