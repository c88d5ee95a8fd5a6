"""Planning of requests: each becomes jobs.

`message` and `data` go from the request's body to the client's frame byte for byte, without being
decoded and encoded on the way: big integers, duplicate names and spacing arrive as they were sent.
"""

import hashlib
import re
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from pydantic import ValidationError

from common.jobs.acceptance import Acceptance
from common.model.channels import DEFAULT_CLIENT, Lane, channel_of, partition_of, scoped
from common.model.ids import new_id
from common.model.job import Job, encode_job, weight_of
from common.model.json_bodies import (
    malformed,
    no_number,
    refuse_fields,
    refuse_invalid,
    repeated_names,
)
from common.model.notification import (
    BATCH_MAX,
    BroadcastNotification,
    PrivateNotification,
    RoomNotification,
    batch_adapter,
    notification_adapter,
    targets_of,
)
from common.model.problem_codes import ProblemCode
from common.model.problems import FieldError, Problem
from common.model.shared_content import SHARED_MIN_BYTES
from common.model.timestamps import format_time

TARGETS_PER_JOB: Final = 50
"""A list of targets is split into jobs of at most this many, so that no script runs for long."""
JOB_PUBLISHES_MAX_BYTES: Final = 1024 * 1024
"""Most bytes of content that one job publishes over all its targets; past it, it gets fewer."""

_NULL: Final = msgspec.Raw(b"null")
_NAME: Final = re.compile(
    rb'"(?:type|userId|target|message|data|email|priority|expiresAt)"[ \t\r\n]*:'
)


class _Body(msgspec.Struct):
    message: msgspec.Raw = _NULL
    data: msgspec.Raw = _NULL


_body_decoder: Final = msgspec.json.Decoder(_Body)
_batch_decoder: Final = msgspec.json.Decoder(list[_Body])
_raw_list_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])
_COUNT_FIRST_BYTES: Final = 65_536
"""Larger batches are counted before they are validated, which takes a hundred times as long."""


class Bounds(NamedTuple):
    """Bounds of one request, besides those of the contract.

    `recipients` are targets, of a batch all together; `message_bytes` is the largest message (in
    UTF-8) and the largest data (as written).
    """

    recipients: int
    message_bytes: int


