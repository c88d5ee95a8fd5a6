"""`GET /notifications/{id}`: status of one notification, with times."""

from http import HTTPStatus
from typing import Annotated, Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from common.events.event import EventKind
from common.events.payloads import (
    Expired,
    Published,
    decode_dead,
    decode_expired,
    decode_published,
    moment,
)
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
from server.access.route_access import Access
from server.notifications.context import SentNotifications
from server.notifications.list_routes import Status
from server.notifications.unwritten_events import Positions, UnwrittenEvents
from server.notifications.waiting_jobs import QueuedJobs
from server.web.answers import JsonModel, NextCursor, Time, json_answer
from server.web.guard import OF_STORES
from server.web.parameters import (
    CURSOR,
    LIMIT,
    PathParameter,
    choice_parameter,
    limit_of,
    next_cursor,
)
from server.web.route import Route, RouteAnswer

_EARLIER_MS: Final = 1_000
_NOTIFICATION: Final = PathParameter("id", "The notification.")
_RECEIPTS: Final = choice_parameter(
    "receipts", "Also who got it, or who read it, in pages.", ("delivered", "read")
)


class StoryPublishedGatewaysItem(JsonModel):
    """Report of one gateway."""

    gateway: str
    sockets: int
    reported_at: Time


class StoryPublishedMirrorsItem(JsonModel):
    """Place of a publication in Kafka."""

    topic: str
    partition: int
    offset: int
    mirrored_at: Time


class StoryPublished(JsonModel, tag_field="status", tag="published"):
    """It was published in a channel."""

    channel: str
    epoch: str
    offset: int
    published_at: Time
    worker: str
    sockets: Annotated[int, Meta(description="How many it was written to.")]
    gateways: list[StoryPublishedGatewaysItem]
    mirrors: list[StoryPublishedMirrorsItem]


class StoryExpired(JsonModel, tag_field="status", tag="expired"):
    """It expired before it was published in a channel."""

    channel: str
    reason: str
    expired_at: Time
    worker: str


StoryChannel = Annotated[
    StoryPublished | StoryExpired,
    Meta(title="StoryChannel", description="What became of the notification in one channel."),
]


class StoryDeadItem(JsonModel):
    """Dead letter with a part of the notification."""

    reason: str
    at: Time


class StoryReceipts(JsonModel):
    """Numbers of users who received and read the notification."""

    delivered: int
    read: int


class StoryNamesItem(JsonModel):
    """User who received or read the notification."""

    user_id: str
    at: Time


class Story(JsonModel):
    """Status of a notification, with its channels, dead letters and receipts."""

    id: str
    status: Status
    type: str | None
    user_id: str | None
    priority: str | None
    accepted_at: Time | None
    waiting: Annotated[int, Meta(description="Targets for which it still waits.")]
    channels: list[StoryChannel]
    dead: list[StoryDeadItem]
    receipts: StoryReceipts
    names: list[StoryNamesItem] | UnsetType = UNSET
    next_cursor: NextCursor | UnsetType = UNSET


class _Origin(NamedTuple):
    """Fields of a story that its notification came with."""

    type: str | None = None
    user_id: str | None = None
    priority: str | None = None
    accepted_at: str | None = None


async def _story(request: web.Request, context: SentNotifications) -> web.Response:
    notification = _NOTIFICATION.of(request)
    kind, after, limit = _RECEIPTS.of(request), CURSOR.of(request), limit_of(request)
    events = UnwrittenEvents(context.redis, context.shards, context.client)
    # Read before the database is: events written meanwhile are then looked for in both.
    written = await events.positions()
    # Waiting jobs are read first: one that is published meanwhile is then found there as well.
    waiting = await QueuedJobs(context.redis, context.shards, context.client).find(notification)
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
    channels: list[StoryPublished | StoryExpired] = [
        _channel(one, writes.get(_place(one), []), mirrors.get(_place(one), []))
        for one in published
    ]
    dead = [StoryDeadItem(reason=one.reason, at=format_time(one.at_ms)) for one in letters]
    head = _head(published, waiting)
    if not channels and not dead:
        unwritten_head, channels, dead = await _unwritten(events, written, notification)
        head = head or unwritten_head
    if not channels and not dead and not waiting:
        raise Problem(ProblemCode.NOTIFICATION_NOT_FOUND, "no such notification is known")
    origin = head or _Origin()
    story = Story(
        id=notification,
        status=_status(channels, dead, waiting),
        type=origin.type,
        user_id=origin.user_id,
        priority=origin.priority,
        accepted_at=origin.accepted_at,
        waiting=sum(len(job.targets or ("",)) for job in waiting),
        channels=channels,
        dead=dead,
        receipts=StoryReceipts(delivered=counts["delivered"], read=counts["read"]),
    )
    if kind:
        shown = names[:limit]
        story.names = [StoryNamesItem(user_id=one.user, at=format_time(one.at_ms)) for one in shown]
        following = (shown[-1].at_ms, shown[-1].user) if len(names) > limit else None
        story.next_cursor = next_cursor(following)
    return json_answer(story)


