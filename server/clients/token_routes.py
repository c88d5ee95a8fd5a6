"""`/tokens`, and the secrets and keys that sign a client's user tokens."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import Field

from common.auth.tokens import ROOMS_MAX, public_key, public_members, sign
from common.model.notification import Id
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.model.timestamps import format_time
from history.queries import clients as queries
from server.access.route_access import Access
from server.clients.context import (
    NO_STORE,
    WARNING,
    WHOLE,
    Body,
    Context,
    actor_of,
    bad,
    own,
)  # fmt: skip
from server.clients.key_routes import Rotation
from server.web.answers import JsonModel, Time, json_answer
from server.web.bodies import read_json
from server.web.guard import OF_STORES
from server.web.route import Route, RouteAnswer

JWKS_MAX: Final = 10
TTL_DEFAULT_S: Final = 3_600
KID_MAX_CHARACTERS: Final = 255
SECRETS_MAX: Final = 10
"""Most valid token secrets of a client at a time."""


class NewToken(Body):
    """Body of `POST /tokens`."""

    userId: Id  # noqa: N815 - as it is on the wire
    rooms: Annotated[list[Id], Field(max_length=ROOMS_MAX)] | None = None
    ttl: Annotated[int, Field(ge=1), WHOLE] | None = TTL_DEFAULT_S


class TokenKeys(Body):
    """Body of `PUT /clients/me/token-keys`: a JWK set (RFC 7517, section 5)."""

    keys: Annotated[list[dict[str, Any]], Field(max_length=JWKS_MAX)]


class CreateTokenResponse(JsonModel):
    """Token for a user."""

    token: str
    expires_at: Time


class RotateTokenSecretResponse(JsonModel):
    """New secret that user tokens are signed with."""

    secret: str
    algorithm: str
    warning: str


class GetTokenKeysResponse(JsonModel):
    """JWK set of a client."""

    keys: list[dict[str, Any]]


class SetTokenKeysResponse(GetTokenKeysResponse):
    """JWK set that a client has now."""


def mint(
    context: Context, client: str, user: str, rooms: list[Id] | None, ttl: int | None
) -> tuple[str, int]:
    """Make the token for one of a client's users that a request asks for.

    Returns:
        The token, and the Unix time (s) at which it expires.

    Raises:
        Problem: 409 without credentials of a client; 422 if the token would live too long.
    """
    record = context.directory.client(client)
    if record is None:
        raise Problem(
            ProblemCode.NO_CLIENT,
            "tokens belong to a client: show its API key, or make a client first",
        )
    ttl_s = ttl or min(TTL_DEFAULT_S, context.token_max_ttl_s)
    if ttl_s > context.token_max_ttl_s:
        raise bad("/ttl", f"must be at most {context.token_max_ttl_s} seconds")
    return sign(record, user, [str(room) for room in rooms or ()], ttl_s)


async def _token(request: web.Request, context: Context) -> web.Response:
    body = await read_json(request, NewToken)
    token, expires_s = mint(context, own(request), str(body.userId), body.rooms, body.ttl)
    return json_answer(
        CreateTokenResponse(token=token, expires_at=format_time(expires_s * 1000)),
        HTTPStatus.CREATED,
        **NO_STORE,
    )


async def _rotate_secret(request: web.Request, context: Context) -> web.Response:
    body = await read_json(request, Rotation)
    await context.client(own(request))
    async with context.clients.change(actor_of(request), own(request)) as change:
        overlap_s = body.overlapS or 0
        if overlap_s and await change.count_secrets() >= SECRETS_MAX:
            raise Problem(
                ProblemCode.TOO_MANY_SECRETS,
                f"{SECRETS_MAX} secrets are good at this moment, as many as there may be: wait "
                "until one has ended, or rotate with overlapS 0, which ends them all",
            )
        secret = await change.add_secret(overlap_s)
    return json_answer(
        RotateTokenSecretResponse(secret=secret, algorithm="HS256", warning=WARNING),
        HTTPStatus.CREATED,
        **NO_STORE,
    )


async def _token_keys(request: web.Request, context: Context) -> web.Response:
    async with context.clients.database.connection() as connection:
        keys = await queries.jwks_of(connection, own(request))
    return json_answer(GetTokenKeysResponse(keys=keys))


async def _set_token_keys(request: web.Request, context: Context) -> web.Response:
    body = await read_json(request, TokenKeys)
    kids = set()
    for index, jwk in enumerate(body.keys):
        try:
            public_key(jwk)
        except ValueError as error:
            raise bad(f"/keys/{index}", str(error)) from None
        kid = jwk.get("kid")
        if not isinstance(kid, str) or not 1 <= len(kid) <= KID_MAX_CHARACTERS:
            raise bad(f"/keys/{index}/kid", f"must be text of 1 to {KID_MAX_CHARACTERS} characters")
        if not kid.isprintable():
            raise bad(f"/keys/{index}/kid", "must be printable")
        if kid in kids:
            raise bad(f"/keys/{index}/kid", "is another key's too")
        kids.add(kid)
    keys = [public_members(jwk) for jwk in body.keys]
    await context.client(own(request))
    async with context.clients.change(actor_of(request), own(request)) as change:
        await change.set_jwks(keys)
    return json_answer(SetTokenKeysResponse(keys=keys))


ROUTES: Final[tuple[Route[Context], ...]] = (
    Route(
        method="POST",
        path="/tokens",
        access=Access.MINT,
        handler=_token,
        name="createToken",
        tag="clients",
        summary="Make a token for one of the client's users",
        body=NewToken,
        examples={"user in a room": {"userId": 1, "rooms": ["1"], "ttl": 60}},
        answers=(RouteAnswer(HTTPStatus.CREATED, "The token.", CreateTokenResponse),),
        errors=(*OF_STORES, ProblemCode.NO_CLIENT),
    ),
    Route(
        method="POST",
        path="/clients/me/token-secret/rotate",
        access=Access.SIGN,
        handler=_rotate_secret,
        name="rotateTokenSecret",
        tag="clients",
        summary="Make the secret that user tokens are signed with (HS256)",
        body=Rotation,
        examples={"at once": {"overlapS": 0}},
        answers=(
            RouteAnswer(
                HTTPStatus.CREATED, "The secret, shown this once.", RotateTokenSecretResponse
            ),
        ),
        errors=(*OF_STORES, ProblemCode.CLIENT_NOT_FOUND, ProblemCode.TOO_MANY_SECRETS),
    ),
    Route(
        method="GET",
        path="/clients/me/token-keys",
        access=Access.ADMIN,
        handler=_token_keys,
        name="getTokenKeys",
        tag="clients",
        summary="Public keys that user tokens may be signed by (RS256, EdDSA)",
        answers=(RouteAnswer(HTTPStatus.OK, "A JWK set.", GetTokenKeysResponse),),
        errors=OF_STORES,
    ),
    Route(
        method="PUT",
        path="/clients/me/token-keys",
        access=Access.SIGN,
        handler=_set_token_keys,
        name="setTokenKeys",
        tag="clients",
        summary="Set these public keys",
        body=TokenKeys,
        examples={"none": {"keys": []}},
        answers=(RouteAnswer(HTTPStatus.OK, "The JWK set.", SetTokenKeysResponse),),
        errors=(*OF_STORES, ProblemCode.CLIENT_NOT_FOUND),
    ),
)
