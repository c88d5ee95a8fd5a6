"""`/users/{id}/notifications`: a user's notifications, and marking them read."""

from http import HTTPStatus

import msgspec
from aiohttp import web

from common.events.event import EventKind
from common.model.ids import identifier
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.model.timestamps import format_time
from history.queries.inbox import Filters, InboxPlace, Item
from server.inbox.reader import Inbox
from server.web.answers import json_answer
from server.web.guard import HistoryHandler, Route
from server.web.parameters import (
    CursorPlace,
    cursor,
    cursor_text,
    flag,
    limit_of,
    moment,
    only,
    parameter,
    path_id,
)

_encode = msgspec.json.Encoder().encode


def inbox_routes() -> list[Route[Inbox]]:
    """Make the routes of inboxes."""
    root = "/users/{id}/notifications"
    return [
        ("GET", root, _page),
        ("GET", f"{root}/unread-count", _unread_count),
        ("POST", f"{root}/read-all", _read_all),
        ("POST", f"{root}/{{nid}}/read", _read),
        ("POST", f"{root}/{{nid}}/unread", _changing(EventKind.UNREAD)),
        ("POST", f"{root}/{{nid}}/archive", _changing(EventKind.ARCHIVED)),
        ("POST", f"{root}/{{nid}}/unarchive", _changing(EventKind.UNARCHIVED)),
    ]


async def _page(request: web.Request, inbox: Inbox) -> web.Response:
    user = path_id(request, "id")
    only(request, ("limit", "cursor", "unread", "archived", "room", "since"))
    filters = Filters(
        unread=parameter(request, "unread", flag) or False,
        room=parameter(request, "room", identifier),
        since=parameter(request, "since", moment),
        archived=parameter(request, "archived", flag) or False,
    )
    before = parameter(request, "cursor", cursor)
    items, after = await inbox.page(
        user,
        filters,
        InboxPlace(*before) if before else None,
        limit_of(request),
    )
    following = None if after is None else cursor_text(CursorPlace(*after))
    body = b'{"notifications":[%b],"nextCursor":%b}' % (
        b",".join(map(_item_text, items)),
        _encode(following),
    )
    return web.Response(body=body, content_type="application/json")


def _item_text(item: Item) -> bytes:
    # The frame's bytes are passed on as they were sent; only the inbox's own fields are added.
    end = b',"archived":true}' if item.archived else b"}"
    if item.read_ms is None:
        return item.frame[:-1] + b',"read":false,"readAt":null' + end
    read_at = format_time(item.read_ms).encode()
    return item.frame[:-1] + b',"read":true,"readAt":"%b"' % read_at + end


async def _unread_count(request: web.Request, inbox: Inbox) -> web.Response:
    only(request, ())
    return json_answer({"count": await inbox.unread_count(path_id(request, "id"))})


async def _read(request: web.Request, inbox: Inbox) -> web.Response:
    user, notification = path_id(request, "id"), path_id(request, "nid")
    only(request, ())
    if not await inbox.mark_read(user, notification):
        raise Problem(ProblemCode.NOT_IN_INBOX, "the user's inbox has no such notification")
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _changing(kind: EventKind) -> HistoryHandler[Inbox]:
    async def change(request: web.Request, inbox: Inbox) -> web.Response:
        user, notification = path_id(request, "id"), path_id(request, "nid")
        only(request, ())
        if not await inbox.change_item(user, notification, kind):
            raise Problem(ProblemCode.NOT_IN_INBOX, "the user's inbox has no such notification")
        return web.Response(status=HTTPStatus.NO_CONTENT)

    return change


async def _read_all(request: web.Request, inbox: Inbox) -> web.Response:
    user = path_id(request, "id")
    only(request, ())
    return json_answer({"marked": await inbox.mark_all_read(user)})
