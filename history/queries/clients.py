"""Client applications in PostgreSQL: the one place where they are changed.

All changes take the same lock, so versions are committed in order: a reader that has seen one
version has seen all before it. The audit entry is written in the same transaction.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from common.auth.api_keys import NewKey, new_key, random_name
from common.auth.client_records import ClientLimits, ClientRecord, KeyRecord, Scope, SecretRecord
from common.model.timestamps import unix_ms

_LOCK: Final = 0x636C69656E7473  # "clients"
_ID_CHARACTERS: Final = 16
_SECRET_CHARACTERS: Final = 43
_encode: Final = msgspec.json.Encoder().encode


class Actor(NamedTuple):
    """Owner and key behind a change; both empty for the command line."""

    client: str = ""
    key: str = ""


class Client(NamedTuple):
    """One client as reported."""

    id: str
    name: str
    email: str
    operator: bool
    disabled: bool
    limits: dict[str, int]
    created: datetime


class Key(NamedTuple):
    """One API key as reported."""

    id: str
    name: str
    scopes: list[str]
    created: datetime
    expires: datetime | None
    revoked: datetime | None


class AuditEvent(NamedTuple):
    """Change to a client, and the key that made it."""

    number: int
    at: datetime
    actor: Actor
    action: str
    subject: str
    details: dict[str, Any]


class ClientEdit:
    """A change of one client that is under way.

    Args:
        connection: of asyncpg, in a transaction that holds the lock.
        actor: who does it.
        client: id of the client.
    """

    def __init__(self, connection: Any, actor: Actor, client: str) -> None:
        self._connection = connection
        self._actor = actor
        self._client = client
        self.events: list[AuditEvent] = []
        """Audit events of the change."""

    async def note(self, action: str, **details: Any) -> None:
        """Note what is done; no secret may be among the details."""
        number, at = await self._connection.fetchrow(
            "INSERT INTO audit (client, key, action, subject, details)"
            " VALUES ($1, $2, $3, $4, $5::jsonb) RETURNING number, at",
            *self._actor,
            action,
            self._client,
            _encode(details).decode(),
        )
        self.events.append(AuditEvent(number, at, self._actor, action, self._client, details))

    async def make(self, name: str, email: str, *, operator: bool) -> None:
        """Make the client, with a secret for its tokens."""
        await self._connection.execute(
            "INSERT INTO clients (id, name, email, operator) VALUES ($1, $2, $3, $4)",
            self._client,
            name,
            email,
            operator,
        )
        await self.add_secret(None)
        await self.note("client-created", name=name, email=email, operator=operator)

    async def add_key(self, name: str, scopes: Sequence[Scope], expires: datetime | None) -> NewKey:
        """Make an API key; its text is not kept."""
        key = new_key()
        await self._connection.execute(
            "INSERT INTO api_keys (id, client, name, digest, scopes, expires_at)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            key.id,
            self._client,
            name,
            key.digest,
            sorted(scopes),
            expires,
        )
        await self.note("key-added", key=key.id, name=name, scopes=sorted(scopes))
        return key

    async def find_key(self, key: str) -> Key | None:
        """A key of the client that is not revoked and has not expired."""
        row = await self._connection.fetchrow(
            f"SELECT {_KEY_COLUMNS} FROM api_keys"  # noqa: S608 - a constant
            " WHERE client = $1 AND id = $2 AND revoked_at IS NULL"
            " AND (expires_at IS NULL OR expires_at > now())",
            self._client,
            key,
        )
        return None if row is None else Key(*row)

    async def count_keys(self) -> int:
        """Count the client's keys that are neither revoked nor have expired."""
        found: int = await self._connection.fetchval(
            "SELECT count(*) FROM api_keys WHERE client = $1 AND revoked_at IS NULL"
            " AND (expires_at IS NULL OR expires_at > now())",
            self._client,
        )
        return found

    async def count_secrets(self) -> int:
        """Count the secrets that the client's tokens may be signed with."""
        found: int = await self._connection.fetchval(
            "SELECT count(*) FROM token_secrets WHERE client = $1"
            " AND (expires_at IS NULL OR expires_at > now())",
            self._client,
        )
        return found

    async def end_key(self, key: str, after_s: float) -> None:
        """Let a key end after a while, if it doesn't earlier; 0 seconds: at once."""
        await self._connection.execute(
            "UPDATE api_keys SET"
            " expires_at = least(expires_at, now() + make_interval(secs => $3)),"
            " revoked_at = CASE WHEN $3 = 0 THEN now() END"
            " WHERE client = $1 AND id = $2",
            self._client,
            key,
            float(after_s),
        )
        action = "key-expires" if after_s else "key-revoked"
        await self.note(action, key=key, afterS=after_s)

    async def add_secret(self, others_end_after_s: float | None) -> str:
        """Make the secret that the client's tokens are signed with from now on.

        Args:
            others_end_after_s: how long the others are good still; None: there are none.
        """
        secret = random_name(_SECRET_CHARACTERS)
        if others_end_after_s is not None:
            await self._connection.execute(
                "DELETE FROM token_secrets WHERE client = $1 AND expires_at <= now()", self._client
            )
            await self._connection.execute(
                "UPDATE token_secrets SET"
                " expires_at = least(expires_at, now() + make_interval(secs => $2))"
                " WHERE client = $1",
                self._client,
                float(others_end_after_s),
            )
            await self.note("token-secret-rotated", overlapS=others_end_after_s)
        await self._connection.execute(
            "INSERT INTO token_secrets (client, secret) VALUES ($1, $2)", self._client, secret
        )
        return secret

    async def set_jwks(self, jwks: Sequence[dict[str, Any]]) -> None:
        """Set the public keys of the client's tokens."""
        await self._connection.execute(
            "UPDATE clients SET jwks = $2::jsonb WHERE id = $1",
            self._client,
            _encode(jwks).decode(),
        )
        await self.note("token-keys-set", kids=[jwk.get("kid") for jwk in jwks])

    async def alter(self, disabled: bool | None, limits: ClientLimits | None) -> bool:
        """Disable or enable the client, and set its limits; None: as it was.

        Returns:
            Whether there is such a client.
        """
        found = await self._connection.fetchval(
            "UPDATE clients SET disabled = coalesce($2, disabled),"
            " limits = coalesce($3::jsonb, limits) WHERE id = $1 RETURNING id",
            self._client,
            disabled,
            None if limits is None else _encode(limits).decode(),
        )
        if found is None:
            return False
        details: dict[str, Any] = {} if disabled is None else {"disabled": disabled}
        if limits is not None:
            details["limits"] = msgspec.to_builtins(limits)
        await self.note("client-altered", **details)
        return True

    async def finish(self) -> ClientRecord | None:
        """Give the client its new version, and return the message to the other processes."""
        await self._connection.execute(
            "UPDATE clients SET version = nextval('client_versions') WHERE id = $1", self._client
        )
        found = await records(self._connection, only=self._client)
        return found[0] if found else None


