"""`/users`: registered users."""

import time
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from common.events.event import EventKind
from common.model.notification import Id
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.model.timestamps import format_time, unix_ms
from history.queries.users import find_user, memberships, remove_leftovers
from server.members.context import Members
from server.web.answers import json_answer
from server.web.bodies import read_json
from server.web.guard import Route
from server.web.parameters import (
    CursorPlace,
    cursor,
    cursor_text,
    limit_of,
    only,
    parameter,
    path_id,
)

REMOVALS_AT_ONCE: Final = 4


class NewUser(BaseModel):
    """Body of `POST /users`."""

    model_config = ConfigDict(extra="forbid")

    id: Id


def user_routes() -> list[Route[Members]]:
    """Make the routes of users."""
    return [
        ("POST", "/users", _post),
        ("GET", "/users/{id}", _get),
        ("DELETE", "/users/{id}", _delete),
        ("GET", "/users/{id}/rooms", _rooms),
    ]


async def _post(request: web.Request, members: Members) -> web.Response:
    only(request, ())
    user = str((await read_json(request, NewUser)).id)
    async with members.database.connection() as connection:
        created = await find_user(connection, members.client, user)
        is_new = created is None
        if created is None:
            at_ms = time.time_ns() // 1_000_000
            # This may be the user's first sight.
            async with members.cached.change(user):
                await members.changes.make(connection, EventKind.USER, user, at_ms=at_ms)
            created = await find_user(connection, members.client, user)
            assert created is not None
    return json_answer(
        {"id": user, "createdAt": format_time(unix_ms(created))},
        HTTPStatus.CREATED if is_new else HTTPStatus.OK,
        Location=f"/users/{quote(user, safe='')}",
    )


async def _get(request: web.Request, members: Members) -> web.Response:
    user = path_id(request, "id")
    only(request, ())
    async with members.database.connection() as connection:
        created = await find_user(connection, members.client, user)
    if created is None:
        raise Problem(ProblemCode.USER_NOT_FOUND, "no such user was made known")
    return json_answer({"id": user, "createdAt": format_time(unix_ms(created))})


async def _delete(request: web.Request, members: Members) -> web.Response:
    user = path_id(request, "id")
    only(request, ())
    at_ms = time.time_ns() // 1_000_000
    async with members.cached.change(user), members.database.connection() as connection:
        await members.changes.make(connection, EventKind.USER_DELETED, user, at_ms=at_ms)
        # The rest is invisible now; the history writer removes what is too much for one call.
        for _ in range(REMOVALS_AT_ONCE):
            if not await remove_leftovers(connection, members.client, user):
                break
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _rooms(request: web.Request, members: Members) -> web.Response:
    user = path_id(request, "id")
    only(request, ("limit", "cursor"))
    limit = limit_of(request)
    after = parameter(request, "cursor", cursor)
    async with members.database.connection() as connection:
        found = await memberships(
            connection, members.client, user, after=after.name if after else "", limit=limit + 1
        )
    shown = found[:limit]
    following = CursorPlace(0, shown[-1].room) if len(found) > limit else None
    return json_answer(
        {
            "rooms": [{"room": one.room, "joinedAt": format_time(one.joined_ms)} for one in shown],
            "nextCursor": cursor_text(following) if following else None,
        }
    )
