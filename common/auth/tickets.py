"""Tickets: single-use stand-ins for a user token, where a browser can send no header.

`EventSource` and `WebSocket` take nothing but a URL, and URLs are logged. A ticket is `rt_` and 256
random bits, good once and for some seconds. Redis has it under a hash, and what it stands for is
encrypted with another hash of it: neither is of use to whoever reads Redis, its log of commands or
a backup. What it stands for is the token itself, which is checked again when the ticket is shown,
so a ticket is never good for more, or for longer, than the token. Pure.
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
# Of a key that encrypts once, any nonce will do.
_NONCE: Final = bytes(12)
TICKET_SCOPES: Final = frozenset({Scope.NOTIFY, Scope.READ})
"""Scopes that an API key needs to give out tickets, and to have when one is shown."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a ticket stands for: a user token, and the id of the API key that asked, if one did."""

    token: str = field(repr=False)
    key: str = ""


def new_ticket() -> str:
    """Make a ticket that nobody else has."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def is_ticket(text: str) -> bool:
    """Whether a text can be a ticket."""
    return _PATTERN.fullmatch(text) is not None


def ticket_name(ticket: str) -> str:
    """Name that Redis has a ticket under."""
    return _hash("name", ticket).hex()


def seal(ticket: str, grant: Grant) -> bytes:
    """Encrypt what a ticket stands for."""
    text = json.dumps([grant.token, grant.key]).encode()
    return AESGCM(_hash("key", ticket)).encrypt(_NONCE, text, None)


def unseal(ticket: str, sealed: bytes) -> Grant:
    """Decrypt what a ticket stands for.

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
