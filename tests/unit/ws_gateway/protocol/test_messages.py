import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.model.problem_codes import ProblemCode
from common.model.publication import Position
from tests.support import strategies
from tests.support.examples import examples
from ws_gateway.protocol.messages import (
    ERROR_CODES,
    Join,
    Leave,
    MessageError,
    PingAction,
    Register,
    error_text,
    joined_text,
    left_text,
    parse_message,
    registered_text,
)


def parse(message: Any, *, registered: bool = False, max_rooms: int = 100) -> Any:
    text = message if isinstance(message, str) else json.dumps(message)
    return parse_message(text, registered=registered, max_rooms=max_rooms)


def refusal(message: Any, *, registered: bool = False, max_rooms: int = 3) -> ProblemCode:
    with pytest.raises(MessageError) as caught:
        parse(message, registered=registered, max_rooms=max_rooms)
    return caught.value.code


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"userId": 1}, Register("1", ())),
        ({"userId": "1", "room": 1}, Register("1", ("1",))),
        ({"userId": "é/ü", "room": [2, "a", "2"]}, Register("é/ü", ("2", "a"))),
        ({"userId": 1, "room": []}, Register("1", ())),
        ({"action": "ping"}, PingAction()),
        ({"action": None, "userId": 1, "room": 2, "id": None}, Register("1", ("2",))),
        ({"userId": 1, "room": None, "resume": None, "token": None}, Register("1", ())),
    ],
)  # fmt: skip
def test_a_registration_is_understood(message: Any, expected: Any) -> None:
    assert parse(message) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"action": "join", "room": 2}, Join(("2",))),
        ({"action": "join", "room": [2, 2, "x"]}, Join(("2", "x"))),
        ({"action": "leave", "room": "2"}, Leave(("2",))),
        ({"action": "ping"}, PingAction()),
    ],
)
def test_an_action_is_understood(message: Any, expected: Any) -> None:
    assert parse(message, registered=True) == expected


@pytest.mark.parametrize(
    ("message", "registered", "code"),
    [
        ("", False, ProblemCode.MALFORMED),
        ("{", False, ProblemCode.MALFORMED),
        ("[" * 100_000, False, ProblemCode.MALFORMED),
        ('{"a":' * 100_000, True, ProblemCode.MALFORMED),
        ("5", False, ProblemCode.MALFORMED),
        ("[]", True, ProblemCode.MALFORMED),
        ('"x"', True, ProblemCode.MALFORMED),
        ("NaN", True, ProblemCode.MALFORMED),
        ('{"userId":"\\ud800"}', False, ProblemCode.MALFORMED),
        ({}, False, ProblemCode.INVALID),
        ({"room": 1}, False, ProblemCode.INVALID),
        ({"userId": None}, False, ProblemCode.INVALID),
        ({"userId": 1.5}, False, ProblemCode.INVALID),
        ({"userId": True}, False, ProblemCode.INVALID),
        ({"userId": ""}, False, ProblemCode.INVALID),
        ({"userId": "a\nb"}, False, ProblemCode.INVALID),
        ({"userId": "x" * 129}, False, ProblemCode.INVALID),
        ('{"userId":%s}' % ("9" * 5_000), False, ProblemCode.MALFORMED),
        ({"userId": [1]}, False, ProblemCode.INVALID),
        ({"userId": 1, "room": {}}, False, ProblemCode.INVALID),
        ({"userId": 1, "room": [[1]]}, False, ProblemCode.INVALID),
        ({"userId": 1, "rooms": [1]}, False, ProblemCode.INVALID),
        ({"userId": 1, "room": [1, 2, 3, 4]}, False, ProblemCode.TOO_MANY_ROOMS),
        ({"userId": 1}, True, ProblemCode.ALREADY_REGISTERED),
        ({}, True, ProblemCode.UNKNOWN_ACTION),
        ({"action": "shout"}, True, ProblemCode.UNKNOWN_ACTION),
        ({"action": ["join"]}, True, ProblemCode.UNKNOWN_ACTION),
        ({"action": {}}, True, ProblemCode.UNKNOWN_ACTION),
        ({"action": "join", "room": 1}, False, ProblemCode.NOT_REGISTERED),
        ({"action": "leave", "room": 1}, False, ProblemCode.NOT_REGISTERED),
        ({"action": "join"}, True, ProblemCode.INVALID),
        ({"action": "join", "room": 1, "x": 1}, True, ProblemCode.INVALID),
        ({"action": "ping", "room": 1}, True, ProblemCode.INVALID),
        ({"action": "join", "room": [1, 2, 3, 4]}, True, ProblemCode.TOO_MANY_ROOMS),
    ],
)
def test_what_is_not_understood_has_its_code(
    message: Any, registered: bool, code: ProblemCode
) -> None:
    assert refusal(message, registered=registered) == code


