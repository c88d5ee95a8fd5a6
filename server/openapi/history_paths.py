"""Part of the OpenAPI document about history: inboxes, rooms, users, sent notifications."""

from typing import Final

from server.notifications.list_routes import KINDS, STATUSES
from server.openapi.parts import (
    CURSOR,
    ID,
    INTEGER,
    LIMIT,
    NEXT,
    STRING,
    TIME,
    Json,
    an_object,
    answer,
    array,
    operation,
    or_null,
    path_parameter,
    problem,
    query_parameter,
    ref,
    text_of,
)

SCHEMAS: Final[Json] = {
    "InboxItem": {
        **an_object(
            {
                "type": text_of(*KINDS),
                "id": STRING,
                "userId": STRING,
                "target": or_null(STRING),
                "message": or_null(STRING),
                "data": {"type": ["object", "null"]},
                "priority": STRING,
                "createdAt": TIME,
                "channel": STRING,
                "epoch": STRING,
                "offset": INTEGER,
                "read": {"type": "boolean"},
                "readAt": or_null(TIME),
                "archived": {"type": "boolean"},
            },
            optional=("archived",),
        ),
        "description": "The frame exactly as sockets got it, with `read` and `readAt` behind, and "
        "`archived` where it is true.",
    },
    "User": an_object({"id": STRING, "createdAt": TIME}),
    "Membership": an_object({"room": STRING, "joinedAt": TIME}),
    "Member": an_object({"userId": STRING, "joinedAt": TIME}),
    "SentItem": an_object(
        {
            "id": or_null(STRING),
            "status": text_of(*STATUSES),
            "type": or_null(STRING),
            "userId": {**or_null(STRING), "description": "Who sent it, where that is known."},
            "targets": {**array(STRING), "description": "The first ten."},
            "targetCount": INTEGER,
            "priority": or_null(STRING),
            "createdAt": or_null(TIME),
            "publishedAt": or_null(TIME),
            "reason": {**STRING, "description": "Why it is dead."},
            "deadAt": TIME,
        },
        optional=("reason", "deadAt"),
    ),
    "StoryPublished": {
        **an_object(
            {
                "channel": STRING,
                "status": {"type": "string", "const": "published"},
                "epoch": STRING,
                "offset": INTEGER,
                "publishedAt": TIME,
                "worker": STRING,
                "sockets": {**INTEGER, "description": "How many it was written to."},
                "gateways": array(
                    an_object({"gateway": STRING, "sockets": INTEGER, "reportedAt": TIME})
                ),
                "mirrors": array(
                    an_object(
                        {
                            "topic": STRING,
                            "partition": INTEGER,
                            "offset": INTEGER,
                            "mirroredAt": TIME,
                        }
                    )
                ),
            }
        ),
        "description": "It was published in a channel.",
    },
    "StoryExpired": {
        **an_object(
            {
                "channel": STRING,
                "status": {"type": "string", "const": "expired"},
                "reason": STRING,
                "expiredAt": TIME,
                "worker": STRING,
            }
        ),
        "description": "It expired before it was published in a channel.",
    },
    "StoryChannel": {
        "description": "What became of the notification in one channel.",
        "oneOf": [ref("StoryPublished"), ref("StoryExpired")],
    },
    "Story": an_object(
        {
            "id": STRING,
            "status": text_of(*STATUSES),
            "type": or_null(STRING),
            "userId": or_null(STRING),
            "priority": or_null(STRING),
            "acceptedAt": or_null(TIME),
            "waiting": {**INTEGER, "description": "Targets for which it still waits."},
            "channels": array(ref("StoryChannel")),
            "dead": array(an_object({"reason": STRING, "at": TIME})),
            "receipts": an_object({"delivered": INTEGER, "read": INTEGER}),
            "names": array(an_object({"userId": STRING, "at": TIME})),
            "nextCursor": NEXT,
        },
        optional=("names", "nextCursor"),
    ),
}


_SINCE: Final = query_parameter("since", TIME, "Only what was created at this time or later.")
_USER: Final = path_parameter("id", "The user.")
_ROOM: Final = path_parameter("id", "The room.")