@contextlib.asynccontextmanager
async def change(connection: Any, actor: Actor, client: str) -> AsyncIterator[ClientEdit]:
    """Change one client, all or nothing."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        yield ClientEdit(connection, actor, client)


def new_client_id() -> str:
    """Id that no client has."""
    return f"c{random_name(_ID_CHARACTERS)}"


_KEY_COLUMNS: Final = "id, name, scopes, created_at, expires_at, revoked_at"
_CLIENT_COLUMNS: Final = "id, name, email, operator, disabled, limits, created_at"


def _client(row: Any) -> Client:
    an_id, name, email, operator, disabled, limits, created = row
    return Client(an_id, name, email, operator, disabled, msgspec.json.decode(limits), created)


async def find_client(connection: Any, client: str) -> Client | None:
    """A client, or None."""
    row = await connection.fetchrow(
        f"SELECT {_CLIENT_COLUMNS} FROM clients WHERE id = $1",  # noqa: S608 - a constant
        client,
    )
    return None if row is None else _client(row)


async def list_clients(
    connection: Any, after: tuple[datetime, str] | None, limit: int
) -> list[Client]:
    """Clients in the order in which they were made."""
    rows = await connection.fetch(
        f"SELECT {_CLIENT_COLUMNS} FROM clients"  # noqa: S608 - a constant
        " WHERE $1::timestamptz IS NULL"
        " OR (date_trunc('milliseconds', created_at), id) > ($1, $2)"
        " ORDER BY date_trunc('milliseconds', created_at), id LIMIT $3",
        *(after or (None, "")),
        limit,
    )
    return [_client(row) for row in rows]


async def list_keys(connection: Any, client: str) -> list[Key]:
    """Keys of a client, also those that ended, the newest first; a thousand at most."""
    rows = await connection.fetch(
        f"SELECT {_KEY_COLUMNS} FROM api_keys WHERE client = $1"  # noqa: S608 - a constant
        " ORDER BY created_at DESC, id LIMIT 1000",
        client,
    )
    return [Key(*row) for row in rows]


async def jwks_of(connection: Any, client: str) -> list[dict[str, Any]]:
    """Public keys of a client's tokens."""
    text = await connection.fetchval("SELECT jwks FROM clients WHERE id = $1", client)
    found: list[dict[str, Any]] = msgspec.json.decode(text or "[]")
    return found


