"""Notification requests in Kafka messages. Pure: no broker, no Redis."""

from collections import Counter
from typing import Final, NamedTuple

from common.errors import RoomcastError
from common.jobs.acceptance import Acceptance
from common.jobs.planning import is_batch, plan_batch, plan_one
from common.model.channels import DEFAULT_CLIENT
from common.model.problems import Problem
from kafka_bridge.messages.message import Header, Message

BODY_MAX_BYTES: Final = 1024 * 1024
ID_MAX: Final = 255
_OUR_HEADERS: Final = ("reason", "source", "left-out")
_REASON_MAX: Final = 4_096
_HEADER_MAX: Final = 256
_HEADERS_MAX: Final = 20
Headers = list[tuple[str, bytes | None]]


class Request(NamedTuple):
    """A message of the requests topic, and where it was; no headers: a name is not UTF-8."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None


class InvalidRequestError(RoomcastError):
    """This can never be sent; the text is the reason."""


def idempotency_key(request: Request) -> str:
    """Return the key that identifies repeats: the `id` header, else the Kafka position.

    Raises:
        InvalidRequestError: the header is no such text.
    """
    if request.headers is None:
        raise InvalidRequestError("the name of a header is not UTF-8")
    found = {value or b"" for name, value in request.headers if name == "id"}
    if len(found) > 1:
        raise InvalidRequestError("there are several headers id, which differ")
    if found:
        try:
            text = found.pop().decode()
        except UnicodeDecodeError:
            raise InvalidRequestError("the header id is not UTF-8") from None
        if not 1 <= len(text) <= ID_MAX or not text.isprintable():
            raise InvalidRequestError(f"the header id must have 1 to {ID_MAX} printable characters")
        return f"{DEFAULT_CLIENT}/kafka-id:{text}"
    return f"{DEFAULT_CLIENT}/kafka:{request.topic}:{request.partition}:{request.offset}"


def plan(request: Request, *, jobs_max: int | None = None) -> Acceptance:
    """Validate a message as `POST /notify` validates a body, and plan its jobs.

    Args:
        request: as it was taken.
        jobs_max: how many may ever wait in a lane at once; None: any number.

    Raises:
        InvalidRequestError: it is no notification, nor an array of some, or can never be queued.
    """
    key = idempotency_key(request)
    body = request.value
    if not body:
        raise InvalidRequestError("the message is empty")
    if len(body) > BODY_MAX_BYTES:
        raise InvalidRequestError(f"a message may have {BODY_MAX_BYTES} bytes")
    try:
        planned = plan_batch(body, key=key) if is_batch(body) else plan_one(body, key=key)
    except Problem as problem:
        raise InvalidRequestError(f"{problem.code}: {problem.detail}") from None
    lanes = Counter(lane for lane, _, _ in planned.jobs)
    if jobs_max is not None and max(lanes.values(), default=0) > jobs_max:
        raise InvalidRequestError(
            f"it has more notifications than may ever wait in a lane ({jobs_max})"
        )
    return planned


def letter(request: Request, reason: str) -> Message:
    """Make the dead letter of a request: the message as it came, and why it is dead."""
    headers = [(name, value or b"") for name, value in request.headers or []]
    told = [
        *(each for each in headers if each[0] not in _OUR_HEADERS),
        # A text that a stranger sent may be in it: half of a surrogate pair is no UTF-8.
        ("reason", reason[:_REASON_MAX].encode(errors="backslashreplace")),
        ("source", f"{request.topic}:{request.partition}:{request.offset}".encode()),
    ]
    return Message(request.key, request.value, told)


def head_of(dead: Message, reason: str) -> Message:
    """Make what goes in the place of a dead letter that the topic does not take.

    It has no value; the whole is where `source` says until the topic of requests forgets it.
    """
    short = [each for each in dead.headers if len(each[0]) + len(each[1]) <= _HEADER_MAX]
    ours = [each for each in dead.headers if each[0] in _OUR_HEADERS]
    headers: list[Header] = [
        *(each for each in short[:_HEADERS_MAX] if each not in ours),
        *ours,
        ("left-out", b"%d bytes: %b" % (len(dead.value or b""), reason[:_HEADER_MAX].encode())),
    ]
    # A topic that is compacted takes none without a key.
    key = dead.key if dead.key and len(dead.key) <= _HEADER_MAX else dict(ours).get("source", b"")
    return Message(key, b"", headers)