def history_paths() -> Json:
    """Return the paths of this part."""
    return {
        "/users/{id}/notifications": {
            "get": operation(
                "listInbox",
                "A user's inbox: private ones, those of their rooms, broadcasts since their first "
                "sight; newest first",
                [
                    _USER,
                    LIMIT,
                    CURSOR,
                    query_parameter("unread", {"type": "boolean"}, "Only what is not read."),
                    query_parameter(
                        "archived", {"type": "boolean"}, "Only what is archived; else all but that."
                    ),
                    query_parameter("room", ID, "Only what came to this room."),
                    _SINCE,
                ],
                {
                    "200": answer(
                        "A page.",
                        an_object({"notifications": array(ref("InboxItem")), "nextCursor": NEXT}),
                    )
                },
                tag="inbox",
            )
        },
        "/users/{id}/notifications/unread-count": {
            "get": operation(
                "getUnreadCount",
                "How many notifications of a user's inbox are not read",
                [_USER],
                {"200": answer("The number.", an_object({"count": INTEGER}))},
                tag="inbox",
            )
        },
        "/users/{id}/notifications/read-all": {
            "post": operation(
                "markAllRead",
                "Mark everything read that was published until now",
                [_USER],
                {"200": answer("How many were unread.", an_object({"marked": INTEGER}))},
                tag="inbox",
            )
        },
        "/users/{id}/notifications/{nid}/read": {
            "post": operation(
                "markRead",
                "Mark a notification read; the user's sockets are told",
                [_USER, path_parameter("nid", "The notification.")],
                {
                    "204": {"description": "It is read."},
                    "404": problem("It is not in the user's inbox."),
                },
                tag="inbox",
            )
        },
        **{
            f"/users/{{id}}/notifications/{{nid}}/{name}": {
                "post": operation(
                    operation_id,
                    f"{text}; the user's sockets are told",
                    [_USER, path_parameter("nid", "The notification.")],
                    {
                        "204": {"description": "It is done."},
                        "404": problem("It is not in the user's inbox."),
                    },
                    tag="inbox",
                )
            }
            for name, operation_id, text in (
                ("unread", "markUnread", "Mark a notification unread"),
                ("archive", "archiveNotification", "Put a notification away"),
                ("unarchive", "unarchiveNotification", "Take a notification out of the archive"),
            )
        },
        "/users": {
            "post": operation(
                "addUser",
                "Make a user known",
                [],
                {
                    "200": answer("The user was known.", ref("User")),
                    "201": answer("The user is known now.", ref("User")),
                    "413": problem("The body is too large."),
                    "415": problem("The Content-Type is not application/json."),
                },
                tag="users",
                more={
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": ref("NewUser")}},
                    }
                },
            )
        },
        "/users/{id}": {
            "get": operation(
                "getUser",
                "A user who was made known",
                [_USER],
                {"200": answer("The user.", ref("User")), "404": problem("Nobody knows them.")},
                tag="users",
            ),
            "delete": operation(
                "deleteUser",
                "Remove a user with inbox, receipts and memberships; their sockets are closed",
                [_USER],
                {"204": {"description": "They are gone."}},
                tag="users",
            ),
        },
        "/users/{id}/rooms": {
            "get": operation(
                "listRooms",
                "Rooms that a user is a member of, by id",
                [_USER, LIMIT, CURSOR],
                {
                    "200": answer(
                        "A page.",
                        an_object({"rooms": array(ref("Membership")), "nextCursor": NEXT}),
                    )
                },
                tag="users",
            )
        },
        "/rooms/{id}/members": {
            "get": operation(
                "listMembers",
                "Members of a room in the order in which they joined",
                [_ROOM, LIMIT, CURSOR],
                {
                    "200": answer(
                        "A page.",
                        an_object({"members": array(ref("Member")), "nextCursor": NEXT}),
                    )
                },
                tag="rooms",
            )
        },
        "/rooms/{id}/members/{user}": {
            "put": operation(
                "addMember",
                "Make a user a member: their inbox has what comes to the room from now on",
                [_ROOM, path_parameter("user", "The user.")],
                {"204": {"description": "They are a member."}},
                tag="rooms",
            ),
            "delete": operation(
                "removeMember",
                "End a membership",
                [_ROOM, path_parameter("user", "The user.")],
                {"204": {"description": "They are no member."}},
                tag="rooms",
            ),
        },
        "/notifications": {
            "get": operation(
                "listSent",
                "What was sent, newest first",
                [
                    LIMIT,
                    CURSOR,
                    query_parameter("type", text_of(*KINDS), "Only of this type."),
                    query_parameter("target", ID, "Only what was sent to this user or room."),
                    query_parameter("status", text_of(*STATUSES), "Only with this status."),
                    _SINCE,
                    query_parameter(
                        "until", TIME, "Only what was created at this time or earlier."
                    ),
                    query_parameter("userId", ID, "Only what this user sent."),
                ],
                {
                    "200": answer(
                        "A page.",
                        an_object({"notifications": array(ref("SentItem")), "nextCursor": NEXT}),
                    )
                },
                tag="notifications",
            )
        },
        "/notifications/{id}": {
            "get": operation(
                "getStory",
                "What became of a notification",
                [
                    path_parameter("id", "The notification."),
                    query_parameter(
                        "receipts",
                        text_of("delivered", "read"),
                        "Also who got it, or who read it, in pages.",
                    ),
                    LIMIT,
                    CURSOR,
                ],
                {
                    "200": answer("Its story.", ref("Story")),
                    "404": problem("Nobody knows it."),
                },
                tag="notifications",
            )
        },
    }
