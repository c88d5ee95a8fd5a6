"""What a Kafka message asks to be sent. Pure: no broker, no Redis."""

from typing import Final, NamedTuple

from common.jobs import Acceptance, is_batch, plan_batch, plan_one
from common.names import DEFAULT_CLIENT
from common.problems import Problem

BODY_MAX_BYTES: Final = 1024 * 1024
ID_MAX: Final = 255
Headers = list[tuple[str, bytes | None]]


class Request(NamedTuple):
    """A message of the requests topic, and where it was."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class RubbishError(Exception):
    """This can never be sent; the text is the reason."""


def idempotency_key(request: Request) -> str:
    """What tells a repeat: the `id` header, else the place in Kafka.

    Raises:
        RubbishError: the header is no such text.
    """
    for name, value in request.headers:
        if name == "id":
            try:
                text = (value or b"").decode()
            except UnicodeDecodeError:
                raise RubbishError("the header id is not UTF-8") from None
            if not 1 <= len(text) <= ID_MAX or not text.isprintable():
                raise RubbishError(f"the header id must have 1 to {ID_MAX} printable characters")
            return f"{DEFAULT_CLIENT}/kafka-id:{text}"
    return f"{DEFAULT_CLIENT}/kafka:{request.topic}:{request.partition}:{request.offset}"


def plan(request: Request) -> Acceptance:
    """Validate a message as `POST /notify` validates a body, and plan its jobs.

    Raises:
        RubbishError: it is no notification, nor an array of some.
    """
    key = idempotency_key(request)
    body = request.value
    if not body:
        raise RubbishError("the message is empty")
    if len(body) > BODY_MAX_BYTES:
        raise RubbishError(f"a message may have {BODY_MAX_BYTES} bytes")
    try:
        return plan_batch(body, key=key) if is_batch(body) else plan_one(body, key=key)
    except Problem as problem:
        raise RubbishError(f"{problem.code}: {problem.detail}") from None