@pytest.mark.parametrize(
    ("message", "registered"),
    [
        ('{"userId":1,"userId":2}', False),
        ('{"userId":1,"user\\u0049d":2}', False),
        ('{"userId":1,"room":null,"room":2}', False),
        ('{"userId":1,"resume":{},"resume":{}}', False),
        ('{"userId":1,"resume":{"user:1":{"epoch":"a","offset":1,"offset":2}}}', False),
        ('{"userId":1,"resume":{"user:1":{"epoch":"a","offset":1},"user:1":{}}}', False),
        ('{"action":"leave","action":"join","room":1}', True),
        ('{"action":"read","id":["a:b"],"id":["c:d"]}', True),
    ],
)
def test_a_name_that_is_there_twice_is_refused(message: str, registered: bool) -> None:
    with pytest.raises(MessageError, match="is there more than once") as refused:
        parse(message, registered=registered)
    assert refused.value.code == ProblemCode.INVALID


def test_colons_are_no_names() -> None:
    position = {"epoch": "a:b", "offset": 1}
    resume = {"user:a:b": position, "broadcast": position, "room:x:y": position}
    found = parse({"userId": "a:b", "room": "x:y", "resume": resume, "token": ":::"})
    assert (found.user, found.rooms, len(found.resume)) == ("a:b", ("x:y",), 3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it ends too early"),
        ('{"userId":', "it ends too early"),
        ('{"userId":NaN}', "see byte 10"),
        ("{'userId':1}", "see byte 1"),
        ('{"userId":1e400}', "a number is too large"),
        ('{"userId":%s}' % ("9" * 5_000), "a number is too large"),
        ("[" * 16_000, "it is nested too deep"),
        ('{"a":' * 3_000, "it is nested too deep"),
        ('{"userId":1}x', "something follows it (byte 13)"),
        ('{"userId":"\\ud800"}', "text holds a lone surrogate"),
        (
            '{"userId":1,"resume":{"\\udc00":{"epoch":"x","offset":5}}}',
            "text holds a lone surrogate",
        ),
    ],
)
def test_what_is_no_json_is_told_in_words_about_it(text: str, reason: str) -> None:
    with pytest.raises(MessageError) as refused:
        parse(text)
    assert str(refused.value) == f"not JSON: {reason}"
    assert refused.value.code == ProblemCode.MALFORMED


words = st.sampled_from(["action", "userId", "room", "join", "leave", "ping", "x"])
near = st.dictionaries(words, words | strategies.values, max_size=4)


@examples(300)
@given(st.text(max_size=40) | (near | strategies.values).map(json.dumps), st.booleans())
def test_any_text_is_a_message_or_a_client_error_that_can_be_told(
    text: str, registered: bool
) -> None:
    try:
        message = parse_message(text, registered=registered, max_rooms=3)
    except MessageError as error:
        told = json.loads(error_text(error))
        assert told["type"] == "error"
        assert told["code"] in ERROR_CODES
        assert told["message"]
    else:
        assert isinstance(message, Register | Join | Leave | PingAction)


@examples(100)
@given(strategies.ids, st.lists(strategies.ids, max_size=20))
def test_ids_are_text_and_rooms_count_once(user: int | str, rooms: list[int | str]) -> None:
    expected = tuple(dict.fromkeys(map(str, rooms)))
    found = parse({"userId": user, "room": rooms})
    # Integers of more than 64 bits come out of the JSON parser as they were written.
    assert found == Register(str(user), expected)
    assert parse({"action": "join", "room": rooms}, registered=True) == Join(expected)


def test_answers_say_where_the_gateway_stands() -> None:
    positions = {"user:1": Position("ab", 0), "room:é": Position("cd", 7)}
    channels = {"user:1": {"epoch": "ab", "offset": 0}, "room:é": {"epoch": "cd", "offset": 7}}
    resumed = {"user:1": channels["user:1"], "room:é": channels["room:é"] | {"recovered": False}}
    answer = registered_text("1", ("é",), "g-1", positions, {"room:é": False})
    assert json.loads(answer) == {
        "type": "registered", "userId": "1", "rooms": ["é"], "connectionId": "g-1",
        "channels": resumed,
    }  # fmt: skip
    assert json.loads(joined_text(("é",), positions)) == {
        "type": "joined", "rooms": ["é"], "channels": channels,
    }  # fmt: skip
    assert json.loads(left_text(("é",))) == {"type": "left", "rooms": ["é"]}


def test_a_lone_surrogate_in_a_message_does_not_break_its_error() -> None:
    assert json.loads(error_text(MessageError(ProblemCode.INVALID, "x \ud800")))["message"] == "x ?"