async def list_audit(
    connection: Any, subject: str | None, before: int | None, limit: int
) -> list[AuditEvent]:
    """List changes to one client or all, newest first."""
    rows = await connection.fetch(
        "SELECT number, at, client, key, action, subject, details FROM audit"
        " WHERE ($1::text IS NULL OR subject = $1) AND ($2::bigint IS NULL OR number < $2)"
        " ORDER BY number DESC LIMIT $3",
        subject,
        before,
        limit,
    )
    return [
        AuditEvent(number, at, Actor(client, key), action, subject, msgspec.json.decode(details))
        for number, at, client, key, action, subject, details in rows
    ]


async def records(
    connection: Any, *, above: int = 0, only: str | None = None
) -> list[ClientRecord]:
    """Clients as all processes know them.

    Args:
        connection: of asyncpg; one statement reads all, so that they are of one moment.
        above: only those with a higher version.
        only: one client.
    """
    rows = await connection.fetch(
        """
        SELECT c.id, c.name, c.version, c.disabled, c.operator, c.jwks, c.limits,
            ARRAY(SELECT row(k.id, k.digest, k.scopes, k.expires_at) FROM api_keys k
                WHERE k.client = c.id AND k.revoked_at IS NULL
                AND (k.expires_at IS NULL OR k.expires_at > now()) ORDER BY k.created_at, k.id),
            ARRAY(SELECT row(s.secret, s.expires_at) FROM token_secrets s
                WHERE s.client = c.id AND (s.expires_at IS NULL OR s.expires_at > now())
                ORDER BY s.expires_at DESC NULLS FIRST)
        FROM clients c WHERE c.version > $1 AND ($2::text IS NULL OR c.id = $2)
        ORDER BY c.version
        """,
        above,
        only,
    )
    return [
        ClientRecord(
            an_id,
            name,
            version,
            disabled=disabled,
            operator=operator,
            keys=tuple(
                KeyRecord(key, digest, frozenset(map(Scope, scopes)), _ms(expires))
                for key, digest, scopes, expires in keys
            ),
            secrets=tuple(SecretRecord(text, _ms(expires)) for text, expires in secrets),
            jwks=tuple(msgspec.json.decode(jwks)),
            limits=msgspec.json.decode(limits, type=ClientLimits),
        )
        for an_id, name, version, disabled, operator, jwks, limits, keys, secrets in rows
    ]


def _ms(moment: datetime | None) -> int:
    return 0 if moment is None else unix_ms(moment)
