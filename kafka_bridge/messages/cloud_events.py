"""Events as CloudEvents 1.0 in structured JSON, and back. Pure: no broker, no clock.

The JSON text of an event is passed through byte for byte as `data`. What Roomcast needs to restore
an event beyond that travels in extension attributes: `client`, `streamid` (its id in the event
stream), `writer` (the worker or gateway), and for a publication `acceptedtime` and `extra` (JSON
that clients were not sent). A dead letter may be any bytes: it travels as `data_base64`, with its
`reason`.
"""

import base64
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from common.errors import RoomcastError
from common.events.event import Event, EventKind
from common.events.payloads import decode_dead, decode_dropped, decode_identified
from common.model.channels import DEFAULT_CLIENT, KAFKA_GROUP, client_of
from common.model.timestamps import format_time
from kafka_bridge.messages.message import Header, Message

CONTENT_TYPE: Final = "application/cloudevents+json"
SOURCE: Final = b"urn:roomcast"
DATA_MAX_BYTES: Final = 2 * 1024 * 1024
"""A dead letter longer than this is cut (`truncated`); nothing else can be as long."""

TYPES: Final = {kind: kind.cloud_type for kind in EventKind if kind.cloud_type}
"""Kind of an event → `type`; what is not here is not mirrored."""
LEFT_OUT: Final = "roomcast.event.left-out"
"""`type` of what is in the place of an event that the topic does not take."""
KINDS: Final = {name: kind for kind, name in TYPES.items()}

# Of an enumeration's members, the hot path looks none up.
_PUBLISHED: Final = str(EventKind.PUBLISHED.value)
_OFFSET: Final = b'","offset":'
_EPOCH: Final = b'"epoch":"'
_EPOCH_NAME: Final = b'"epoch":'
_CREATED: Final = b'"createdAt":"'
_ID: Final = b'"id":"'
_OFFSET_LENGTH: Final = len(_OFFSET)
_EPOCH_LENGTH: Final = len(_EPOCH)
_CREATED_LENGTH: Final = len(_CREATED)
_ID_LENGTH: Final = len(_ID)
_TIME_LENGTH: Final = len("2026-11-21T04:00:00.123Z")
_CONTENT_TYPE_HEADER: Final = ("content-type", CONTENT_TYPE.encode())
# The constructor of a named tuple, without the function in Python that is its `__new__`.
_message: Final = tuple.__new__
_encode: Final = msgspec.json.Encoder().encode


class _Id(msgspec.Struct):
    id: str = ""


class _Envelope(msgspec.Struct):
    id: str
    type: str
    client: str
    streamid: str
    subject: str = ""
    writer: str = ""
    extra: str = ""
    reason: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    data_base64: bytes = b""


class LeftOutError(RoomcastError, ValueError):
    """This is in the place of an event that the topic did not take."""


class MirroredEvent(NamedTuple):
    """An event as it was read from Kafka, with its CloudEvents id."""

    id: str
    event: Event


_TEXT_MAX: Final = 1_024
_FIELD_MAX: Final = 256
_FIELDS_MAX: Final = 24
_HEAD_ATTRIBUTES: Final = ("id", "time", "subject", "client", "streamid", "writer", "acceptedtime")
_ENTRY: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")
_ENTRY_END: Final = 253_402_300_800_000
"""No time is later: that is when year 9999 ends, in Unix milliseconds."""
_raw_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_envelope_decoder: Final = msgspec.json.Decoder(_Envelope)
_id_decoder: Final = msgspec.json.Decoder(_Id)


