"""`GET /notifications`: sent notifications, newest first."""

import heapq
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from common.events.event import EventKind
from common.events.payloads import Expired, Published, decode_expired, decode_published, moment
from common.model.channels import Kind, kind_and_target
from common.model.job import Job, decode_job
from common.model.timestamps import format_time, unix_ms
from history.queries.inbox import InboxPlace
from history.queries.notifications import (
    DEAD_SCANNED_MAX,
    TARGETS_SHOWN,
    DeadNotification,
    Sent,
    SentFilters,
    dead_letters,
    sent,
)
from server.access.route_access import Access
from server.notifications.context import SentNotifications
from server.notifications.unwritten_events import UnwrittenEvents
from server.notifications.waiting_jobs import QueuedJobs, place_of
from server.web.answers import JsonModel, NextCursor, Time, json_answer
from server.web.guard import OF_STORES
from server.web.parameters import (
    CURSOR,
    LIMIT,
    choice_parameter,
    id_parameter,
    limit_of,
    next_cursor,
    time_parameter,
)
from server.web.route import Route, page_of

STATUSES: Final = ("queued", "published", "expired", "dead")
Status = Annotated[str, Meta(extra_json_schema={"enum": list(STATUSES)})]
"""Status of a notification."""

_KIND: Final = choice_parameter("type", "Only of this type.", tuple(Kind))
_TARGET: Final = id_parameter("target", "Only what was sent to this user or room.")
_STATUS: Final = choice_parameter("status", "Only with this status.", STATUSES)
_SINCE: Final = time_parameter("since", "Only what was created at this time or later.")
_UNTIL: Final = time_parameter("until", "Only what was created at this time or earlier.")
_SENDER: Final = id_parameter("userId", "Only what this user sent.")


class SentItem(JsonModel):
    """Notification that was sent."""

    id: str | None
    status: Status
    type: str | None
    user_id: Annotated[str | None, Meta(description="Who sent it, where that is known.")]
    targets: Annotated[list[str], Meta(description="The first ten.")]
    target_count: int
    priority: str | None
    created_at: Time | None
    published_at: Time | None
    reason: Annotated[str, Meta(description="Why it is dead.")] | UnsetType = UNSET
    dead_at: Time | UnsetType = UNSET


class ListSentResponse(JsonModel):
    """Page of sent notifications."""

    notifications: list[SentItem]
    next_cursor: NextCursor


class _Source(NamedTuple):
    """Items from one source by their places, and the place at which it stopped looking."""

    items: dict[InboxPlace, SentItem]
    horizon: InboxPlace | None


async def _list(request: web.Request, context: SentNotifications) -> web.Response:
    filters = SentFilters(
        kind=_KIND.of(request),
        target=_TARGET.of(request),
        status=_STATUS.of(request),
        since=_SINCE.of(request),
        until=_UNTIL.of(request),
        sender=_SENDER.of(request),
    )
    at = CURSOR.of(request)
    before = InboxPlace(*at) if at else None
    limit = limit_of(request)
    sources = []
    # In the order in which a notification moves: one that moves while we read is seen twice rather
    # than missed.
    if filters.status in (None, "queued"):
        jobs = QueuedJobs(context.redis, context.shards, context.client)
        sources.append(await _queued(jobs, filters, before, limit))
    if filters.status in (None, "published", "expired"):
        events = UnwrittenEvents(context.redis, context.shards, context.client)
        sources.append(await _unwritten(events, filters, before))
    async with context.database.snapshot() as connection:
        if filters.status in (None, "published", "expired"):
            sources.append(await _published(connection, context.client, filters, before, limit))
        if filters.status in (None, "dead"):
            sources.append(await _dead(connection, context.client, filters, before, limit))
    items, following = _merge(sources, limit)
    return json_answer(ListSentResponse(notifications=items, next_cursor=next_cursor(following)))


def _merge(sources: list[_Source], limit: int) -> tuple[list[SentItem], InboxPlace | None]:
    everything: dict[InboxPlace, SentItem] = {}
    for source in sources:
        for place, item in source.items.items():
            known = everything.get(place)
            everything[place] = _joined(known, item) if known else item
    horizon = max((s.horizon for s in sources if s.horizon is not None), default=None)
    places = sorted(everything, reverse=True)
    if horizon is not None:
        places = [place for place in places if place >= horizon]
    if len(places) > limit:
        places = places[:limit]
        horizon = places[-1]
    return [everything[place] for place in places], horizon


def _joined(one: SentItem, later: SentItem) -> SentItem:
    """Join the items of one notification whose parts have different statuses."""
    targets = sorted({*one.targets, *later.targets})
    count = max(one.target_count, later.target_count, len(targets))
    return msgspec.structs.replace(later, targets=targets[:TARGETS_SHOWN], target_count=count)


async def _published(
    connection: Any, client: str, filters: SentFilters, before: InboxPlace | None, limit: int
) -> _Source:
    found = await sent(connection, client, filters, before, limit + 1)
    return _Source(
        {one.place: _sent_item(one) for one in found},
        found[-1].place if len(found) > limit else None,
    )


def _sent_item(one: Sent) -> SentItem:
    return SentItem(
        id=one.place.id,
        status=one.status,
        type=one.kind,
        user_id=one.sender or None,
        targets=one.targets,
        target_count=one.target_count,
        priority=one.priority or None,
        created_at=format_time(one.place.created_ms),
        published_at=None if one.published_ms is None else format_time(one.published_ms),
    )


