"""`/audit`: actions on clients and their actors."""

from typing import Any, Final

from aiohttp import web

from history.queries import clients as queries
from history.queries.clients import AuditEvent
from server.access.route_access import Access
from server.clients.context import Context, own, time_text
from server.web.answers import JsonModel, NextCursor, Time, json_answer
from server.web.guard import OF_STORES
from server.web.parameters import CURSOR, LIMIT, limit_of, next_cursor
from server.web.route import Route, page_of


class AuditEventJson(JsonModel):
    """Action on a client, and its actor."""

    at: Time
    action: str
    subject: str
    by_client: str | None
    by_key: str | None
    details: dict[str, Any]


class ListAuditResponse(JsonModel):
    """Page of the audit log."""

    events: list[AuditEventJson]
    next_cursor: NextCursor


class ListOwnAuditResponse(ListAuditResponse):
    """Page of the audit log of one client."""


async def _own_audit(request: web.Request, context: Context) -> web.Response:
    return json_answer(ListOwnAuditResponse(*await _audit_page(request, context, own(request))))


async def _audit(request: web.Request, context: Context) -> web.Response:
    return json_answer(ListAuditResponse(*await _audit_page(request, context, None)))


async def _audit_page(
    request: web.Request, context: Context, subject: str | None
) -> tuple[list[AuditEventJson], str | None]:
    limit, at = limit_of(request), CURSOR.of(request)
    async with context.clients.database.connection() as connection:
        found = await queries.list_audit(connection, subject, at.ms if at else None, limit + 1)
    shown = found[:limit]
    following = (shown[-1].number, "") if len(found) > limit else None
    return [_audit_event(one) for one in shown], next_cursor(following)


def _audit_event(one: AuditEvent) -> AuditEventJson:
    return AuditEventJson(
        at=time_text(one.at),
        action=one.action,
        subject=one.subject,
        by_client=one.actor.client or None,
        by_key=one.actor.key or None,
        details=one.details,
    )


ROUTES: Final[tuple[Route[Context], ...]] = (
    Route(
        method="GET",
        path="/clients/me/audit",
        access=Access.ADMIN,
        handler=_own_audit,
        name="listOwnAudit",
        tag="clients",
        summary="What was done about this client, newest first",
        parameters=(LIMIT, CURSOR),
        answers=page_of(ListOwnAuditResponse),
        errors=OF_STORES,
    ),
    Route(
        method="GET",
        path="/audit",
        access=Access.OPERATOR,
        handler=_audit,
        name="listAudit",
        tag="clients",
        summary="What was done about all clients, newest first",
        parameters=(LIMIT, CURSOR),
        answers=page_of(ListAuditResponse),
        errors=OF_STORES,
    ),
)