def to_message(event: Event) -> Message | None:
    """Write an event as a message.

    Returns:
        None for a kind that is not mirrored.

    Raises:
        ValueError: the text is not what its kind says.
    """
    entry, kind, channel, writer, text, extra = event
    if kind != _PUBLISHED:
        name = TYPES.get(kind)  # type: ignore[call-overload]  # a StrEnum is its text
        return None if name is None else _other(event, name)
    # The last fields are the frame's own, and have no quote inside.
    head, epoch, comma, last_name, last = text.rsplit(b'"', 4)
    if comma != b"," or last_name != b"offset" or not head.endswith(_EPOCH_NAME):
        raise ValueError("the text is no frame")
    created = head.rindex(_CREATED) + _CREATED_LENGTH
    offset = last[1:-1]
    start = text.index(_ID) + _ID_LENGTH
    notification = text[start : text.index(b'"', start)]
    if notification.find(b"\\") >= 0:
        notification = decode_identified(text).id.encode()
    key, opening, middle = _channel_parts(channel)
    at_ms, time = _time(entry.partition("-")[0])
    value = b"".join(
        (
            opening,
            epoch,
            b"/",
            offset,
            time,
            middle,
            entry.encode(),
            _writer(writer),
            head[created : created + _TIME_LENGTH],
            b'","extra":%b,"data":' % _encode(extra.decode()) if extra else b'","data":',
            text,
            b"}",
        )
    )
    headers = [_CONTENT_TYPE_HEADER, ("id", notification), ("offset", offset)]
    return _message(Message, (key, value, headers, at_ms, epoch, offset))


def _other(event: Event, name: str) -> Message:
    client = client_of(event.channel) or _owner(event)
    key = event.channel.encode()
    _, _, middle = _channel_parts(event.channel or f"{client}/")
    if event.kind == EventKind.DEAD:
        cut = len(event.text) > DATA_MAX_BYTES
        reason = event.extra.decode(errors="replace")
        data = b'"reason":%b,%b"data_base64":"%b"' % (
            _encode(reason),
            b'"truncated":true,' if cut else b"",
            base64.b64encode(event.text[:DATA_MAX_BYTES]),
        )
        middle = middle.replace(b"application/json", b"application/octet-stream")
        headers: list[Header] = [_CONTENT_TYPE_HEADER]
    else:
        extra = b'"extra":%b,' % _encode(event.extra.decode()) if event.extra else b""
        data = b'%b"data":%b' % (extra, event.text)
        notification = _id_decoder.decode(event.text).id
        headers = [_CONTENT_TYPE_HEADER]
        if notification:
            headers.append(("id", notification.encode()))
    value = (
        b'{"specversion":"1.0","type":"%b","source":"%b","id":%b,"time":"%b%b%b","writer":%b,%b}'
    ) % (
        name.encode(),
        SOURCE,
        _encode(f"{client}/{event.id}"),
        format_time(event.at_ms).encode(),
        middle,
        event.id.encode(),
        _encode(event.writer),
        data,
    )
    return Message(key, value, headers, event.at_ms)


def _owner(event: Event) -> str:
    """Client of a dead letter: a job says whose it is."""
    try:
        return decode_dead(event.text).client
    except (ValueError, RecursionError):
        return DEFAULT_CLIENT


@lru_cache(maxsize=10_000)
def _channel_parts(channel: str) -> tuple[bytes, bytes, bytes]:
    """Key of a scoped channel, and what depends on it before the epoch and behind the time."""
    client, _, name = channel.partition("/")
    opening = b'{"specversion":"1.0","type":"%b","source":"%b","id":"%b/' % (
        TYPES[EventKind.PUBLISHED].encode(),
        SOURCE,
        _encode(channel)[1:-1],
    )
    subject = b'"subject":%b,' % _encode(name) if name else b""
    middle = b'",%b"client":%b,"datacontenttype":"application/json","streamid":"' % (
        subject,
        _encode(client or DEFAULT_CLIENT),
    )
    return channel.encode(), opening, middle


@lru_cache(maxsize=1_000)
def _time(unix_ms: str) -> tuple[int, bytes]:
    """The time, and how it stands behind the id of a publication."""
    at_ms = int(unix_ms)
    return at_ms, b'","time":"%b' % format_time(at_ms).encode()


@lru_cache(maxsize=1_000)
def _writer(name: str) -> bytes:
    return b'","writer":%b,"acceptedtime":"' % _encode(name)


