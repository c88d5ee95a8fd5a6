"""`GET /notifications/{id}`: status of one notification, with times."""

from typing import Any, Final

import msgspec
from aiohttp import web

from common.events.event import EventKind
from common.model.channels import kind_and_target
from common.model.ids import made_at_ms
from common.model.job import Job
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.model.timestamps import format_time, unix_ms
from history.queries import notification_status, notifications
from history.queries.notification_status import (
    MirrorRecord,
    PublicationRecord,
    ReceiptRecord,
    Writes,
)
from server.notifications.context import SentNotifications
from server.notifications.unwritten_events import (
    ExpiredText,
    LateEvents,
    PublishedText,
    decode_dead,
    decode_expired,
    decode_published,
)
from server.notifications.waiting_jobs import QueuedJobs
from server.web.answers import json_answer
from server.web.guard import Route
from server.web.parameters import (
    CursorPlace,
    cursor,
    cursor_text,
    limit_of,
    one_of,
    only,
    parameter,
    path_id,
)

_EARLIER_MS: Final = 1_000


def story_routes() -> list[Route[SentNotifications]]:
    """Make the route of a notification's status."""
    return [("GET", "/notifications/{id}", _story)]


async def _story(request: web.Request, context: SentNotifications) -> web.Response:
    notification = path_id(request, "id")
    only(request, ("receipts", "limit", "cursor"))
    kind = parameter(request, "receipts", one_of("delivered", "read"))
    after = parameter(request, "cursor", cursor)
    limit = limit_of(request)
    late = LateEvents(context.redis, context.keys, context.client)
    # Read before the database is: events written meanwhile are then looked for in both.
    written = await late.position()
    # Waiting jobs are read first: one that is published meanwhile is then found there as well.
    waiting = await QueuedJobs(context.redis, context.keys, context.client).find(notification)
    async with context.database.snapshot() as connection:
        published = await notification_status.publications(connection, context.client, notification)
        writes = await notification_status.writes(connection, context.client, published)
        mirrors = await notification_status.mirrors(connection, context.client, published)
        letters = await notifications.dead_letters_of(connection, context.client, notification)
        counts = await notification_status.receipt_counts(connection, context.client, notification)
        names = (
            await notification_status.receipts(
                connection,
                context.client,
                notification,
                kind,
                after=ReceiptRecord(after.name, after.ms) if after else None,
                limit=limit + 1,
            )
            if kind
            else []
        )
    channels = [
        _channel(one, writes.get(_place(one), []), mirrors.get(_place(one), []))
        for one in published
    ]
    dead = [{"reason": one.reason, "at": format_time(one.at_ms)} for one in letters]
    head = _head(published, waiting)
    if not channels and not dead:
        head_of_late, channels, dead = await _late(late, written, notification)
        head = head or head_of_late
    if not channels and not dead and not waiting:
        raise Problem(ProblemCode.NOTIFICATION_NOT_FOUND, "no such notification is known")
    body = {
        "id": notification,
        "status": _status(channels, dead, waiting),
        **(head or _UNKNOWN_HEAD),
        "waiting": sum(len(job.targets or ("",)) for job in waiting),
        "channels": channels,
        "dead": dead,
        "receipts": counts,
    }
    if kind:
        shown = names[:limit]
        more = len(names) > limit
        body["names"] = [{"userId": one.user, "at": format_time(one.at_ms)} for one in shown]
        body["nextCursor"] = (
            cursor_text(CursorPlace(shown[-1].at_ms, shown[-1].user)) if more else None
        )
    return json_answer(body)


_UNKNOWN_HEAD: Final[dict[str, Any]] = {
    "type": None,
    "userId": None,
    "priority": None,
    "acceptedAt": None,
}


def _place(one: PublicationRecord) -> tuple[str, str, int]:
    return one.channel, one.epoch, one.offset


def _status(channels: list[dict[str, Any]], dead: list[Any], waiting: list[Job]) -> str:
    if any(channel["status"] == "published" for channel in channels):
        return "published"
    if waiting:
        return "queued"
    return "expired" if channels else "dead"


def _head(published: list[PublicationRecord], waiting: list[Job]) -> dict[str, Any] | None:
    if published:
        one = max(published, key=lambda each: each.status == "published")
        return {
            "type": one.kind,
            "userId": one.sender or None,
            "priority": one.priority or None,
            "acceptedAt": format_time(one.created_ms),
        }
    if waiting:
        job = waiting[0]
        return {
            "type": job.type,
            "userId": job.user_id,
            "priority": job.priority,
            "acceptedAt": job.created_at,
        }
    return None


def _channel(
    one: PublicationRecord, writes: list[Writes], mirrors: list[MirrorRecord]
) -> dict[str, Any]:
    if one.status == "expired":
        return _expired_channel(one.channel, format_time(one.published_ms), one.worker)
    return {
        **_published_channel(
            one.channel, one.epoch, one.offset, format_time(one.published_ms), one.worker
        ),
        "sockets": sum(each.sockets for each in writes),
        "gateways": [
            {
                "gateway": each.gateway,
                "sockets": each.sockets,
                "reportedAt": format_time(each.at_ms),
            }
            for each in writes
        ],
        "mirrors": [
            {
                "topic": each.topic,
                "partition": each.partition,
                "offset": each.offset,
                "mirroredAt": format_time(each.at_ms),
            }
            for each in mirrors
        ],
    }


def _published_channel(
    channel: str, epoch: str, offset: int, at: str, worker: str
) -> dict[str, Any]:
    return {
        "channel": channel,
        "status": "published",
        "epoch": epoch,
        "offset": offset,
        "publishedAt": at,
        "worker": worker,
        "sockets": 0,
        "gateways": [],
        "mirrors": [],
    }


def _expired_channel(channel: str, at: str, worker: str) -> dict[str, Any]:
    return {
        "channel": channel,
        "status": "expired",
        "reason": "expiresAt had passed before it could be published",
        "expiredAt": at,
        "worker": worker,
    }


async def _late(
    late: LateEvents, written: str | None, notification: str
) -> tuple[dict[str, Any] | None, list[dict[str, Any]], list[dict[str, Any]]]:
    """Read head, channels and dead letters from events that the database lacks yet."""
    made = made_at_ms(notification)
    since_ms = None if made is None else made - _EARLIER_MS
    head: dict[str, Any] | None = None
    channels: list[dict[str, Any]] = []
    dead: list[dict[str, Any]] = []
    text = notification.encode()
    async for event in late.mentioning(text, since_ms=since_ms, after=written):
        at = format_time(event.at_ms)
        channel = event.channel.partition("/")[2]
        try:
            if event.kind == EventKind.PUBLISHED:
                frame = decode_published(event.text)
                if frame.id == notification:
                    channels.append(
                        _published_channel(channel, frame.epoch, frame.offset, at, event.writer)
                    )
                    head = _late_head(frame.type, frame)
            elif event.kind == EventKind.EXPIRED:
                one = decode_expired(event.text)
                if one.id == notification:
                    channels.append(_expired_channel(channel, at, event.writer))
                    head = head or _late_head(kind_and_target(channel)[0], one)
            elif event.kind == EventKind.DEAD and decode_dead(event.text).id == notification:
                dead.append({"reason": event.extra.decode(errors="replace"), "at": at})
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # Somebody else wrote it; the history writer counts and logs such events.
            continue
    return head, channels, dead


def _late_head(kind: str, said: PublishedText | ExpiredText) -> dict[str, Any]:
    return {
        "type": kind,
        "userId": said.user_id or None,
        "priority": said.priority or None,
        "acceptedAt": format_time(unix_ms(said.created_at)),
    }
