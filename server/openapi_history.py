"""The part of the OpenAPI document that tells of history: inboxes, rooms, users, what was sent."""

from typing import Any, Final

from common.identifiers import ID_MAX_CHARACTERS, ID_PATTERN
from server.asking import CURSOR_PATTERN, LIMIT_DEFAULT, LIMIT_MAX
from server.sent import KINDS, STATUSES

Json = dict[str, Any]
_STRING: Final[Json] = {"type": "string"}
_INTEGER: Final[Json] = {"type": "integer"}
_TIME: Final[Json] = {"type": "string", "format": "date-time"}
_ID: Final[Json] = {"type": "string", "pattern": ID_PATTERN, "maxLength": ID_MAX_CHARACTERS}
_RETRY: Final[Json] = {"Retry-After": {"schema": _INTEGER, "description": "Seconds."}}


def _or_null(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]}


def _object(properties: Json, optional: tuple[str, ...] = ()) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_NEXT: Final[Json] = {
    **_or_null(_STRING),
    "description": "`cursor` of the next page; null: there is none.",
}

SCHEMAS: Final[Json] = {
    "InboxItem": {
        **_object(
            {
                "type": {"enum": list(KINDS)},
                "id": _STRING,
                "userId": _STRING,
                "target": _or_null(_STRING),
                "message": {},
                "data": {},
                "priority": _STRING,
                "createdAt": _TIME,
                "channel": _STRING,
                "epoch": _STRING,
                "offset": _INTEGER,
                "read": {"type": "boolean"},
                "readAt": _or_null(_TIME),
            }
        ),
        "description": "The frame exactly as sockets got it, with `read` and `readAt` behind.",
    },
    "User": _object({"id": _STRING, "createdAt": _TIME}),
    "Member": _object({"userId": _STRING, "joinedAt": _TIME}),
    "SentItem": _object(
        {
            "id": _or_null(_STRING),
            "status": {"enum": list(STATUSES)},
            "type": _or_null(_STRING),
            "userId": {**_or_null(_STRING), "description": "Who sent it, where that is known."},
            "targets": {**_array(_STRING), "description": "The first ten."},
            "targetCount": _INTEGER,
            "priority": _or_null(_STRING),
            "createdAt": _or_null(_TIME),
            "publishedAt": _or_null(_TIME),
            "reason": {**_STRING, "description": "Why it is dead."},
            "deadAt": _TIME,
        },
        optional=("reason", "deadAt"),
    ),
    "StoryChannel": {
        "description": "What became of the notification in one channel.",
        "oneOf": [
            _object(
                {
                    "channel": _STRING,
                    "status": {"const": "published"},
                    "epoch": _STRING,
                    "offset": _INTEGER,
                    "publishedAt": _TIME,
                    "worker": _STRING,
                    "sockets": {**_INTEGER, "description": "How many it was written to."},
                    "gateways": _array(
                        _object({"gateway": _STRING, "sockets": _INTEGER, "reportedAt": _TIME})
                    ),
                    "mirrors": _array(
                        _object(
                            {
                                "topic": _STRING,
                                "partition": _INTEGER,
                                "offset": _INTEGER,
                                "mirroredAt": _TIME,
                            }
                        )
                    ),
                }
            ),
            _object(
                {
                    "channel": _STRING,
                    "status": {"const": "expired"},
                    "reason": _STRING,
                    "expiredAt": _TIME,
                    "worker": _STRING,
                }
            ),
        ],
    },
    "Story": _object(
        {
            "id": _STRING,
            "status": {"enum": list(STATUSES)},
            "type": _or_null(_STRING),
            "userId": _or_null(_STRING),
            "priority": _or_null(_STRING),
            "acceptedAt": _or_null(_TIME),
            "waiting": {**_INTEGER, "description": "Targets for which it still waits."},
            "channels": _array(_ref("StoryChannel")),
            "dead": _array(_object({"reason": _STRING, "at": _TIME})),
            "receipts": _object({"delivered": _INTEGER, "read": _INTEGER}),
            "names": _array(_object({"userId": _STRING, "at": _TIME})),
            "nextCursor": _NEXT,
        },
        optional=("names", "nextCursor"),
    ),
}


def _path(name: str, text: str) -> Json:
    return {"name": name, "in": "path", "required": True, "description": text, "schema": _ID}


def _query(name: str, schema: Json, text: str) -> Json:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": text,
        "schema": schema,
    }


_LIMIT: Final = _query(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    "Items of a page.",
)
_CURSOR: Final = _query(
    "cursor",
    {"type": "string", "pattern": CURSOR_PATTERN},
    "`nextCursor` of the page before.",
)
_SINCE: Final = _query("since", _TIME, "Only what was created at this time or later.")
_USER: Final = _path("id", "The user.")
_ROOM: Final = _path("id", "The room.")


