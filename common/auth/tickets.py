"""Tickets: single-use stand-ins for a user token, for requests where browsers can't set headers.

`EventSource` and `WebSocket` take nothing but a URL, and URLs are logged. A ticket is `rt_` and 256
random bits, good once and for some seconds. Redis stores its grant under one hash of it, encrypted
with another: neither helps anybody who reads Redis, its log of commands or a backup. The grant is
the token itself, which is checked again when the ticket is used, so a ticket is never good for
more, or for longer, than the token. Pure.
"""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.auth.client_records import Scope

PREFIX: Final = "rt_"
_BYTES: Final = 32
_PATTERN: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}", re.ASCII)
# Each key encrypts only once, so any nonce will do.
_NONCE: Final = bytes(12)
TICKET_SCOPES: Final = frozenset({Scope.NOTIFY, Scope.READ})
"""Scopes that an API key needs to issue tickets, and must still have when one is used."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Contents of a ticket: a user token, and the id of the API key that issued it, if any."""

    token: str = field(repr=False)
    key: str = ""


def new_ticket() -> str:
    """Make a new random ticket."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def is_ticket(text: str) -> bool:
    """Return True if a text can be a ticket."""
    return _PATTERN.fullmatch(text) is not None


def ticket_name(ticket: str) -> str:
    """Return the name under which Redis stores a ticket."""
    return _hash("name", ticket).hex()


def seal(ticket: str, grant: Grant) -> bytes:
    """Encrypt the grant of a ticket."""
    text = json.dumps([grant.token, grant.key]).encode()
    return AESGCM(_hash("key", ticket)).encrypt(_NONCE, text, None)


def unseal(ticket: str, sealed: bytes) -> Grant:
    """Decrypt the grant of a ticket.

    Raises:
        ValueError: it is not what `seal` made for this ticket.
    """
    try:
        token, key = json.loads(AESGCM(_hash("key", ticket)).decrypt(_NONCE, sealed, None))
    except (InvalidTag, ValueError, TypeError):
        raise ValueError("not sealed for this ticket") from None
    return Grant(token, key)


def _hash(purpose: str, ticket: str) -> bytes:
    return hashlib.sha256(f"roomcast ticket {purpose}\n{ticket}".encode()).digest()
