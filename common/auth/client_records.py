"""Records of client applications, as Redis holds them for every process.

PostgreSQL has the clients; the servers copy each into Redis whenever it changes, and every process
follows (`common.auth.client_directory`).
"""

from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec


class Scope(StrEnum):
    """Permission of an API key."""

    NOTIFY = "notify"
    """Send notifications, and manage users and the members of rooms."""
    READ = "read"
    """Read what was sent, and the inboxes of all users."""
    ADMIN = "admin"
    """Manage the client's own keys and secrets; of an operator's client, all clients."""


ALL_SCOPES: Final = frozenset(Scope)
Positive = Annotated[int, msgspec.Meta(ge=1)]


class ClientLimits(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Limits of one client that differ from the settings; None: as the settings say."""

    requests_per_s: Positive | None = None
    notifications_per_day: Positive | None = None
    connections: Positive | None = None
    rooms_per_connection: Positive | None = None
    recipients: Positive | None = None
    message_max_bytes: Positive | None = None
    fan_out_bytes_per_s: Positive | None = None


class KeyRecord(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One API key that is not revoked. `expires_ms` is a Unix time, 0: never."""

    id: str
    digest: bytes
    scopes: frozenset[Scope]
    expires_ms: int = 0


class SecretRecord(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A secret that the client's tokens may be signed with. `expires_ms` as in `KeyRecord`."""

    text: str
    expires_ms: int = 0

    def __repr__(self) -> str:
        # The secret must not get into a log with the rest of the record.
        return "SecretRecord(…)"


class ClientRecord(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One client application.

    `version` grows with every change of any client. `secrets` are for HS256, the one to sign with
    first; `jwks` are public keys (RFC 7517) for RS256 and EdDSA. An operator's admin keys manage
    all clients.
    """

    id: str
    name: str
    version: int
    disabled: bool = False
    operator: bool = False
    keys: tuple[KeyRecord, ...] = ()
    secrets: tuple[SecretRecord, ...] = ()
    jwks: tuple[dict[str, Any], ...] = ()
    limits: ClientLimits = ClientLimits()


encode_record: Final = msgspec.json.Encoder().encode
decode_record: Final = msgspec.json.Decoder(ClientRecord).decode
