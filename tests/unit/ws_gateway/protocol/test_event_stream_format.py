import json
from urllib.parse import urlencode

import pytest

from common.model.problem_codes import ProblemCode
from common.model.publication import Position
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.event_ids import LOST, EventIds
from ws_gateway.protocol.event_stream_format import (
    close_event,
    event,
    read_stream_request,
    stream_head,
    type_of,
)
from ws_gateway.protocol.messages import (
    MessageError,
    Register,
    error_text,
    left_text,
    parse_message,
)


def query(**fields: object) -> str:
    return urlencode(fields, doseq=True)


def test_a_request_registers_like_a_socket_that_asks_for_the_same() -> None:
    asked = read_stream_request(query(userId="ü/1", room=["a", "b", "a"]), None)
    socket = json.dumps({"userId": "ü/1", "room": ["a", "b", "a"]})
    assert asked.registration(3) == parse_message(socket, registered=False, max_rooms=3)
    assert asked.channels == ("user:ü/1", "broadcast", "room:a", "room:b")
    assert asked.ticket is None


def test_it_resumes_where_its_last_event_id_says_and_forgets_other_rooms() -> None:
    at = {"user:1": Position("e", 4), "broadcast": Position("f", 5), "room:old": Position("e", 6)}
    an_id = EventIds(at).id().decode()
    known = {"user:1": at["user:1"], "broadcast": at["broadcast"]}
    for way in (
        read_stream_request(query(userId=1, room="new"), an_id),
        read_stream_request(query(userId=1, room="new", lastEventId=an_id), None),
    ):
        assert way.registration(1) == Register("1", ("new",), known)


def test_the_header_counts_more_than_the_query() -> None:
    an_id = EventIds({"user:1": Position("e", 4), "broadcast": Position("e", 1)}).id().decode()
    asked = read_stream_request(query(userId=1, lastEventId="rubbish"), an_id)
    assert asked.resume["user:1"] == Position("e", 4)


def test_an_id_of_nobody_recovers_nothing() -> None:
    asked = read_stream_request(query(userId=1), "rubbish")
    assert asked.resume == {"user:1": LOST, "broadcast": LOST}


def test_a_ticket_is_no_part_of_what_is_shown() -> None:
    asked = read_stream_request(query(userId=1, ticket="secret"), None)
    assert asked.ticket == "secret"
    assert "secret" not in repr(asked)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"userId": ""}, ProblemCode.INVALID),
        ({"userId": "x" * 129}, ProblemCode.INVALID),
        ({"userId": 1, "room": "a\nb"}, ProblemCode.INVALID),
        ({"userId": 1, "room": ["a", "b", "c"]}, ProblemCode.TOO_MANY_ROOMS),
    ],
)
def test_ids_are_checked_as_those_of_a_socket(fields: dict[str, object], code: str) -> None:
    with pytest.raises(MessageError) as caught:
        read_stream_request(query(**fields), None).registration(2)
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["", "room=1", "userId=1&userId=2", "userId=1&x=2", "userId=%ff"])
def test_a_query_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_stream_request(text, None)


def test_a_notification_is_an_event_without_a_name() -> None:
    assert event(b'{"a":1}', event_id=b"x") == b'id: x\ndata: {"a":1}\n\n'


def test_broken_lines_of_a_text_are_lines_of_data() -> None:
    assert event(b'{\r\n"a":\n1}', b"read") == b'event: read\ndata: {\ndata: "a":\ndata: 1}\n\n'


def test_the_last_event_says_why_the_stream_ends() -> None:
    head, data, *rest = close_event(CloseCode.RESTARTING).split(b"\n")
    assert (head, rest) == (b"event: close", [b"", b""])
    reason = json.loads(data.removeprefix(b"data: "))
    assert (reason["code"], reason["comeBack"]) == (1012, True)


def test_the_name_of_an_event_is_the_type_of_the_answer() -> None:
    assert type_of(left_text(("1",))) == b"left"
    assert type_of(error_text(MessageError(ProblemCode.INVALID, "x"))) == b"error"
    assert type_of(b'{"ids":[],"type":"read"}') == b"read"


def test_more_lines_stand_in_the_head_before_the_empty_one() -> None:
    assert stream_head("A: 1", "B: 2").endswith(b"\r\nA: 1\r\nB: 2\r\n\r\n")
