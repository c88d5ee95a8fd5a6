"""`/audit`: actions on clients and their actors."""

from typing import Any, Final

from aiohttp import web

from history.queries import clients as queries
from history.queries.clients import AuditEvent
from server.clients.context import Context, Route, own, time_text
from server.web.answers import json_answer
from server.web.parameters import CursorPlace, cursor, cursor_text, limit_of, only, parameter


async def _own_audit(request: web.Request, context: Context) -> web.Response:
    return await _audit_page(request, context, own(request))


async def _audit(request: web.Request, context: Context) -> web.Response:
    return await _audit_page(request, context, None)


async def _audit_page(request: web.Request, context: Context, subject: str | None) -> web.Response:
    only(request, ("limit", "cursor"))
    limit = limit_of(request)
    at = parameter(request, "cursor", cursor)
    async with context.clients.database.connection() as connection:
        found = await queries.list_audit(connection, subject, at.ms if at else None, limit + 1)
    shown = found[:limit]
    return json_answer(
        {
            "events": [_audit_event(one) for one in shown],
            "nextCursor": cursor_text(CursorPlace(shown[-1].number, ""))
            if len(found) > limit
            else None,
        }
    )


def _audit_event(one: AuditEvent) -> dict[str, Any]:
    return {
        "at": time_text(one.at),
        "action": one.action,
        "subject": one.subject,
        "byClient": one.actor.client or None,
        "byKey": one.actor.key or None,
        "details": one.details,
    }


ROUTES: Final[list[Route]] = [
    ("GET", "/clients/me/audit", _own_audit),
    ("GET", "/audit", _audit),
]
