"""`/rooms/{id}/members`: members of a room, and when they joined."""

import time
from http import HTTPStatus
from typing import Final

from aiohttp import web

from common.events.event import EventKind
from common.model.timestamps import format_time
from history.queries import room_members
from server.access.route_access import Access
from server.members.context import Members
from server.web.answers import JsonModel, NextCursor, Time, json_answer
from server.web.guard import OF_STORES
from server.web.parameters import CURSOR, LIMIT, PathParameter, limit_of, next_cursor
from server.web.route import Route, done, page_of

_ROOM: Final = PathParameter("id", "The room.")
_USER: Final = PathParameter("user", "The user.")


class MemberJson(JsonModel):
    """Member of a room."""

    user_id: str
    joined_at: Time


class ListMembersResponse(JsonModel):
    """Page of a room's members."""

    members: list[MemberJson]
    next_cursor: NextCursor


async def _put(request: web.Request, members: Members) -> web.Response:
    return await _change(request, members, EventKind.MEMBER_JOINED)


async def _delete(request: web.Request, members: Members) -> web.Response:
    return await _change(request, members, EventKind.MEMBER_LEFT)


async def _change(request: web.Request, members: Members, kind: EventKind) -> web.Response:
    room, user = _ROOM.of(request), _USER.of(request)
    # By the clock that stamps accepted notifications, not PostgreSQL's.
    at_ms = time.time_ns() // 1_000_000
    async with members.cached.change(user), members.database.connection() as connection:
        await members.changes.make(connection, kind, user, at_ms=at_ms, room=room)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _members(request: web.Request, members: Members) -> web.Response:
    room, limit, after = _ROOM.of(request), limit_of(request), CURSOR.of(request)
    async with members.database.connection() as connection:
        found = await room_members.members(
            connection,
            members.client,
            room,
            after=room_members.RoomMember(after.name, after.ms) if after else None,
            limit=limit + 1,
        )
    shown = found[:limit]
    following = (shown[-1].joined_ms, shown[-1].user) if len(found) > limit else None
    return json_answer(
        ListMembersResponse(
            members=[
                MemberJson(user_id=member.user, joined_at=format_time(member.joined_ms))
                for member in shown
            ],
            next_cursor=next_cursor(following),
        )
    )


ROUTES: Final[tuple[Route[Members], ...]] = (
    Route(
        method="GET",
        path="/rooms/{id}/members",
        access=Access.READ,
        handler=_members,
        name="listMembers",
        tag="rooms",
        summary="Members of a room in the order in which they joined",
        parameters=(_ROOM, LIMIT, CURSOR),
        answers=page_of(ListMembersResponse),
        errors=OF_STORES,
    ),
    Route(
        method="PUT",
        path="/rooms/{id}/members/{user}",
        access=Access.NOTIFY,
        handler=_put,
        name="addMember",
        tag="rooms",
        summary="Make a user a member: their inbox has what comes to the room from now on",
        parameters=(_ROOM, _USER),
        answers=done("They are a member."),
        errors=OF_STORES,
    ),
    Route(
        method="DELETE",
        path="/rooms/{id}/members/{user}",
        access=Access.NOTIFY,
        handler=_delete,
        name="removeMember",
        tag="rooms",
        summary="End a membership",
        parameters=(_ROOM, _USER),
        answers=done("They are no member."),
        errors=OF_STORES,
    ),
)