def head_of(message: Message, reason: str) -> Message:
    """Make what goes in the place of an event that the topic does not take.

    It has the same id and key, and of the event only what is short.

    Args:
        message: that `to_message` made.
        reason: why it was refused.
    """
    found = _raw_decoder.decode(message.value or b"{}")
    text = bytes(found.get("data", b""))
    if "data_base64" in found:
        text = base64.b64decode(msgspec.json.decode(found["data_base64"], type=str))
    event, left_out = _short_fields(text)
    data: dict[str, Any] = {
        "type": found.get("type", msgspec.Raw(b'""')),
        "bytes": len(message.value or b""),
        "reason": reason[:_TEXT_MAX],
        "leftOut": left_out,
        "event": event,
    }
    if len(found.get("reason", b"")) in range(1, _TEXT_MAX):
        data["cause"] = found["reason"]
    attributes = {
        name: found[name]
        for name in _HEAD_ATTRIBUTES
        if len(found.get(name, b"")) in range(1, _TEXT_MAX)
    }
    value = {
        "specversion": "1.0",
        "type": LEFT_OUT,
        "source": SOURCE.decode(),
        "id": f"left-out/{message.at_ms}",
        "datacontenttype": "application/json",
        **attributes,
        "data": data,
    }
    headers = [each for each in message.headers if len(each[1]) < _TEXT_MAX]
    key = message.key[:_TEXT_MAX] if message.key is not None else None
    return message._replace(key=key, value=_encode(value), headers=headers)


def _short_fields(text: bytes) -> tuple[dict[str, msgspec.Raw], list[str]]:
    """Fields of an object that are short, and the names of some that are not."""
    try:
        fields = _raw_decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}, []
    short: dict[str, msgspec.Raw] = {}
    left_out: list[str] = []
    for name, value in fields.items():
        if len(short) < _FIELDS_MAX and len(name) + len(bytes(value)) <= _FIELD_MAX:
            short[name] = value
        elif len(left_out) < _FIELDS_MAX and len(name) <= _FIELD_MAX:
            left_out.append(name)
    return short, left_out


def from_message(value: bytes) -> MirroredEvent:
    """Read an event that `to_message` wrote.

    Raises:
        LeftOutError: it is only the head of one.
        ValueError: it is no event of Roomcast's.
    """
    try:
        found = _envelope_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a CloudEvent of Roomcast's: {error}") from None
    kind = KINDS.get(found.type)
    if kind is None:
        if found.type == LEFT_OUT:
            raise LeftOutError(found.id)
        raise ValueError(f"unknown type {found.type!r}")
    if kind is EventKind.DEAD:
        text, extra = found.data_base64, found.reason
    else:
        text, extra = bytes(found.data), found.extra
    channel = f"{found.client}/{found.subject}" if found.subject else ""
    event = Event(found.streamid, kind, channel, found.writer, text, extra.encode())
    _check_usable(event)
    return MirroredEvent(found.id, event)


def _check_usable(event: Event) -> None:
    """Check that the stream could have had what looks like an event.

    Raises:
        ValueError: it is so.
    """
    entry = _ENTRY.fullmatch(event.id)
    if entry is None or not 0 < int(entry[1]) < _ENTRY_END or int(entry[2]) >= _ENTRY_END:
        raise ValueError("its streamid is no id of an entry")
    if event.kind == EventKind.PUBLISHED:
        place_of(event)
        accepted_ms(event)
    elif event.kind == EventKind.DROPPED:
        dropped_before(event)


def place_of(event: Event) -> tuple[str, int]:
    """Epoch and offset of a publication.

    Raises:
        ValueError: its text is no frame.
    """
    end = event.text.rindex(_OFFSET)
    start = event.text.rindex(_EPOCH, 0, end) + _EPOCH_LENGTH
    return event.text[start:end].decode(), int(event.text[end + _OFFSET_LENGTH : -1])


def dropped_before(event: Event) -> int:
    """About how many events the bridge never mirrored, as this event tells; 0 of any other kind."""
    if event.kind != EventKind.DROPPED:
        return 0
    hole = decode_dropped(event.text)
    return hole.count if hole.reader == KAFKA_GROUP else 0


def accepted_ms(event: Event) -> int:
    """Unix time in milliseconds at which a publication's notification was accepted.

    Raises:
        ValueError: its text is no frame.
    """
    created = event.text.rindex(_CREATED) + len(_CREATED)
    text = event.text[created : created + _TIME_LENGTH].decode()
    return _unix_s(text[:19]) * 1000 + int(text[20:23])


@lru_cache(maxsize=16)
def _unix_s(to_the_second: str) -> int:
    return int(datetime.fromisoformat(to_the_second).replace(tzinfo=UTC).timestamp())