def fingerprint(body: bytes) -> str:
    """Return a short digest that tells one request body from another."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def _jobs(
    notification: PrivateNotification | RoomNotification | BroadcastNotification,
    raw: _Body,
    notification_id: str,
    created_ms: int,
    client: str,
) -> tuple[list[tuple[str, int, bytes]], list[int], int]:
    """Make the jobs of a notification; return them, their weights, and the bytes fanned out."""
    kind = notification.type
    expires = notification.expiresAt
    job = Job(
        id=notification_id,
        type=kind,
        user_id=notification.userId,  # type: ignore[arg-type]  # validated to a string
        targets=None,
        message=raw.message,
        data=raw.data,
        priority=(notification.priority or Lane.HIGH).value,
        created_at=format_time(created_ms),
        created_ms=created_ms,
        expires_ms=None if expires is None else int(expires.timestamp() * 1000),
        email=notification.email or "",
        client=client,
    )
    lane = job.priority
    targets = targets_of(notification)
    if targets is None or len(targets) == 1:
        job.targets = targets
        channel = channel_of(kind, targets[0] if targets else None)
        where = partition_of(scoped(channel, client))
        return [(lane, where, encode_job(job))], [weight_of(job)], 0
    size = len(bytes(raw.message)) + len(bytes(raw.data))
    job.shared = size >= SHARED_MIN_BYTES
    most = max(1, min(TARGETS_PER_JOB, JOB_PUBLISHES_MAX_BYTES // (size + 1)))
    by_partition: dict[int, list[str]] = {}
    for target in targets:
        partition = partition_of(scoped(channel_of(kind, target), client))
        by_partition.setdefault(partition, []).append(target)
    jobs, weights = [], []
    for partition, those in by_partition.items():
        for first in range(0, len(those), most):
            job.targets = those[first : first + most]
            jobs.append((lane, partition, encode_job(job)))
            weights.append(weight_of(job))
    return jobs, weights, size * len(targets)


def _may_exceed(body: bytes, bounds: Bounds) -> bool:
    # No part of a body is longer than the body, and each target takes at least two bytes of it.
    return len(body) > bounds.message_bytes or len(body) > 2 * bounds.recipients


def _keep(
    found: Sequence[tuple[PrivateNotification | RoomNotification | BroadcastNotification, _Body]],
    bounds: Bounds,
    places: Sequence[str],
) -> None:
    recipients = 0
    for (notification, raw), place in zip(found, places, strict=True):
        most = bounds.message_bytes
        message = notification.message or ""
        if len(message) > most // 4 and len(message.encode()) > most:
            raise _out_of_bounds(f"{place}/message", f"this client's messages have {most} bytes")
        if raw.data is not _NULL and len(bytes(raw.data)) > most:
            raise _out_of_bounds(f"{place}/data", f"this client's data has {most} bytes")
        recipients += len(targets_of(notification) or ())
        if recipients > bounds.recipients:
            raise _out_of_bounds(
                f"{place}/target", f"a request of this client has {bounds.recipients} targets"
            )


def _out_of_bounds(at: str, detail: str) -> Problem:
    detail += " at most"
    return Problem(ProblemCode.INVALID, f"{at}: {detail}", [FieldError(at, detail)])


def plan_one(
    body: bytes,
    *,
    key: str = "",
    notification_id: str | None = None,
    client: str = DEFAULT_CLIENT,
    bounds: Bounds | None = None,
    refuse_expired: bool = False,
) -> Acceptance:
    """Validate one notification of a client and plan its jobs.

    Args:
        body: JSON.
        key: idempotency key in its scope; empty: none.
        notification_id: of the notification; None: a new one.
        client: whose it is.
        bounds: what the client may ask for; None: what everybody may.
        refuse_expired: whether one that has expired is refused. If nobody waits for an answer, it
            becomes a job, and the worker records that it expired.

    Raises:
        Problem: 400 malformed JSON, 422 with a pointer to every bad field, or to the first one
            that is out of the client's bounds.
    """
    try:
        notification = notification_adapter.validate_json(body)
        raw = _body_decoder.decode(body)
    except ValidationError as error:
        raise refuse_invalid(body, error) from None
    except msgspec.MsgspecError:
        raise no_number(body) from None
    except RecursionError:
        raise malformed("it is nested too deep") from None
    _check_repeated(body, [notification], [raw])
    if bounds and _may_exceed(body, bounds):
        _keep([(notification, raw)], bounds, [""])
    # Read before the id is made: a search for a job by its id assumes that the id's time is later.
    now_ms = time.time_ns() // 1_000_000
    an_id = notification_id or new_id()
    refusal = None
    if refuse_expired and notification.expiresAt is not None:
        refusal = _expired([notification], [""], now_ms)
    a_print = fingerprint(body) if key else ""
    if refusal is not None:
        return Acceptance(key, a_print, an_id, [], refusal, client=client)
    jobs, weights, size = _jobs(notification, raw, an_id, now_ms, client)
    return Acceptance(key, a_print, an_id, jobs, None, weights, client, fan_out_bytes=size)


def plan_batch(
    body: bytes,
    *,
    key: str = "",
    client: str = DEFAULT_CLIENT,
    bounds: Bounds | None = None,
    refuse_expired: bool = False,
) -> Acceptance:
    """Validate a JSON array of notifications of a client and plan their jobs, all or none.

    Raises:
        Problem: as `plan_one`.
    """
    if len(body) > _COUNT_FIRST_BYTES:
        _check_length(body)
    try:
        notifications = batch_adapter.validate_json(body)
        raws = _batch_decoder.decode(body)
    except ValidationError as error:
        raise refuse_invalid(body, error) from None
    except msgspec.MsgspecError:
        raise no_number(body) from None
    except RecursionError:
        raise malformed("it is nested too deep") from None
    _check_repeated(body, notifications, raws)
    places = [f"/{index}" for index in range(len(raws))]
    if bounds and _may_exceed(body, bounds):
        _keep(list(zip(notifications, raws, strict=True)), bounds, places)
    now_ms = time.time_ns() // 1_000_000
    ids = [new_id() for _ in notifications]
    refusal = _expired(notifications, places, now_ms) if refuse_expired else None
    jobs: list[tuple[str, int, bytes]] = []
    weights: list[int] = []
    size = 0
    if refusal is None:
        for notification, raw, an_id in zip(notifications, raws, ids, strict=True):
            more, theirs, more_bytes = _jobs(notification, raw, an_id, now_ms, client)
            jobs += more
            weights += theirs
            size += more_bytes
    a_print = fingerprint(body) if key else ""
    answer = ",".join(ids)
    return Acceptance(key, a_print, answer, jobs, refusal, weights, client, fan_out_bytes=size)


def _check_length(body: bytes) -> None:
    """Check the number of notifications of a batch, at a fraction of the cost of validating them.

    Raises:
        Problem: 422.
    """
    try:
        count = len(_raw_list_decoder.decode(body))
    except (msgspec.MsgspecError, RecursionError):
        # Validation says what is wrong with it.
        return
    if count > BATCH_MAX:
        raise refuse_fields([FieldError("", f"at most {BATCH_MAX}")])


def _expired(
    notifications: Sequence[PrivateNotification | RoomNotification | BroadcastNotification],
    places: Sequence[str],
    now_ms: int,
) -> Problem | None:
    errors = [
        FieldError(f"{place}/expiresAt", "has passed: it would reach nobody")
        for notification, place in zip(notifications, places, strict=True)
        if notification.expiresAt is not None
        and notification.expiresAt.timestamp() * 1000 <= now_ms
    ]
    return refuse_fields(errors) if errors else None


def _check_repeated(
    body: bytes,
    notifications: Sequence[PrivateNotification | RoomNotification | BroadcastNotification],
    raws: Sequence[_Body],
) -> None:
    """Refuse a notification that has a name twice.

    Counting names is enough where there are no repeats. A name may also be written with escapes,
    though nobody does; names within `data` are the client's own business.
    """
    expected = 0
    for notification in notifications:
        expected += len(notification.model_fields_set)
    # A colon follows each name, and most messages have none: this costs a tenth of what follows.
    count = body.count(b":")
    if count == expected:
        return
    for raw in raws:
        count -= bytes(raw.message).count(b":") + bytes(raw.data).count(b":")
    if count == expected:
        return
    # Searching for a backslash is fast, and usually finds none.
    if b"\\" not in body or b"\\u00" not in body:
        count = len(_NAME.findall(body))
        if count == expected:
            return
        for raw in raws:
            if raw.data is not _NULL:
                count -= len(_NAME.findall(raw.data))
        if count == expected:
            return
    repeated = repeated_names(body, within=False)
    if repeated:
        raise refuse_fields(repeated)


def is_batch(body: bytes) -> bool:
    """Return True if a body is meant as an array."""
    return body.lstrip(b" \t\r\n")[:1] == b"["
