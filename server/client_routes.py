"""`/clients`, `/tokens` and `/audit`: who may send, and by which keys."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import quote

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from common.auth.directory import Directory
from common.auth.principal import Principal
from common.auth.records import ALL_SCOPES, ClientLimits, Scope
from common.auth.tokens import ROOMS_MAX, public_key, sign
from common.jobs import format_time
from common.notification import Id
from common.problems import FieldError, Problem
from history import clients as queries
from history.clients import Actor, AuditEvent, Client, Key
from history.database import DatabaseAwayError, from_unix_ms, unix_ms
from server.access import principal_of
from server.asking import Place, cursor, cursor_text, limit_of, only, parameter, path_id
from server.bodies import read_json
from server.clients import Clients
from server.history_access import away, history_off, json_answer
from server.usage import UsageReport

NAME_MAX_CHARACTERS: Final = 100
OVERLAP_MAX_S: Final = 30 * 86_400
JWKS_MAX: Final = 10
KEYS_MAX: Final = 100
"""Keys that a client may have which are not revoked."""
_WARNING: Final = "This key is shown once. Keep it secret; whoever has it can send in your name."

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=NAME_MAX_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]*$"),
]
# Without `\s`, which means another thing to each who reads a pattern.
_EMAIL_PART: Final = r"[^@\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
Email = Annotated[str, StringConstraints(max_length=254, pattern=f"^{_EMAIL_PART}@{_EMAIL_PART}$")]
Overlap = Annotated[int, Field(ge=0, le=OVERLAP_MAX_S)]
Limit = Annotated[int, Field(ge=1, le=2**53)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewClient(_Body):
    """Body of `POST /clients`."""

    name: Name
    email: Email


class NewApiKey(_Body):
    """Body of `POST /clients/me/keys`."""

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    expiresAt: AwareDatetime | None = None  # noqa: N815 - as it is on the wire


class Rotation(_Body):
    """Body of a rotation: how many seconds the old one is good still."""

    overlapS: Overlap = 0  # noqa: N815 - as it is on the wire


class NewToken(_Body):
    """Body of `POST /tokens`."""

    userId: Id  # noqa: N815 - as it is on the wire
    rooms: Annotated[list[Id], Field(max_length=ROOMS_MAX)] = []
    ttl: Annotated[int, Field(ge=1)] = 3_600


class TokenKeys(_Body):
    """Body of `PUT /clients/me/token-keys`: a JWK set (RFC 7517, section 5)."""

    keys: Annotated[list[dict[str, Any]], Field(max_length=JWKS_MAX)]


class Limits(_Body):
    """What a client may do that differs from the settings."""

    requestsPerS: Limit | None = None  # noqa: N815 - as it is on the wire
    notificationsPerDay: Limit | None = None  # noqa: N815
    connections: Limit | None = None
    roomsPerConnection: Limit | None = None  # noqa: N815
    recipients: Limit | None = None
    messageMaxBytes: Limit | None = None  # noqa: N815


class ClientChange(_Body):
    """Body of `PATCH /clients/{id}`; what is left out stays."""

    disabled: bool | None = None
    limits: Limits | None = None


class ClientRoutes:
    """The routes of clients.

    Args:
        clients: None while there is no database.
        directory: all clients as they are known here.
        token_max_ttl_s: longest life of a token.
        usage: tells what a client did.
    """

    def __init__(
        self,
        clients: Clients | None,
        directory: Directory,
        token_max_ttl_s: int,
        usage: UsageReport,
    ) -> None:
        self._clients = clients
        self._directory = directory
        self._token_max_ttl_s = token_max_ttl_s
        self._usage = usage

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        table: list[tuple[str, str, Callable[[web.Request, Clients], Awaitable[web.Response]]]] = [
            ("POST", "/clients", self._create),
            ("GET", "/clients", self._list),
            ("GET", "/clients/me", self._me),
            ("GET", "/clients/me/keys", self._keys),
            ("POST", "/clients/me/keys", self._add_key),
            ("POST", "/clients/me/keys/{id}/rotate", self._rotate_key),
            ("DELETE", "/clients/me/keys/{id}", self._revoke_key),
            ("POST", "/clients/me/token-secret/rotate", self._rotate_secret),
            ("GET", "/clients/me/token-keys", self._token_keys),
            ("PUT", "/clients/me/token-keys", self._set_token_keys),
            ("GET", "/clients/me/audit", self._own_audit),
            ("GET", "/clients/{id}", self._get),
            ("PATCH", "/clients/{id}", self._alter),
            ("GET", "/audit", self._audit),
        ]
        return [
            web.post("/tokens", self._token),
            *(web.route(method, path, self._guarded(handler)) for method, path, handler in table),
        ]

    def _guarded(
        self, handler: Callable[[web.Request, Clients], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            if self._clients is None:
                raise history_off()
            try:
                return await handler(request, self._clients)
            except DatabaseAwayError:
                raise away("database-away", "PostgreSQL does not answer; repeat") from None

        return answer

    # Clients.

    async def _create(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ())
        new = await read_json(request, NewClient)
        made, key = await create_client(clients, _actor(request), new.name, new.email)
        return json_answer(
            {
                "clientId": made.id,
                "name": made.name,
                "email": made.email,
                "apiKey": key,
                "createdAt": _time(made.created),
                "warning": _WARNING,
            },
            HTTPStatus.CREATED,
            Location=f"/clients/{made.id}",
            **{"Cache-Control": "no-store"},
        )

    async def _list(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ("limit", "cursor"))
        limit = limit_of(request)
        at = parameter(request, "cursor", cursor)
        after = _moment(at) if at else None
        async with clients.database.connection() as connection:
            found = await queries.list_clients(connection, after, limit + 1)
        shown = found[:limit]
        more = Place(unix_ms(shown[-1].created), shown[-1].id) if len(found) > limit else None
        return json_answer(
            {
                "clients": [_client(one) for one in shown],
                "nextCursor": cursor_text(more) if more else None,
            }
        )

    async def _get(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ())
        return json_answer(_client(await _find(clients, path_id(request, "id"))))

    async def _me(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ())
        principal = principal_of(request)
        found = await _find(clients, principal.client)
        return json_answer({**_client(found), **await self._usage.of(principal)})

    async def _alter(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ())
        client = path_id(request, "id")
        body = await read_json(request, ClientChange)
        limits = None if body.limits is None else _limits(body.limits)
        async with clients.change(_actor(request), client) as change:
            found = await change.alter(body.disabled, limits)
        if not found:
            raise _no_client()
        return json_answer(_client(await _find(clients, client)))

    # Keys.

    async def _keys(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ())
        async with clients.database.connection() as connection:
            found = await queries.list_keys(connection, principal_of(request).client)
        return json_answer({"keys": [_key(one) for one in found]})

    async def _add_key(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ())
        body = await read_json(request, NewApiKey)
        principal = principal_of(request)
        more = set(body.scopes) - principal.scopes
        if more:
            raise Problem(
                HTTPStatus.FORBIDDEN, "forbidden", f"this key lacks the scope {min(more)} itself"
            )
        await _find(clients, principal.client)
        async with clients.database.connection() as connection:
            known = await queries.list_keys(connection, principal.client)
        if sum(1 for key in known if key.revoked is None) >= KEYS_MAX:
            raise Problem(
                HTTPStatus.CONFLICT, "too-many-keys", f"a client has at most {KEYS_MAX} keys"
            )
        async with clients.change(_actor(request), principal.client) as change:
            key = await change.add_key(body.name, sorted(set(body.scopes)), body.expiresAt)
        return _new_key(key.id, key.text)

    async def _rotate_key(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ())
        old_id = path_id(request, "id")
        body = await read_json(request, Rotation)
        principal = principal_of(request)
        async with clients.change(_actor(request), principal.client) as change:
            old = await change.find_key(old_id)
            if old is None:
                raise _no_key()
            scopes = [Scope(scope) for scope in old.scopes]
            if set(scopes) - principal.scopes:
                raise Problem(
                    HTTPStatus.FORBIDDEN, "forbidden", "that key has scopes which this one lacks"
                )
            key = await change.add_key(old.name, scopes, old.expires)
            await change.end_key(old.id, body.overlapS)
        return _new_key(key.id, key.text)

    async def _revoke_key(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ())
        key = path_id(request, "id")
        async with clients.change(_actor(request), principal_of(request).client) as change:
            if await change.find_key(key) is None:
                raise _no_key()
            await change.end_key(key, 0)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    # Tokens.

    async def _token(self, request: web.Request) -> web.Response:
        only(request, ())
        body = await read_json(request, NewToken)
        record = self._directory.client(principal_of(request).client)
        if record is None:
            raise Problem(
                HTTPStatus.CONFLICT,
                "no-client",
                "tokens belong to a client: show its API key, or make a client first",
            )
        if body.ttl > self._token_max_ttl_s:
            raise _bad("/ttl", f"must be at most {self._token_max_ttl_s} seconds")
        rooms = [str(room) for room in body.rooms]
        token, expires_s = sign(record, str(body.userId), rooms, body.ttl)
        return json_answer(
            {"token": token, "expiresAt": format_time(expires_s * 1000)},
            HTTPStatus.CREATED,
            **{"Cache-Control": "no-store"},
        )

    async def _rotate_secret(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ())
        body = await read_json(request, Rotation)
        await _find(clients, principal_of(request).client)
        async with clients.change(_actor(request), principal_of(request).client) as change:
            secret = await change.add_secret(body.overlapS)
        return json_answer(
            {"secret": secret, "algorithm": "HS256", "warning": _WARNING},
            HTTPStatus.CREATED,
            **{"Cache-Control": "no-store"},
        )

    async def _token_keys(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ())
        async with clients.database.connection() as connection:
            return json_answer(
                {"keys": await queries.jwks_of(connection, principal_of(request).client)}
            )

    async def _set_token_keys(self, request: web.Request, clients: Clients) -> web.Response:
        only(request, ())
        body = await read_json(request, TokenKeys)
        kids = set()
        for index, jwk in enumerate(body.keys):
            try:
                public_key(jwk)
            except ValueError as error:
                raise _bad(f"/keys/{index}", str(error)) from None
            kid = jwk.get("kid")
            if not isinstance(kid, str) or not kid or kid in kids:
                raise _bad(f"/keys/{index}/kid", "must be text that no other key has")
            kids.add(kid)
        await _find(clients, principal_of(request).client)
        async with clients.change(_actor(request), principal_of(request).client) as change:
            await change.set_jwks(body.keys)
        return json_answer({"keys": body.keys})

    # What was done.

    async def _own_audit(self, request: web.Request, clients: Clients) -> web.Response:
        return await self._audit_page(request, clients, principal_of(request).client)

    async def _audit(self, request: web.Request, clients: Clients) -> web.Response:
        return await self._audit_page(request, clients, None)

    @staticmethod
    async def _audit_page(
        request: web.Request, clients: Clients, subject: str | None
    ) -> web.Response:
        only(request, ("limit", "cursor"))
        limit = limit_of(request)
        at = parameter(request, "cursor", cursor)
        async with clients.database.connection() as connection:
            found = await queries.list_audit(connection, subject, at.ms if at else None, limit + 1)
        shown = found[:limit]
        return json_answer(
            {
                "events": [_audit_event(one) for one in shown],
                "nextCursor": cursor_text(Place(shown[-1].number, ""))
                if len(found) > limit
                else None,
            }
        )


async def create_client(
    clients: Clients, actor: Actor, name: str, email: str, *, operator: bool = False
) -> tuple[Client, str]:
    """Make a client and its first key, which may do everything that the client may.

    Raises:
        DatabaseAwayError: nothing was made, or all.
    """
    an_id = queries.new_client_id()
    async with clients.change(actor, an_id) as change:
        await change.make(name, email, operator=operator)
        key = await change.add_key("first", sorted(ALL_SCOPES), None)
    return await _find(clients, an_id), key.text


async def _find(clients: Clients, client: str) -> Client:
    async with clients.database.connection() as connection:
        found = await queries.find_client(connection, client)
    if found is None:
        raise _no_client()
    return found


def _moment(at: Place) -> tuple[datetime, str]:
    try:
        return from_unix_ms(at.ms), at.name
    except OverflowError:
        raise _bad("/cursor", "is no cursor of this list") from None


def _actor(request: web.Request) -> Actor:
    principal: Principal | None = request.get("principal")
    return Actor(principal.client, principal.key) if principal else Actor("", "")


def _no_client() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "client-not-found", "there is no such client")


def _no_key() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "key-not-found", "the client has no such key")


def _bad(at: str, detail: str) -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", f"{at}: {detail}", [FieldError(at, detail)]
    )


def _limits(asked: Limits) -> ClientLimits:
    return ClientLimits(
        requests_per_s=asked.requestsPerS,
        notifications_per_day=asked.notificationsPerDay,
        connections=asked.connections,
        rooms_per_connection=asked.roomsPerConnection,
        recipients=asked.recipients,
        message_max_bytes=asked.messageMaxBytes,
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(unix_ms(moment))


def _client(one: Client) -> dict[str, Any]:
    return {
        "clientId": one.id,
        "name": one.name,
        "email": one.email,
        "operator": one.operator,
        "disabled": one.disabled,
        "limits": one.limits,
        "createdAt": _time(one.created),
    }


def _key(one: Key) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "scopes": one.scopes,
        "createdAt": _time(one.created),
        "expiresAt": _time(one.expires),
        "revokedAt": _time(one.revoked),
    }


def _new_key(an_id: str, text: str) -> web.Response:
    return json_answer(
        {"id": an_id, "apiKey": text, "warning": _WARNING},
        HTTPStatus.CREATED,
        Location=f"/clients/me/keys/{quote(an_id, safe='')}",
        **{"Cache-Control": "no-store"},
    )


def _audit_event(one: AuditEvent) -> dict[str, Any]:
    return {
        "at": _time(one.at),
        "action": one.action,
        "subject": one.subject,
        "byClient": one.actor.client or None,
        "byKey": one.actor.key or None,
        "details": one.details,
    }


__all__ = ["ClientRoutes", "create_client"]
