"""`/clients`: client applications and their usage."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import Field, StrictBool, StringConstraints

from common.auth.client_records import ALL_SCOPES, ClientLimits
from common.auth.principal import Principal
from common.model.timestamps import from_unix_ms, unix_ms
from history.queries import clients as queries
from history.queries.clients import Client
from server.access.route_access import allow_to_give, principal_of
from server.clients.context import (
    NO_STORE,
    WARNING,
    WHOLE,
    Body,
    Context,
    Name,
    Route,
    actor_of,
    bad,
    no_client,
    time_text,
)  # fmt: skip
from server.clients.key_routes import Scopes
from server.web.answers import json_answer
from server.web.bodies import read_json
from server.web.parameters import (
    CursorPlace,
    cursor,
    cursor_text,
    limit_of,
    only,
    parameter,
    path_id,
)

# Without `\s`, which means something else in each dialect of patterns.
_EMAIL_PART: Final = r"[^@\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
Email = Annotated[str, StringConstraints(max_length=254, pattern=f"^{_EMAIL_PART}@{_EMAIL_PART}$")]
Limit = Annotated[int, Field(ge=1, le=2**53), WHOLE]


class NewClient(Body):
    """Body of `POST /clients`."""

    name: Name
    email: Email
    scopes: Annotated[
        Scopes | None, Field(description="Of its first key; all of them if they are left out.")
    ] = None


class Limits(Body):
    """Limits of a client that differ from the settings."""

    requestsPerS: Limit | None = None  # noqa: N815 - as it is on the wire
    notificationsPerDay: Limit | None = None  # noqa: N815
    connections: Limit | None = None
    roomsPerConnection: Limit | None = None  # noqa: N815
    recipients: Limit | None = None
    messageMaxBytes: Limit | None = None  # noqa: N815
    fanOutBytesPerS: Limit | None = None  # noqa: N815


class ClientChange(Body):
    """Body of `PATCH /clients/{id}`; fields that are left out don't change."""

    disabled: StrictBool | None = None
    limits: Limits | None = None


async def _create(request: web.Request, context: Context) -> web.Response:
    only(request, ())
    new = await read_json(request, NewClient)
    scopes = frozenset(new.scopes or ALL_SCOPES)
    principal: Principal | None = request.get("principal")
    if principal is not None:
        allow_to_give(principal, scopes)
    made, key = await context.clients.create(actor_of(request), new.name, new.email, scopes=scopes)
    return json_answer(
        {
            "clientId": made.id,
            "name": made.name,
            "email": made.email,
            "apiKey": key,
            "createdAt": time_text(made.created),
            "warning": WARNING,
        },
        HTTPStatus.CREATED,
        Location=f"/clients/{made.id}",
        **NO_STORE,
    )


async def _list(request: web.Request, context: Context) -> web.Response:
    only(request, ("limit", "cursor"))
    limit = limit_of(request)
    at = parameter(request, "cursor", cursor)
    after = _moment(at) if at else None
    async with context.clients.database.connection() as connection:
        found = await queries.list_clients(connection, after, limit + 1)
    shown = found[:limit]
    more = CursorPlace(unix_ms(shown[-1].created), shown[-1].id) if len(found) > limit else None
    return json_answer(
        {
            "clients": [_client(one) for one in shown],
            "nextCursor": cursor_text(more) if more else None,
        }
    )


async def _get(request: web.Request, context: Context) -> web.Response:
    only(request, ())
    return json_answer(_client(await context.client(path_id(request, "id"))))


async def _me(request: web.Request, context: Context) -> web.Response:
    only(request, ())
    principal = principal_of(request)
    found = await context.client(principal.client)
    return json_answer({**_client(found), **await context.usage.of(principal)})


async def _alter(request: web.Request, context: Context) -> web.Response:
    only(request, ())
    client = path_id(request, "id")
    body = await read_json(request, ClientChange)
    limits = None if body.limits is None else _limits(body.limits)
    async with context.clients.change(actor_of(request), client) as change:
        found = await change.alter(body.disabled, limits)
    if not found:
        raise no_client()
    return json_answer(_client(await context.client(client)))


def _moment(at: CursorPlace) -> tuple[datetime, str]:
    try:
        return from_unix_ms(at.ms), at.name
    except OverflowError:
        raise bad("/cursor", "is no cursor of this list") from None


def _limits(asked: Limits) -> ClientLimits:
    return ClientLimits(
        requests_per_s=asked.requestsPerS,
        notifications_per_day=asked.notificationsPerDay,
        connections=asked.connections,
        rooms_per_connection=asked.roomsPerConnection,
        recipients=asked.recipients,
        message_max_bytes=asked.messageMaxBytes,
        fan_out_bytes_per_s=asked.fanOutBytesPerS,
    )


def _client(one: Client) -> dict[str, Any]:
    return {
        "clientId": one.id,
        "name": one.name,
        "email": one.email,
        "operator": one.operator,
        "disabled": one.disabled,
        "limits": one.limits,
        "createdAt": time_text(one.created),
    }


ROUTES: Final[list[Route]] = [
    ("POST", "/clients", _create),
    ("GET", "/clients", _list),
    ("GET", "/clients/me", _me),
    ("GET", "/clients/{id}", _get),
    ("PATCH", "/clients/{id}", _alter),
]