def _place(one: PublicationRecord) -> tuple[str, str, int]:
    return one.channel, one.epoch, one.offset


def _status(
    channels: list[StoryPublished | StoryExpired], dead: list[StoryDeadItem], waiting: list[Job]
) -> str:
    if any(isinstance(channel, StoryPublished) for channel in channels):
        return "published"
    if waiting:
        return "queued"
    return "expired" if channels else "dead"


def _head(published: list[PublicationRecord], waiting: list[Job]) -> _Origin | None:
    if published:
        one = max(published, key=lambda each: each.status == "published")
        return _Origin(
            one.kind, one.sender or None, one.priority or None, format_time(one.created_ms)
        )
    if waiting:
        job = waiting[0]
        return _Origin(job.type, job.user_id, job.priority, job.created_at)
    return None


def _channel(
    one: PublicationRecord, writes: list[Writes], mirrors: list[MirrorRecord]
) -> StoryPublished | StoryExpired:
    at = format_time(one.published_ms)
    if one.status == "expired":
        return _expired_channel(one.channel, at, one.worker)
    return StoryPublished(
        channel=one.channel,
        epoch=one.epoch,
        offset=one.offset,
        published_at=at,
        worker=one.worker,
        sockets=sum(each.sockets for each in writes),
        gateways=[
            StoryPublishedGatewaysItem(
                gateway=each.gateway, sockets=each.sockets, reported_at=format_time(each.at_ms)
            )
            for each in writes
        ],
        mirrors=[
            StoryPublishedMirrorsItem(
                topic=each.topic,
                partition=each.partition,
                offset=each.offset,
                mirrored_at=format_time(each.at_ms),
            )
            for each in mirrors
        ],
    )


def _expired_channel(channel: str, at: str, worker: str) -> StoryExpired:
    return StoryExpired(
        channel=channel,
        reason="expiresAt had passed before it could be published",
        expired_at=at,
        worker=worker,
    )


async def _unwritten(
    events: UnwrittenEvents, written: Positions, notification: str
) -> tuple[_Origin | None, list[StoryPublished | StoryExpired], list[StoryDeadItem]]:
    """Read head, channels and dead letters from events that the database lacks yet."""
    made = made_at_ms(notification)
    since_ms = None if made is None else made - _EARLIER_MS
    head: _Origin | None = None
    channels: list[StoryPublished | StoryExpired] = []
    dead: list[StoryDeadItem] = []
    text = notification.encode()
    async for event in events.mentioning(text, since_ms=since_ms, after=written):
        at = format_time(event.at_ms)
        channel = event.channel.partition("/")[2]
        try:
            if event.kind == EventKind.PUBLISHED:
                frame = decode_published(event.text)
                if frame.id == notification:
                    head = _unwritten_head(frame.type, frame)
                    channels.append(
                        StoryPublished(
                            channel=channel,
                            epoch=frame.epoch,
                            offset=frame.offset,
                            published_at=at,
                            worker=event.writer,
                            sockets=0,
                            gateways=[],
                            mirrors=[],
                        )
                    )
            elif event.kind == EventKind.EXPIRED:
                one = decode_expired(event.text)
                if one.id == notification:
                    own = _unwritten_head(kind_and_target(channel)[0], one)
                    channels.append(_expired_channel(channel, at, event.writer))
                    head = head or own
            elif event.kind == EventKind.DEAD and decode_dead(event.text).id == notification:
                dead.append(StoryDeadItem(reason=event.extra.decode(errors="replace"), at=at))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # Somebody else wrote it; the history writer counts and logs such events.
            continue
    return head, channels, dead


def _unwritten_head(kind: str, said: Published | Expired) -> _Origin:
    return _Origin(
        kind,
        said.user_id or None,
        said.priority or None,
        format_time(unix_ms(moment(said.created_at))),
    )


ROUTES: Final[tuple[Route[SentNotifications], ...]] = (
    Route(
        method="GET",
        path="/notifications/{id}",
        access=Access.READ,
        handler=_story,
        name="getStory",
        tag="notifications",
        summary="What became of a notification",
        parameters=(_NOTIFICATION, _RECEIPTS, LIMIT, CURSOR),
        answers=(RouteAnswer(HTTPStatus.OK, "Its story.", Story),),
        errors=(*OF_STORES, ProblemCode.NOTIFICATION_NOT_FOUND),
    ),
)