async def _queued(
    jobs: QueuedJobs, filters: SentFilters, before: InboxPlace | None, limit: int
) -> _Source:
    items: dict[InboxPlace, SentItem] = {}
    horizon: InboxPlace | None = None
    async for found, last in jobs.newest(before, limit + 1):
        if last is not None:
            horizon = last if horizon is None else max(horizon, last)
        for job in found:
            place = place_of(job)
            if not _fits(job, filters) or (before is not None and place >= before):
                continue
            if place in items:
                _add_targets(items[place], job)
            else:
                items[place] = _job_item(job, "queued")
        if len(items) > limit + 1:
            items = {place: items[place] for place in heapq.nlargest(limit + 1, items)}
    return _Source(items, horizon)


def _fits(job: Job, filters: SentFilters) -> bool:
    return (
        filters.kind in (None, job.type)
        and filters.sender in (None, job.user_id)
        and (filters.target is None or filters.target in (job.targets or ()))
        and _in_time(job.created_ms, filters)
    )


def _in_time(created_ms: int, filters: SentFilters) -> bool:
    return (filters.since is None or created_ms >= unix_ms(filters.since)) and (
        filters.until is None or created_ms <= unix_ms(filters.until)
    )


def _job_item(job: Job, status: str) -> SentItem:
    targets = job.targets or []
    return SentItem(
        id=job.id,
        status=status,
        type=job.type,
        user_id=job.user_id,
        targets=targets[:TARGETS_SHOWN],
        target_count=len(targets),
        priority=job.priority,
        created_at=job.created_at,
        published_at=None,
    )


def _add_targets(item: SentItem, job: Job) -> None:
    more = job.targets or []
    item.targets = (item.targets + more)[:TARGETS_SHOWN]
    item.target_count += len(more)


async def _unwritten(
    events: UnwrittenEvents, filters: SentFilters, before: InboxPlace | None
) -> _Source:
    """Read the published and expired notifications that the database lacks yet."""
    found: dict[InboxPlace, _UnwrittenNotification] = {}
    async for event in events.unwritten(EventKind.PUBLISHED, EventKind.EXPIRED):
        try:
            kind, target = kind_and_target(event.channel.partition("/")[2])
            published = event.kind == EventKind.PUBLISHED
            said = decode_published(event.text) if published else decode_expired(event.text)
            place = InboxPlace(unix_ms(moment(said.created_at)), said.id)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # Somebody else wrote it; the history writer counts and logs such events.
            continue
        if before is not None and place >= before:
            continue
        one = found.setdefault(place, _UnwrittenNotification(kind, said.user_id, said.priority))
        one.matches |= _matches(filters, kind, target, said, place.created_ms) and (
            filters.status in (None, event.kind)
        )
        if target is not None:
            one.targets.add(target)
        if published:
            one.published_ms = min(one.published_ms or event.at_ms, event.at_ms)
    return _Source({place: one.item(place) for place, one in found.items() if one.matches}, None)


@dataclass(slots=True)
class _UnwrittenNotification:
    """One notification, as far as its events are known."""

    kind: str
    sender: str
    priority: str
    targets: set[str] = field(default_factory=set)
    published_ms: int | None = None
    matches: bool = False

    def item(self, place: InboxPlace) -> SentItem:
        return _sent_item(
            Sent(
                place,
                "expired" if self.published_ms is None else "published",
                self.kind,
                self.sender,
                sorted(self.targets)[:TARGETS_SHOWN],
                len(self.targets),
                self.priority,
                self.published_ms,
            )
        )


def _matches(
    filters: SentFilters,
    kind: str,
    target: str | None,
    said: Published | Expired,
    created_ms: int,
) -> bool:
    return (
        filters.kind in (None, kind)
        and filters.sender in (None, said.user_id)
        and filters.target in (None, target)
        and _in_time(created_ms, filters)
    )


async def _dead(
    connection: Any, client: str, filters: SentFilters, before: InboxPlace | None, limit: int
) -> _Source:
    found = await dead_letters(connection, client, filters, before, DEAD_SCANNED_MAX)
    items: dict[InboxPlace, SentItem] = {}
    for letter in found:
        place = InboxPlace(letter.at_ms, letter.event)
        item = _dead_item(letter, filters)
        if item is not None:
            items[place] = item
        if len(items) > limit:
            return _Source(items, place)
    last = InboxPlace(found[-1].at_ms, found[-1].event) if len(found) == DEAD_SCANNED_MAX else None
    return _Source(items, last)


def _dead_item(letter: DeadNotification, filters: SentFilters) -> SentItem | None:
    dead_at = format_time(letter.at_ms)
    try:
        job = decode_job(letter.text)
    except msgspec.MsgspecError:
        if filters.kind or filters.target or filters.sender:
            return None
        return SentItem(
            id=letter.notification or None,
            status="dead",
            type=None,
            user_id=None,
            targets=[],
            target_count=0,
            priority=None,
            created_at=None,
            published_at=None,
            reason=letter.reason,
            dead_at=dead_at,
        )
    if not _fits(job, filters._replace(since=None, until=None)):
        return None
    return msgspec.structs.replace(_job_item(job, "dead"), reason=letter.reason, dead_at=dead_at)


ROUTES: Final[tuple[Route[SentNotifications], ...]] = (
    Route(
        method="GET",
        path="/notifications",
        access=Access.READ,
        handler=_list,
        name="listSent",
        tag="notifications",
        summary="What was sent, newest first",
        parameters=(LIMIT, CURSOR, _KIND, _TARGET, _STATUS, _SINCE, _UNTIL, _SENDER),
        answers=page_of(ListSentResponse),
        errors=OF_STORES,
    ),
)
