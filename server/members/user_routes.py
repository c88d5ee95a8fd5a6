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
from server.access.route_access import Access
from server.members.context import Members
from server.web.answers import JsonModel, NextCursor, Time, json_answer
from server.web.bodies import read_json
from server.web.guard import OF_STORES
from server.web.parameters import CURSOR, LIMIT, PathParameter, limit_of, next_cursor
from server.web.route import Route, RouteAnswer, done, page_of

REMOVALS_AT_ONCE: Final = 4
_USER: Final = PathParameter("id", "The user.")


class NewUser(BaseModel):
    """Body of `POST /users`."""

    model_config = ConfigDict(extra="forbid")

    id: Id


class User(JsonModel):
    """User who was made known."""

    id: str
    created_at: Time


class MembershipJson(JsonModel):
    """Room that a user is a member of."""

    room: str
    joined_at: Time


class ListRoomsResponse(JsonModel):
    """Page of a user's rooms."""

    rooms: list[MembershipJson]
    next_cursor: NextCursor


async def _post(request: web.Request, members: Members) -> web.Response:
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
        User(id=user, created_at=format_time(unix_ms(created))),
        HTTPStatus.CREATED if is_new else HTTPStatus.OK,
        Location=f"/users/{quote(user, safe='')}",
    )


async def _get(request: web.Request, members: Members) -> web.Response:
    user = _USER.of(request)
    async with members.database.connection() as connection:
        created = await find_user(connection, members.client, user)
    if created is None:
        raise Problem(ProblemCode.USER_NOT_FOUND, "no such user was made known")
    return json_answer(User(id=user, created_at=format_time(unix_ms(created))))


async def _delete(request: web.Request, members: Members) -> web.Response:
    user = _USER.of(request)
    at_ms = time.time_ns() // 1_000_000
    async with members.cached.change(user), members.database.connection() as connection:
        await members.changes.make(connection, EventKind.USER_DELETED, user, at_ms=at_ms)
        # The rest is invisible now; the history writer removes what is too much for one call.
        for _ in range(REMOVALS_AT_ONCE):
            if not await remove_leftovers(connection, members.client, user):
                break
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _rooms(request: web.Request, members: Members) -> web.Response:
    user, limit, after = _USER.of(request), limit_of(request), CURSOR.of(request)
    async with members.database.connection() as connection:
        found = await memberships(
            connection, members.client, user, after=after.name if after else "", limit=limit + 1
        )
    shown = found[:limit]
    return json_answer(
        ListRoomsResponse(
            rooms=[
                MembershipJson(room=one.room, joined_at=format_time(one.joined_ms)) for one in shown
            ],
            next_cursor=next_cursor((0, shown[-1].room) if len(found) > limit else None),
        )
    )


ROUTES: Final[tuple[Route[Members], ...]] = (
    Route(
        method="POST",
        path="/users",
        access=Access.NOTIFY,
        handler=_post,
        name="addUser",
        tag="users",
        summary="Make a user known",
        body=NewUser,
        examples={"user": {"id": "ann"}},
        answers=(
            RouteAnswer(HTTPStatus.OK, "The user was known.", User),
            RouteAnswer(HTTPStatus.CREATED, "The user is known now.", User),
        ),
        errors=OF_STORES,
    ),
    Route(
        method="GET",
        path="/users/{id}",
        access=Access.READ,
        handler=_get,
        name="getUser",
        tag="users",
        summary="A user who was made known",
        parameters=(_USER,),
        answers=(RouteAnswer(HTTPStatus.OK, "The user.", User),),
        errors=(*OF_STORES, ProblemCode.USER_NOT_FOUND),
    ),
    Route(
        method="DELETE",
        path="/users/{id}",
        access=Access.MINT,
        handler=_delete,
        name="deleteUser",
        tag="users",
        summary="Remove a user with inbox, receipts and memberships; their sockets are closed",
        parameters=(_USER,),
        answers=done("They are gone."),
        errors=OF_STORES,
    ),
    Route(
        method="GET",
        path="/users/{id}/rooms",
        access=Access.READ,
        handler=_rooms,
        name="listRooms",
        tag="users",
        summary="Rooms that a user is a member of, by id",
        parameters=(_USER, LIMIT, CURSOR),
        answers=page_of(ListRoomsResponse),
        errors=OF_STORES,
    ),
)
