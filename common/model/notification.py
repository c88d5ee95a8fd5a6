"""Notifications as clients request them: bodies of `POST /notify` and of jobs pushed by hand.

These models are the contract: they validate, and the OpenAPI document is generated from them.
"""

import re
from typing import Annotated, Any, Final, Literal, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from common.model.channels import Lane
from common.model.ids import ID_MAX_CHARACTERS, ID_PATTERN, identifier

MESSAGE_MAX_BYTES: Final = 64 * 1024
TARGETS_MAX: Final = 1_000
TARGET_FAULTS_MAX: Final = 100
BATCH_MAX: Final = 1_000
EMAIL_MAX_CHARACTERS: Final = 254
DATE_MAX_CHARACTERS: Final = 64

# pydantic alone would accept more, for instance "1.5" as seconds since 1970.
_DATE: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EMAIL_PATTERN: Final = r"^[^@\s\u0000-\u001f\u007f-\u009f]+@[^@\s\u0000-\u001f\u007f-\u009f]+$"


def _id_text(value: int | str) -> str:
    text = str(value)
    if len(text) > ID_MAX_CHARACTERS:
        raise PydanticCustomError("id_too_long", "an id has at most 128 characters")
    return text


def _distinct(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _one_or_many(value: Any, validate_list: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, list):
        try:
            return validate_list(value)
        except ValidationError as error:
            if error.error_count() <= TARGET_FAULTS_MAX:
                raise
            # Listing each id of a body full of bad ones would take 0.4 GB.
            raise PydanticCustomError("ids", "too many of its ids are not valid to list") from None
    if value is None:
        raise PydanticKnownError("missing")
    # Not as a list of one: errors must point at `target`, as the body has no `target/0`.
    try:
        return [identifier(value)]
    except ValueError as error:
        raise PydanticCustomError("id", "{reason}", {"reason": str(error)}) from None


def _message_size(value: str) -> str:
    # Most texts are far below the bound: only those that could pass it are encoded.
    if len(value) > MESSAGE_MAX_BYTES // 4 and len(value.encode()) > MESSAGE_MAX_BYTES:
        raise PydanticCustomError("message_too_long", "at most 65536 bytes of UTF-8")
    return value


def _date_text(value: Any) -> Any:
    if not isinstance(value, str) or len(value) > DATE_MAX_CHARACTERS or not _DATE.fullmatch(value):
        raise PydanticCustomError("no_date", "must be an RFC 3339 date and time with an offset")
    return value


Id = Annotated[
    StrictInt | Annotated[str, StringConstraints(strict=True, pattern=ID_PATTERN)],
    AfterValidator(_id_text),
    WithJsonSchema(
        {
            "description": '1 and "1" are the same id; written out, 128 characters at most.',
            "anyOf": [{"type": "string", "pattern": ID_PATTERN}, {"type": "integer"}],
        }
    ),
]
"""A user's or room's id: an integer or 1 to 128 printable characters; a string once validated."""

_ID_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [{"type": "string", "pattern": ID_PATTERN}, {"type": "integer"}]
}

Targets = Annotated[
    Annotated[list[Id], Field(min_length=1, max_length=TARGETS_MAX)],
    AfterValidator(_distinct),
    WrapValidator(_one_or_many),
    WithJsonSchema(
        {
            "description": "An id, or a list of up to 1,000 of them; doubles count once.",
            "anyOf": [
                *_ID_SCHEMA["anyOf"],
                {
                    "type": "array",
                    "items": _ID_SCHEMA,
                    "minItems": 1,
                    "maxItems": TARGETS_MAX,
                },
            ],
        }
    ),
]
"""One id or a list of them; a list of distinct strings once validated."""


Message = Annotated[
    str,
    StringConstraints(strict=True, min_length=1),
    AfterValidator(_message_size),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MESSAGE_MAX_BYTES}),
]
"""Text of a notification."""

Email = Annotated[
    str, StringConstraints(strict=True, pattern=_EMAIL_PATTERN, max_length=EMAIL_MAX_CHARACTERS)
]
"""Address of a notification."""

Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_date_text),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""RFC 3339 date and time."""


class _Notification(BaseModel):
    """The fields that every type of notification has.

    Those that may be left out may also be null, which is how Go, Java and C# write them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    userId: Id = Field(description="Who sends.")  # noqa: N815 - the wire's name
    message: Message | None = Field(
        default=None,
        description="Text, at most 64 KiB of UTF-8. May be left out if `data` is there.",
    )
    data: dict[str, Any] | None = Field(
        default=None, description="Any JSON object; passed through as it was written."
    )
    email: Email | None = Field(
        default=None, description="Address, kept for other ways of delivery; not sent to sockets."
    )
    priority: Lane | None = Field(
        default=Lane.HIGH, description="Lane in which it waits; `high`, if it is left out."
    )
    expiresAt: Moment | None = Field(  # noqa: N815 - the wire's name
        default=None, description="RFC 3339, in the future. It is not published after this time."
    )

    @model_validator(mode="after")
    def _has_content(self) -> "_Notification":
        if self.message is None and self.data is None:
            raise PydanticCustomError("content_missing", "a notification needs a message or data")
        return self


class PrivateNotification(_Notification):
    """For every connection of one user, or of each user in a list."""

    type: Literal["private"]
    target: Targets = Field(description="User id, or a list of them.")


class RoomNotification(_Notification):
    """For every connection in one room, or in each room of a list."""

    type: Literal["room"]
    target: Targets = Field(description="Room id, or a list of them.")


class BroadcastNotification(_Notification):
    """For every connection there is."""

    type: Literal["broadcast"]
    target: None = Field(default=None, description="A broadcast has none.")


Notification = Annotated[
    PrivateNotification | RoomNotification | BroadcastNotification,
    Field(discriminator="type", title="Notification"),
]
"""One notification, told apart by `type`."""

NotificationBatch = Annotated[
    list[Notification],
    Field(
        min_length=1,
        max_length=BATCH_MAX,
        title="NotificationBatch",
        description="Accepted or refused as a whole.",
    ),
]
"""Up to 1,000 notifications, accepted or refused as a whole."""

notification_adapter: Final[
    TypeAdapter[PrivateNotification | RoomNotification | BroadcastNotification]
] = TypeAdapter(Notification)
batch_adapter: Final[
    TypeAdapter[list[PrivateNotification | RoomNotification | BroadcastNotification]]
] = TypeAdapter(NotificationBatch)


def targets_of(
    notification: PrivateNotification | RoomNotification | BroadcastNotification,
) -> list[str] | None:
    """Return the ids that a notification is for, or None for a broadcast."""
    if isinstance(notification, BroadcastNotification):
        return None
    # Validation has turned them into strings.
    return cast(list[str], notification.target)
