"""`POST /notify` over aiohttp; `fast_path.py` answers most of these requests without it."""

from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from msgspec import Meta
from multidict import CIMultiDict
from pydantic import Field

from common.model.notification import Notification, NotificationBatch
from common.model.problem_codes import ProblemCode
from server.access.route_access import Access, principal_of
from server.notify.handler import IDEMPOTENCY_KEY_MAX, Intake
from server.web.answers import JsonModel
from server.web.bodies import BODY_MAX_BYTES, read_body
from server.web.parameters import HeaderParameter
from server.web.route import RATE_LIMIT_HEADERS, Route, RouteAnswer

NotificationOrBatch = Annotated[
    Notification | NotificationBatch, Field(title="NotificationOrBatch")
]
_IDEMPOTENCY_KEY: Final = HeaderParameter(
    "Idempotency-Key",
    "Remembered 24 h: the same key and body answer with the first id and queue nothing.",
    {
        "type": "string",
        "minLength": 1,
        "maxLength": IDEMPOTENCY_KEY_MAX,
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    },
)
_EXAMPLES: Final[dict[str, Any]] = {
    "private": {
        "userId": 2,
        "message": "Private message for userId 1",
        "email": "abc@gmail.com",
        "target": 1,
        "type": "private",
    },
    "room": {
        "userId": 1,
        "message": "broadcast message for roomId 1",
        "email": "abc@gmail.com",
        "target": 1,
        "type": "room",
    },
    "broadcast": {
        "userId": 1,
        "message": "broadcast message for all",
        "email": "abc@gmail.com",
        "type": "broadcast",
    },
}


class Queued(JsonModel):
    """Notification that was queued."""

    id: Annotated[str, Meta(description="UUIDv7.", extra_json_schema={"format": "uuid"})]
    status: Literal["queued"]


QueuedBatch = Annotated[
    list[Queued], Meta(title="QueuedBatch", description="In the order of the batch.")
]
QueuedOrBatch = Annotated[Queued | QueuedBatch, Meta(title="QueuedOrBatch")]


async def _notify(request: web.Request, intake: Intake) -> web.Response:
    reply = await intake.reply(
        await read_body(request),
        request.headers.get("Content-Type", ""),
        request.headers.get("Idempotency-Key"),
        principal_of(request),
    )
    headers = CIMultiDict(reply.headers)
    for line in reply.lines.splitlines():
        name, _, value = line.partition(": ")
        headers[name] = value
    return web.Response(status=reply.status, body=reply.body, headers=headers)


ROUTES: Final[tuple[Route[Intake], ...]] = (
    Route(
        method="POST",
        path="/notify",
        access=Access.NOTIFY,
        handler=_notify,
        name="notify",
        tag="notifications",
        summary="Send a notification, or up to 1,000 of them",
        description="Answered once Redis has the jobs. An array is accepted or refused as a "
        f"whole. A body may have {BODY_MAX_BYTES} bytes.",
        parameters=(_IDEMPOTENCY_KEY,),
        body=NotificationOrBatch,
        examples=_EXAMPLES,
        answers=(
            RouteAnswer(
                HTTPStatus.ACCEPTED,
                "Queued. An array is answered with an array, in order.",
                QueuedOrBatch,
                headers=RATE_LIMIT_HEADERS,
            ),
        ),
        errors=(
            ProblemCode.QUOTA_EXCEEDED,
            ProblemCode.FAN_OUT_LIMITED,
            ProblemCode.INVALID_IDEMPOTENCY_KEY,
            ProblemCode.IDEMPOTENCY_KEY_REUSED,
            ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT,
            ProblemCode.LANE_FULL,
            ProblemCode.CLIENT_LANE_FULL,
            ProblemCode.EVENTS_FULL,
            ProblemCode.CLIENT_EVENTS_FULL,
            ProblemCode.REDIS_NEARLY_FULL,
            ProblemCode.REDIS_REFUSED,
            ProblemCode.REDIS_UNFIT,
            ProblemCode.OUTCOME_UNKNOWN,
        ),
    ),
)
