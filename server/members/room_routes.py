"""`/rooms/{id}/members`: members of a room, and when they joined."""

import time

from aiohttp import web

from common.events.event import EventKind
from common.model.timestamps import format_time
from history.queries import room_members
from server.members.context import Members
from server.web.answers import json_answer
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


def room_routes() -> list[Route[Members]]:
    """Make the routes of rooms."""
    return [
        ("GET", "/rooms/{id}/members", _members),
        ("PUT", "/rooms/{id}/members/{user}", _put),
        ("DELETE", "/rooms/{id}/members/{user}", _delete),
    ]


async def _put(request: web.Request, members: Members) -> web.Response:
    room, user = path_id(request, "id"), path_id(request, "user")
    only(request, ())
    await _change(members, EventKind.MEMBER_JOINED, room, user)
    return web.Response(status=204)


async def _delete(request: web.Request, members: Members) -> web.Response:
    room, user = path_id(request, "id"), path_id(request, "user")
    only(request, ())
    await _change(members, EventKind.MEMBER_LEFT, room, user)
    return web.Response(status=204)


async def _change(members: Members, kind: EventKind, room: str, user: str) -> None:
    # By the clock that stamps accepted notifications, not PostgreSQL's.
    at_ms = time.time_ns() // 1_000_000
    async with members.cached.change(user), members.database.connection() as connection:
        await members.changes.make(connection, kind, user, at_ms=at_ms, room=room)


async def _members(request: web.Request, members: Members) -> web.Response:
    room = path_id(request, "id")
    only(request, ("limit", "cursor"))
    limit = limit_of(request)
    after = parameter(request, "cursor", cursor)
    async with members.database.connection() as connection:
        found = await room_members.members(
            connection,
            members.client,
            room,
            after=room_members.RoomMember(after.name, after.ms) if after else None,
            limit=limit + 1,
        )
    shown = found[:limit]
    following = CursorPlace(shown[-1].joined_ms, shown[-1].user) if len(found) > limit else None
    return json_answer(
        {
            "members": [
                {"userId": member.user, "joinedAt": format_time(member.joined_ms)}
                for member in shown
            ],
            "nextCursor": cursor_text(following) if following else None,
        }
    )