def _answer(text: str, schema: Json) -> Json:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _problem(text: str, *, retry: bool = False) -> Json:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    response: Json = {"description": text, "content": content}
    return {**response, "headers": _RETRY} if retry else response


def _operation(
    name: str,
    summary: str,
    parameters: list[Json],
    answers: Json,
    *,
    tag: str,
    more: Json | None = None,
) -> Json:
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "parameters": parameters,
        **(more or {}),
        "responses": {
            **answers,
            "400": _problem("The request is not HTTP."),
            "422": _problem("Invalid: `errors` points at every bad parameter."),
            "503": _problem(
                "`history-off`: there is no database here. `database-away`, `redis-away`: repeat.",
                retry=True,
            ),
        },
    }


def history_paths() -> Json:
    """Paths of the document."""
    return {
        "/users/{id}/notifications": {
            "get": _operation(
                "inbox",
                "A user's inbox: private ones, those of their rooms, broadcasts; newest first",
                [
                    _USER,
                    _LIMIT,
                    _CURSOR,
                    _query("unread", {"type": "boolean"}, "Only what is not read."),
                    _query("room", _ID, "Only what came to this room."),
                    _SINCE,
                ],
                {
                    "200": _answer(
                        "A page.",
                        _object({"notifications": _array(_ref("InboxItem")), "nextCursor": _NEXT}),
                    )
                },
                tag="inbox",
            )
        },
        "/users/{id}/notifications/unread-count": {
            "get": _operation(
                "unreadCount",
                "How many notifications of a user's inbox are not read",
                [_USER],
                {"200": _answer("The number.", _object({"count": _INTEGER}))},
                tag="inbox",
            )
        },
        "/users/{id}/notifications/read-all": {
            "post": _operation(
                "readAll",
                "Mark everything read that was published until now",
                [_USER],
                {"200": _answer("How many were unread.", _object({"marked": _INTEGER}))},
                tag="inbox",
            )
        },
        "/users/{id}/notifications/{nid}/read": {
            "post": _operation(
                "read",
                "Mark a notification read; the user's sockets are told",
                [_USER, _path("nid", "The notification.")],
                {
                    "204": {"description": "It is read."},
                    "404": _problem("It is not in the user's inbox."),
                },
                tag="inbox",
            )
        },
        "/users": {
            "post": _operation(
                "addUser",
                "Make a user known",
                [],
                {
                    "200": _answer("The user was known.", _ref("User")),
                    "201": _answer("The user is known now.", _ref("User")),
                    "413": _problem("The body is too large."),
                    "415": _problem("The Content-Type is not application/json."),
                },
                tag="users",
                more={
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": _ref("NewUser")}},
                    }
                },
            )
        },
        "/users/{id}": {
            "get": _operation(
                "user",
                "A user who was made known",
                [_USER],
                {"200": _answer("The user.", _ref("User")), "404": _problem("Nobody knows them.")},
                tag="users",
            )
        },
        "/rooms/{id}/members": {
            "get": _operation(
                "members",
                "Members of a room in the order in which they joined",
                [_ROOM, _LIMIT, _CURSOR],
                {
                    "200": _answer(
                        "A page.",
                        _object({"members": _array(_ref("Member")), "nextCursor": _NEXT}),
                    )
                },
                tag="rooms",
            )
        },
        "/rooms/{id}/members/{user}": {
            "put": _operation(
                "join",
                "Make a user a member: their inbox has what comes to the room from now on",
                [_ROOM, _path("user", "The user.")],
                {"204": {"description": "They are a member."}},
                tag="rooms",
            ),
            "delete": _operation(
                "leave",
                "End a membership",
                [_ROOM, _path("user", "The user.")],
                {"204": {"description": "They are no member."}},
                tag="rooms",
            ),
        },
        "/notifications": {
            "get": _operation(
                "sent",
                "What was sent, newest first",
                [
                    _LIMIT,
                    _CURSOR,
                    _query("type", {"enum": list(KINDS)}, "Only of this type."),
                    _query("target", _ID, "Only what was sent to this user or room."),
                    _query("status", {"enum": list(STATUSES)}, "Only with this status."),
                    _SINCE,
                    _query("until", _TIME, "Only what was created at this time or earlier."),
                    _query("userId", _ID, "Only what this user sent."),
                ],
                {
                    "200": _answer(
                        "A page.",
                        _object({"notifications": _array(_ref("SentItem")), "nextCursor": _NEXT}),
                    )
                },
                tag="notifications",
            )
        },
        "/notifications/{id}": {
            "get": _operation(
                "story",
                "What became of a notification",
                [
                    _path("id", "The notification."),
                    _query(
                        "receipts",
                        {"enum": ["delivered", "read"]},
                        "Also who got it, or who read it, in pages.",
                    ),
                    _LIMIT,
                    _CURSOR,
                ],
                {
                    "200": _answer("Its story.", _ref("Story")),
                    "404": _problem("Nobody knows it."),
                },
                tag="notifications",
            )
        },
    }
