"""Codes of all refusals over HTTP and on sockets, each with its status and meaning.

`docs/reference/problems.md` and the OpenAPI document are made from this list.
"""

from enum import StrEnum
from http import HTTPStatus
from typing import Final, Self

_BAD: Final = HTTPStatus.BAD_REQUEST
_CONFLICT: Final = HTTPStatus.CONFLICT
_INVALID: Final = HTTPStatus.UNPROCESSABLE_ENTITY
_MANY: Final = HTTPStatus.TOO_MANY_REQUESTS
_MISSING: Final = HTTPStatus.NOT_FOUND
_UNAVAILABLE: Final = HTTPStatus.SERVICE_UNAVAILABLE
_UNSUPPORTED: Final = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class ProblemCode(StrEnum):
    """Stable code of a problem document (RFC 9457) or of an error frame on a socket.

    The `type` of a problem document is `urn:roomcast:problem:<code>`, its `title` the phrase of its
    status. An error frame has the code only.

    Attributes:
        status: HTTP status that it is answered with.
        meaning: what is wrong, in a sentence for the documentation.
        retry: whether the same request may succeed later; over HTTP, `Retry-After` says when.
    """

    status: HTTPStatus
    meaning: str
    retry: bool

    def __new__(cls, code: str, status: HTTPStatus, meaning: str, retry: bool = False) -> Self:
        """Make a member that is its code's text."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.status = status
        member.meaning = meaning
        member.retry = retry
        return member

    # Requests of any kind.
    NOT_HTTP = "not-http", _BAD, "The request is not HTTP."
    REPEATED_HEADER = (
        "repeated-header",
        _BAD,
        "A header that may be there once is there more than once.",
    )
    HEAD_TOO_LARGE = (
        "head-too-large",
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The request line and headers are too large, or too many.",
    )
    REQUEST_TIMEOUT = (
        "request-timeout",
        HTTPStatus.REQUEST_TIMEOUT,
        "The request did not come in time.",
    )
    NOT_FOUND = "not-found", _MISSING, "There is nothing at this path."
    METHOD_NOT_ALLOWED = (
        "method-not-allowed",
        HTTPStatus.METHOD_NOT_ALLOWED,
        "The path has no such method; `Allow` names those that it has.",
    )
    UNSUPPORTED_CONTENT_ENCODING = (
        "unsupported-content-encoding",
        _UNSUPPORTED,
        "The body is encoded; no Content-Encoding is accepted.",
    )
    OTHER = "http", _BAD, "Any other refusal by the HTTP library; the status says which."
    INTERNAL = (
        "internal",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The server is at fault; its log says why.",
    )

    # Bodies and parameters.
    TOO_LARGE = "too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large."
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported-media-type",
        _UNSUPPORTED,
        "The Content-Type is not application/json.",
    )
    MALFORMED_JSON = "malformed-json", _BAD, "The body is not JSON."
    INVALID = ("invalid", _INVALID, "Invalid: `errors` points at every bad field or parameter.")

    # Credentials and limits.
    UNAUTHORIZED = (
        "unauthorized",
        HTTPStatus.UNAUTHORIZED,
        "Credentials are missing (`detail` says how to send them) or not accepted.",
    )
    FORBIDDEN = "forbidden", HTTPStatus.FORBIDDEN, "These credentials are not for this."
    CREDENTIALS_UNKNOWN = (
        "credentials-unknown",
        _UNAVAILABLE,
        "The clients are not known yet, so that no credentials can be checked.",
        True,
    )
    TOO_MANY_FAILURES = (
        "too-many-failures",
        _MANY,
        "Too many credentials from this address were refused; there are no `RateLimit-` headers.",
        True,
    )
    RATE_LIMITED = ("rate-limited", _MANY, "The client sends too many requests per second.", True)
    QUOTA_EXCEEDED = (
        "quota-exceeded",
        _MANY,
        "The client sent as many notifications as it may today (UTC).",
        True,
    )
    FAN_OUT_LIMITED = (
        "fan-out-limited",
        _MANY,
        "The client's notifications for several targets come to too many bytes in this second.",
        True,
    )
    TOO_MANY_TICKETS = (
        "too-many-tickets",
        _MANY,
        "The client, or the user, has as many unused tickets as there may be.",
        True,
    )

    # Sending notifications.
    INVALID_IDEMPOTENCY_KEY = (
        "invalid-idempotency-key",
        _INVALID,
        "The Idempotency-Key is too long or not printable.",
    )
    IDEMPOTENCY_KEY_REUSED = (
        "idempotency-key-reused",
        _INVALID,
        "The Idempotency-Key was used with another body.",
    )
    IDEMPOTENCY_KEY_IN_FLIGHT = (
        "idempotency-key-in-flight",
        _CONFLICT,
        "A request with this Idempotency-Key is under way.",
        True,
    )
    LANE_FULL = "lane-full", _UNAVAILABLE, "The lane is full; nothing was queued.", True
    CLIENT_LANE_FULL = (
        "client-lane-full",
        _UNAVAILABLE,
        "Too many notifications of this client wait in the lane; nothing was queued.",
        True,
    )
    EVENTS_FULL = (
        "events-full",
        _UNAVAILABLE,
        "A reader of the event stream is too far behind; nothing was queued.",
        True,
    )
    CLIENT_EVENTS_FULL = (
        "client-events-full",
        _UNAVAILABLE,
        "Too many events of this client are still to be read; nothing was queued.",
        True,
    )
    OUTCOME_UNKNOWN = (
        "outcome-unknown",
        _UNAVAILABLE,
        "Redis did not answer, and whether it queued the notification is unknown: repeat with the "
        "same Idempotency-Key.",
        True,
    )

    # Redis and PostgreSQL.
    OVERLOADED = "overloaded", _UNAVAILABLE, "Too many requests wait.", True
    REDIS_AWAY = "redis-away", _UNAVAILABLE, "Redis does not answer.", True
    REDIS_NEARLY_FULL = "redis-nearly-full", _UNAVAILABLE, "Redis is nearly full.", True
    REDIS_REFUSED = "redis-refused", _UNAVAILABLE, "Redis refused the write.", True
    REDIS_UNFIT = (
        "redis-unfit",
        _UNAVAILABLE,
        "Redis is not set up such that it keeps what it has.",
        True,
    )
    EVENTS_FILLING = (
        "events-filling",
        _UNAVAILABLE,
        "The event stream is half full; the rest is for notifications.",
        True,
    )
    DATABASE_AWAY = "database-away", _UNAVAILABLE, "PostgreSQL does not answer.", True
    HISTORY_OFF = "history-off", _UNAVAILABLE, "There is no database here (`DATABASE_URL`)."

    # Things that are not there, and bounds on their number.
    NOT_IN_INBOX = "not-in-inbox", _MISSING, "The user's inbox has no such notification."
    NOTIFICATION_NOT_FOUND = ("notification-not-found", _MISSING, "No such notification is known.")
    USER_NOT_FOUND = "user-not-found", _MISSING, "No such user was made known."
    CLIENT_NOT_FOUND = "client-not-found", _MISSING, "There is no such client."
    KEY_NOT_FOUND = "key-not-found", _MISSING, "The client has no such key."
    NO_CLIENT = "no-client", _CONFLICT, "No client's key was shown, so that there is no client."
    TOO_MANY_KEYS = ("too-many-keys", _CONFLICT, "The client has as many keys as it may have.")
    TOO_MANY_SECRETS = (
        "too-many-secrets",
        _CONFLICT,
        "As many secrets are good as the client may have.",
    )

    # Connections at a gateway, before they are a socket or an event stream.
    BAD_HANDSHAKE = "bad-handshake", _BAD, "The WebSocket handshake breaks RFC 6455."
    BAD_REQUEST = "bad-request", _BAD, "The query of the event stream is not understood."
    UPGRADE_REQUIRED = (
        "upgrade-required",
        HTTPStatus.UPGRADE_REQUIRED,
        "Only WebSockets connect here.",
    )
    ADDRESS_TOO_FAST = (
        "address-too-fast",
        _UNAVAILABLE,
        "This address makes too many connections per second.",
        True,
    )
    TOO_MANY_HANDSHAKES = (
        "too-many-handshakes",
        _UNAVAILABLE,
        "The gateway gets too many connections per second.",
        True,
    )
    FULL = "full", _UNAVAILABLE, "The gateway has no room for more connections.", True
    DRAINING = "draining", _UNAVAILABLE, "The gateway is about to stop.", True
    TICKET_NOT_ACCEPTED = (
        "ticket-not-accepted",
        HTTPStatus.UNAUTHORIZED,
        "The ticket in the URL is not accepted; a socket is closed with 4507.",
    )
    TOO_MANY_CONNECTIONS = (
        "too-many-connections",
        _MANY,
        "The client has as many connections as it may have; a socket is closed with 4505.",
        True,
    )

    # Messages on a socket.
    MALFORMED = "malformed", _BAD, "The message is not JSON, or no JSON object."
    NOT_REGISTERED = "not-registered", _BAD, "An action came before the registration."
    ALREADY_REGISTERED = "already-registered", _BAD, "The connection is registered already."
    UNKNOWN_ACTION = "unknown-action", _BAD, "There is no such `action`."
    TOO_MANY_ROOMS = ("too-many-rooms", _BAD, "The message, or the connection, has too many rooms.")
    NOT_IN_ROOM = "not-in-room", _BAD, "The connection is not in the room that it leaves."
    UNSUPPORTED = "unsupported", _BAD, "Messages are text, not binary."
    UNAVAILABLE = "unavailable", _UNAVAILABLE, "It can't be done now.", True
    NOT_SENT = (
        "not-sent",
        _MISSING,
        "The receipts are for what the user was not sent, or too long ago.",
    )
    TOO_MANY_RECEIPTS = "too-many-receipts", _MANY, "The receipts are too many for now.", True
