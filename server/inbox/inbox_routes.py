"""`/users/{id}/notifications`: a user's notifications, and marking them read."""

from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from common.events.event import EventKind
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.model.timestamps import format_time
from history.queries.inbox import Filters, InboxPlace, Item
from server.access.route_access import Access
from server.inbox.reader import Inbox
from server.web.answers import JsonModel, KindName, NextCursor, Time, json_answer
from server.web.guard import OF_STORES
from server.web.parameters import (
    CURSOR,
    LIMIT,
    PathParameter,
    flag_parameter,
    id_parameter,
    limit_of,
    next_cursor,
    time_parameter,
)
from server.web.route import Handler, Route, RouteAnswer, done, page_of

_encode = msgspec.json.Encoder().encode

_ROOT: Final = "/users/{id}/notifications"
_USER: Final = PathParameter("id", "The user.")
_NOTIFICATION: Final = PathParameter("nid", "The notification.")
_UNREAD: Final = flag_parameter("unread", "Only what is not read.")
_ARCHIVED: Final = flag_parameter("archived", "Only what is archived; else all but that.")
_OF_ROOM: Final = id_parameter("room", "Only what came to this room.")
_SINCE: Final = time_parameter("since", "Only what was created at this time or later.")


class InboxMarks(JsonModel):
    """Fields that the inbox adds to a notification."""

    read: bool
    read_at: Time | None
    archived: bool | UnsetType = UNSET


class InboxItem(InboxMarks, kw_only=True):
    """The frame exactly as sockets got it.

    `read` and `readAt` are behind it, and `archived` where it is true.
    """

    type: KindName
    id: str
    user_id: str
    target: str | None
    message: str | None
    data: dict[str, Any] | None
    priority: str
    created_at: Time
    channel: str
    epoch: str
    offset: int


class ListInboxResponse(JsonModel):
    """Page of an inbox."""

    notifications: list[InboxItem]
    next_cursor: NextCursor


class GetUnreadCountResponse(JsonModel):
    """Number of unread notifications."""

    count: int


class MarkAllReadResponse(JsonModel):
    """Number of notifications that were unread."""

    marked: int


async def _page(request: web.Request, inbox: Inbox) -> web.Response:
    user = _USER.of(request)
    filters = Filters(
        unread=_UNREAD.of(request) or False,
        room=_OF_ROOM.of(request),
        since=_SINCE.of(request),
        archived=_ARCHIVED.of(request) or False,
    )
    before = CURSOR.of(request)
    items, after = await inbox.page(
        user,
        filters,
        InboxPlace(*before) if before else None,
        limit_of(request),
    )
    found = cast("list[InboxItem]", [msgspec.Raw(item_text(item)) for item in items])
    return json_answer(ListInboxResponse(notifications=found, next_cursor=next_cursor(after)))


def item_text(item: Item) -> bytes:
    """Make the JSON of an item, an `InboxItem`."""
    # The frame's bytes are passed on as they were sent; only the inbox's own fields are added.
    if item.read_ms is None and not item.archived:
        return item.frame[:-1] + _UNREAD_END
    return item.frame[:-1] + _end(item.read_ms, archived=item.archived)


def _end(read_ms: int | None, *, archived: bool) -> bytes:
    marks = InboxMarks(
        read=read_ms is not None,
        read_at=None if read_ms is None else format_time(read_ms),
        archived=True if archived else UNSET,
    )
    return b"," + _encode(marks)[1:]


_UNREAD_END: Final = _end(None, archived=False)


async def _unread_count(request: web.Request, inbox: Inbox) -> web.Response:
    count = await inbox.unread_count(_USER.of(request))
    return json_answer(GetUnreadCountResponse(count=count))


async def _read(request: web.Request, inbox: Inbox) -> web.Response:
    if not await inbox.mark_read(_USER.of(request), _NOTIFICATION.of(request)):
        raise _not_in_inbox()
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _changing(kind: EventKind) -> Handler[Inbox]:
    async def change(request: web.Request, inbox: Inbox) -> web.Response:
        if not await inbox.change_item(_USER.of(request), _NOTIFICATION.of(request), kind):
            raise _not_in_inbox()
        return web.Response(status=HTTPStatus.NO_CONTENT)

    return change


def _not_in_inbox() -> Problem:
    return Problem(ProblemCode.NOT_IN_INBOX, "the user's inbox has no such notification")


async def _read_all(request: web.Request, inbox: Inbox) -> web.Response:
    marked = await inbox.mark_all_read(_USER.of(request))
    return json_answer(MarkAllReadResponse(marked=marked))


def _marking(
    path: str,
    name: str,
    summary: str,
    outcome: str,
    handler: Handler[Inbox],
    *errors: ProblemCode,
) -> Route[Inbox]:
    return Route(
        method="POST",
        path=f"{_ROOT}/{{nid}}/{path}",
        access=Access.INBOX,
        handler=handler,
        name=name,
        tag="inbox",
        summary=f"{summary}; the user's sockets are told",
        parameters=(_USER, _NOTIFICATION),
        answers=done(outcome),
        errors=(*OF_STORES, ProblemCode.NOT_IN_INBOX, *errors),
    )


ROUTES: Final[tuple[Route[Inbox], ...]] = (
    Route(
        method="GET",
        path=_ROOT,
        access=Access.INBOX,
        handler=_page,
        name="listInbox",
        tag="inbox",
        summary="A user's inbox: private ones, those of their rooms, broadcasts since their first "
        "sight; newest first",
        parameters=(_USER, LIMIT, CURSOR, _UNREAD, _ARCHIVED, _OF_ROOM, _SINCE),
        answers=page_of(ListInboxResponse),
        errors=OF_STORES,
    ),
    Route(
        method="GET",
        path=f"{_ROOT}/unread-count",
        access=Access.INBOX,
        handler=_unread_count,
        name="getUnreadCount",
        tag="inbox",
        summary="How many notifications of a user's inbox are not read",
        parameters=(_USER,),
        answers=(RouteAnswer(HTTPStatus.OK, "The number.", GetUnreadCountResponse),),
        errors=OF_STORES,
    ),
    Route(
        method="POST",
        path=f"{_ROOT}/read-all",
        access=Access.INBOX,
        handler=_read_all,
        name="markAllRead",
        tag="inbox",
        summary="Mark everything read that was published until now",
        parameters=(_USER,),
        answers=(RouteAnswer(HTTPStatus.OK, "How many were unread.", MarkAllReadResponse),),
        errors=(*OF_STORES, ProblemCode.EVENTS_FILLING),
    ),
    _marking(
        "read",
        "markRead",
        "Mark a notification read",
        "It is read.",
        _read,
        ProblemCode.EVENTS_FILLING,
    ),
    _marking(
        "unread",
        "markUnread",
        "Mark a notification unread",
        "It is done.",
        _changing(EventKind.UNREAD),
    ),
    _marking(
        "archive",
        "archiveNotification",
        "Put a notification away",
        "It is done.",
        _changing(EventKind.ARCHIVED),
    ),
    _marking(
        "unarchive",
        "unarchiveNotification",
        "Take a notification out of the archive",
        "It is done.",
        _changing(EventKind.UNARCHIVED),
    ),
)
