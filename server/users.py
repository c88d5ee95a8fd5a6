"""`/users`: users who were made known."""

import time
from http import HTTPStatus
from urllib.parse import quote

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from common.events import EventKind
from common.jobs import format_time
from common.notification import Id
from common.problems import Problem
from history.database import unix_ms
from history.users import find_user
from server.asking import only, path_id
from server.bodies import read_json
from server.history_access import History, Route, json_answer


class NewUser(BaseModel):
    """Body of `POST /users`."""

    model_config = ConfigDict(extra="forbid")

    id: Id


def user_routes() -> list[Route]:
    """The routes of users."""
    return [("POST", "/users", _post), ("GET", "/users/{id}", _get)]


async def _post(request: web.Request, history: History) -> web.Response:
    only(request, ())
    user = str((await read_json(request, NewUser)).id)
    async with history.database.connection() as connection:
        created = await find_user(connection, history.client, user)
        is_new = created is None
        if created is None:
            at_ms = time.time_ns() // 1_000_000
            await history.changes.make(connection, EventKind.USER, user, at_ms=at_ms)
            created = await find_user(connection, history.client, user)
            assert created is not None
    return json_answer(
        {"id": user, "createdAt": format_time(unix_ms(created))},
        HTTPStatus.CREATED if is_new else HTTPStatus.OK,
        Location=f"/users/{quote(user, safe='')}",
    )


async def _get(request: web.Request, history: History) -> web.Response:
    user = path_id(request, "id")
    only(request, ())
    async with history.database.connection() as connection:
        created = await find_user(connection, history.client, user)
    if created is None:
        raise Problem(HTTPStatus.NOT_FOUND, "user-not-found", "no such user was made known")
    return json_answer({"id": user, "createdAt": format_time(unix_ms(created))})
