"""`/clients`: client applications and their usage."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta
from pydantic import Field, StrictBool, StringConstraints

from common.auth.client_records import ALL_SCOPES, ClientLimits
from common.model.problem_codes import ProblemCode
from common.model.timestamps import from_unix_ms, unix_ms
from history.queries import clients as queries
from history.queries.clients import Client
from server.access.route_access import PRINCIPAL, Access, allow_to_give, principal_of
from server.clients.context import (
    NO_STORE,
    WARNING,
    WHOLE,
    Body,
    Context,
    Name,
    actor_of,
    bad,
    no_client,
    time_text,
)  # fmt: skip
from server.clients.key_routes import Scopes
from server.clients.usage_report import DAYS, OwnClientQuota, OwnClientUsageItem
from server.web.answers import JsonModel, NextCursor, Time, json_answer
from server.web.bodies import read_json
from server.web.guard import OF_STORES
from server.web.parameters import (
    CURSOR,
    LIMIT,
    CursorPlace,
    PathParameter,
    limit_of,
    next_cursor,
)
from server.web.route import Route, RouteAnswer, page_of

# Without `\s`, which means something else in each dialect of patterns.
_EMAIL_PART: Final = r"[^@\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
Email = Annotated[str, StringConstraints(max_length=254, pattern=f"^{_EMAIL_PART}@{_EMAIL_PART}$")]
Limit = Annotated[int, Field(ge=1, le=2**53), WHOLE]
_CLIENT: Final = PathParameter("id", "The client.")


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


class ClientJson(JsonModel):
    """Client application."""

    client_id: str
    name: str
    email: str
    operator: bool
    disabled: bool
    limits: dict[str, int]
    created_at: Time


class OwnClient(ClientJson):
    """Client application with its usage, as it sees itself."""

    usage: Annotated[
        list[OwnClientUsageItem],
        Meta(description=f"By UTC day, the last {DAYS}, newest first; up to a second or so old."),
    ]
    connections: Annotated[int, Meta(description="Registered sockets now, at all gateways.")]
    quota: OwnClientQuota


class CreateClientResponse(JsonModel):
    """New client and its first key."""

    client_id: str
    name: str
    email: str
    api_key: str
    created_at: Time
    warning: str


class ListClientsResponse(JsonModel):
    """Page of clients."""

    clients: list[ClientJson]
    next_cursor: NextCursor


async def _create(request: web.Request, context: Context) -> web.Response:
    new = await read_json(request, NewClient)
    scopes = frozenset(new.scopes or ALL_SCOPES)
    principal = request.get(PRINCIPAL)
    if principal is not None:
        allow_to_give(principal, scopes)
    made, key = await context.clients.create(actor_of(request), new.name, new.email, scopes=scopes)
    return json_answer(
        CreateClientResponse(
            client_id=made.id,
            name=made.name,
            email=made.email,
            api_key=key,
            created_at=time_text(made.created),
            warning=WARNING,
        ),
        HTTPStatus.CREATED,
        Location=f"/clients/{made.id}",
        **NO_STORE,
    )


async def _list(request: web.Request, context: Context) -> web.Response:
    limit = limit_of(request)
    at = CURSOR.of(request)
    after = _moment(at) if at else None
    async with context.clients.database.connection() as connection:
        found = await queries.list_clients(connection, after, limit + 1)
    shown = found[:limit]
    following = (unix_ms(shown[-1].created), shown[-1].id) if len(found) > limit else None
    return json_answer(
        ListClientsResponse(
            clients=[_client(one) for one in shown], next_cursor=next_cursor(following)
        )
    )


async def _get(request: web.Request, context: Context) -> web.Response:
    return json_answer(_client(await context.client(_CLIENT.of(request))))


async def _me(request: web.Request, context: Context) -> web.Response:
    principal = principal_of(request)
    found = await context.client(principal.client)
    usage = await context.usage.of(principal)
    return json_answer(
        OwnClient(
            **msgspec.structs.asdict(_client(found)),
            usage=usage.days,
            connections=usage.connections,
            quota=usage.quota,
        )
    )


async def _alter(request: web.Request, context: Context) -> web.Response:
    client = _CLIENT.of(request)
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


def _client(one: Client) -> ClientJson:
    return ClientJson(
        client_id=one.id,
        name=one.name,
        email=one.email,
        operator=one.operator,
        disabled=one.disabled,
        limits=one.limits,
        created_at=time_text(one.created),
    )


ROUTES: Final[tuple[Route[Context], ...]] = (
    Route(
        method="POST",
        path="/clients",
        access=Access.REGISTRATION,
        handler=_create,
        name="createClient",
        tag="clients",
        summary="Make a client application; its first key is shown this once",
        body=NewClient,
        examples={"sender": {"name": "Shop", "email": "shop@example.com", "scopes": ["notify"]}},
        answers=(
            RouteAnswer(HTTPStatus.CREATED, "The client, and its key.", CreateClientResponse),
        ),
        errors=OF_STORES,
    ),
    Route(
        method="GET",
        path="/clients",
        access=Access.OPERATOR,
        handler=_list,
        name="listClients",
        tag="clients",
        summary="All clients in the order in which they were made",
        parameters=(LIMIT, CURSOR),
        answers=page_of(ListClientsResponse),
        errors=OF_STORES,
    ),
    Route(
        method="GET",
        path="/clients/me",
        access=Access.READ,
        handler=_me,
        name="getOwnClient",
        tag="clients",
        summary="The client whose key this is, and its usage",
        answers=(RouteAnswer(HTTPStatus.OK, "The client.", OwnClient),),
        errors=(*OF_STORES, ProblemCode.CLIENT_NOT_FOUND),
    ),
    Route(
        method="GET",
        path="/clients/{id}",
        access=Access.OPERATOR,
        handler=_get,
        name="getClient",
        tag="clients",
        summary="One client",
        parameters=(_CLIENT,),
        answers=(RouteAnswer(HTTPStatus.OK, "The client.", ClientJson),),
        errors=(*OF_STORES, ProblemCode.CLIENT_NOT_FOUND),
    ),
    Route(
        method="PATCH",
        path="/clients/{id}",
        access=Access.OPERATOR,
        handler=_alter,
        name="updateClient",
        tag="clients",
        summary="Disable or enable a client, or set its limits",
        parameters=(_CLIENT,),
        body=ClientChange,
        examples={"limit": {"disabled": False, "limits": {"recipients": 5}}},
        answers=(RouteAnswer(HTTPStatus.OK, "The client.", ClientJson),),
        errors=(*OF_STORES, ProblemCode.CLIENT_NOT_FOUND),
    ),
)
