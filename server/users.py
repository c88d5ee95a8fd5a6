"""`/users`: users who were made known."""

import asyncio
import time
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from common.events import EventKind
from common.jobs import format_time
from common.names import DEFAULT_CLIENT
from common.notification import Id
from common.problems import Problem, field_errors
from history.database import unix_ms
from history.users import find_user
from server.asking import only, path_id
from server.history_access import History, Route, json_answer
from server.intake import refuse_type

BODY_TIMEOUT_S: Final = 30.0


class NewUser(BaseModel):
    """Body of `POST /users`."""

    model_config = ConfigDict(extra="forbid")

    id: Id


def user_routes() -> list[Route]:
    """The routes of users."""
    return [("POST", "/users", _post), ("GET", "/users/{id}", _get)]


async def _post(request: web.Request, history: History) -> web.Response:
    refuse_type(request.headers.get("Content-Type", ""))
    only(request, ())
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.read()
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT, "request-timeout", "the body did not come in time"
        ) from None
    user = _user(body)
    async with history.database.connection() as connection:
        created = await find_user(connection, DEFAULT_CLIENT, user)
        is_new = created is None
        if created is None:
            at_ms = time.time_ns() // 1_000_000
            await history.changes.make(connection, EventKind.USER, user, at_ms=at_ms)
            created = await find_user(connection, DEFAULT_CLIENT, user)
            assert created is not None
    return json_answer(
        {"id": user, "createdAt": format_time(unix_ms(created))},
        HTTPStatus.CREATED if is_new else HTTPStatus.OK,
        Location=f"/users/{quote(user, safe='')}",
    )


def _user(body: bytes) -> str:
    try:
        return str(NewUser.model_validate_json(body).id)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise Problem(HTTPStatus.BAD_REQUEST, "malformed-json", first["msg"]) from None
        errors = field_errors(error)
        detail = "; ".join(f"{e.pointer or 'body'}: {e.detail}" for e in errors[:3])
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, errors) from None


async def _get(request: web.Request, history: History) -> web.Response:
    user = path_id(request, "id")
    only(request, ())
    async with history.database.connection() as connection:
        created = await find_user(connection, DEFAULT_CLIENT, user)
    if created is None:
        raise Problem(HTTPStatus.NOT_FOUND, "user-not-found", "no such user was made known")
    return json_answer({"id": user, "createdAt": format_time(unix_ms(created))})
