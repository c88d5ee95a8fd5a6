"""`/clients/me/keys`: a client's own API keys."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import quote

from aiohttp import web
from pydantic import Field

from common.auth.client_records import Scope
from common.model.notification import Moment
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from history.queries import clients as queries
from history.queries.clients import ClientEdit, Key
from server.access.route_access import Access, allow_to_give, principal_of
from server.clients.context import (
    NO_STORE,
    WARNING,
    WHOLE,
    Body,
    Context,
    Name,
    actor_of,
    bad,
    own,
    time_or_null,
    time_text,
)  # fmt: skip
from server.web.answers import JsonModel, Time, json_answer
from server.web.bodies import read_json
from server.web.guard import OF_STORES
from server.web.parameters import PathParameter
from server.web.route import Route, RouteAnswer, done

OVERLAP_MAX_S: Final = 30 * 86_400
KEYS_MAX: Final = 100
"""Most valid keys of a client at a time."""

Scopes = Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
Overlap = Annotated[int, Field(ge=0, le=OVERLAP_MAX_S), WHOLE]


_KEY: Final = PathParameter("id", "The key.")


class NewApiKey(Body):
    """Body of `POST /clients/me/keys`."""

    name: Name
    scopes: Scopes
    expiresAt: Moment | None = None  # noqa: N815 - as it is on the wire


class Rotation(Body):
    """Body of a rotation: seconds for which the old key or secret stays valid."""

    overlapS: Overlap | None = 0  # noqa: N815 - as it is on the wire


class ApiKey(JsonModel):
    """API key of a client, without its text."""

    id: str
    name: str
    scopes: list[str]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None


class ListApiKeysResponse(JsonModel):
    """API keys of a client."""

    keys: list[ApiKey]


class ShownKey(JsonModel):
    """New API key with its text."""

    id: str
    api_key: str
    warning: str


async def _keys(request: web.Request, context: Context) -> web.Response:
    async with context.clients.database.connection() as connection:
        found = await queries.list_keys(connection, own(request))
    return json_answer(ListApiKeysResponse(keys=[_key(one) for one in found]))


async def _add_key(request: web.Request, context: Context) -> web.Response:
    body = await read_json(request, NewApiKey)
    principal = principal_of(request)
    allow_to_give(principal, body.scopes)
    expires = None if body.expiresAt is None else _to_come(body.expiresAt)
    await context.client(principal.client)
    async with context.clients.change(actor_of(request), principal.client) as change:
        await _check_number(change)
        key = await change.add_key(body.name, sorted(set(body.scopes)), expires)
    return _new_key(key.id, key.text)


async def _rotate_key(request: web.Request, context: Context) -> web.Response:
    old_id = _KEY.of(request)
    body = await read_json(request, Rotation)
    principal = principal_of(request)
    async with context.clients.change(actor_of(request), principal.client) as change:
        old = await change.find_key(old_id)
        if old is None:
            raise _no_key()
        scopes = [Scope(scope) for scope in old.scopes]
        allow_to_give(principal, scopes)
        overlap_s = body.overlapS or 0
        if overlap_s:
            await _check_number(change)
        key = await change.add_key(old.name, scopes, old.expires)
        await change.end_key(old.id, overlap_s)
    return _new_key(key.id, key.text)


async def _revoke_key(request: web.Request, context: Context) -> web.Response:
    key = _KEY.of(request)
    async with context.clients.change(actor_of(request), own(request)) as change:
        if await change.find_key(key) is None:
            raise _no_key()
        await change.end_key(key, 0)
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _to_come(moment: datetime) -> datetime:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise bad("/expiresAt", "is out of the years that there are") from None
    if moment <= datetime.now(UTC):
        raise bad("/expiresAt", "has passed: such a key would be of no use")
    # Times have milliseconds here; asyncpg takes the very last microsecond for infinity.
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


async def _check_number(change: ClientEdit) -> None:
    # Within the change, which holds the lock: two requests that add a key at once take turns.
    if await change.count_keys() >= KEYS_MAX:
        raise Problem(ProblemCode.TOO_MANY_KEYS, f"a client has at most {KEYS_MAX} keys")


def _no_key() -> Problem:
    return Problem(ProblemCode.KEY_NOT_FOUND, "the client has no such key")


def _key(one: Key) -> ApiKey:
    return ApiKey(
        id=one.id,
        name=one.name,
        scopes=one.scopes,
        created_at=time_text(one.created),
        expires_at=time_or_null(one.expires),
        revoked_at=time_or_null(one.revoked),
    )


def _new_key(an_id: str, text: str) -> web.Response:
    return json_answer(
        ShownKey(id=an_id, api_key=text, warning=WARNING),
        HTTPStatus.CREATED,
        Location=f"/clients/me/keys/{quote(an_id, safe='')}",
        **NO_STORE,
    )


ROUTES: Final[tuple[Route[Context], ...]] = (
    Route(
        method="GET",
        path="/clients/me/keys",
        access=Access.ADMIN,
        handler=_keys,
        name="listApiKeys",
        tag="clients",
        summary="The client's API keys, newest first",
        answers=(RouteAnswer(HTTPStatus.OK, "The keys.", ListApiKeysResponse),),
        errors=OF_STORES,
    ),
    Route(
        method="POST",
        path="/clients/me/keys",
        access=Access.ADMIN,
        handler=_add_key,
        name="createApiKey",
        tag="clients",
        summary="Make an API key with scopes that this key has",
        body=NewApiKey,
        examples={"reader": {"name": "dashboard", "scopes": ["read"], "expiresAt": None}},
        answers=(RouteAnswer(HTTPStatus.CREATED, "The key, shown this once.", ShownKey),),
        errors=(*OF_STORES, ProblemCode.CLIENT_NOT_FOUND, ProblemCode.TOO_MANY_KEYS),
    ),
    Route(
        method="POST",
        path="/clients/me/keys/{id}/rotate",
        access=Access.ADMIN,
        handler=_rotate_key,
        name="rotateApiKey",
        tag="clients",
        summary="Make a key that takes the place of another one, which ends after an overlap",
        parameters=(_KEY,),
        body=Rotation,
        examples={"at once": {"overlapS": 0}},
        answers=(RouteAnswer(HTTPStatus.CREATED, "The new key, shown this once.", ShownKey),),
        errors=(*OF_STORES, ProblemCode.KEY_NOT_FOUND, ProblemCode.TOO_MANY_KEYS),
    ),
    Route(
        method="DELETE",
        path="/clients/me/keys/{id}",
        access=Access.ADMIN,
        handler=_revoke_key,
        name="revokeApiKey",
        tag="clients",
        summary="Revoke a key: within two seconds no server takes it",
        parameters=(_KEY,),
        answers=done("It is revoked."),
        errors=(*OF_STORES, ProblemCode.KEY_NOT_FOUND),
    ),
)
