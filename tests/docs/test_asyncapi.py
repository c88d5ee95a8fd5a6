"""The AsyncAPI file against the code, and against what a running gateway sends."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from jsonschema import Draft7Validator
from websockets.sync.client import ClientConnection, connect

from common.config.settings import Settings
from common.model.ids import ID_PATTERN
from common.model.problem_codes import ProblemCode
from tests.support.clients.sender import post
from tests.support.processes.stack import Stack
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.messages import ERROR_CODES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "asyncapi.yaml"
DOCUMENT = yaml.safe_load(PAGE.read_text())
MESSAGES = DOCUMENT["components"]["messages"]
SCHEMAS = DOCUMENT["components"]["schemas"]

LISTENER = str(uuid4())
ROOMS = [str(uuid4()), str(uuid4())]


def validator(schema: str) -> Draft7Validator:
    whole = {"allOf": [{"$ref": f"#/components/schemas/{schema}"}], **DOCUMENT}
    Draft7Validator.check_schema(whole)
    return Draft7Validator(whole)


def validate(frame: dict[str, Any], schema: str) -> None:
    """Validate, and refuse fields that the schema doesn't name."""
    validator(schema).validate(frame)
    assert set(frame) <= set(SCHEMAS[schema]["properties"])


@pytest.fixture
def client(stack: Stack) -> Iterator[ClientConnection]:
    with connect(stack.ws_urls[0]) as client:
        yield client


def ask(client: ClientConnection, message: object) -> dict[str, Any]:
    client.send(message if isinstance(message, str | bytes) else json.dumps(message))
    answer: dict[str, Any] = json.loads(client.recv(10))
    return answer


def test_every_message_has_an_example_that_its_schema_accepts() -> None:
    for name, message in MESSAGES.items():
        assert message["payload"] == {"$ref": f"#/components/schemas/{name}"}
        for example in message["examples"]:
            validate(example["payload"], name)


def test_every_message_is_on_the_channel_and_in_an_operation() -> None:
    assert set(DOCUMENT["channels"]["socket"]["messages"]) == set(MESSAGES)
    used = {
        reference["$ref"].rpartition("/")[2]
        for operation in DOCUMENT["operations"].values()
        for part in (operation, operation.get("reply", {"messages": []}))
        for reference in part["messages"]
    }
    assert used == set(MESSAGES)


def test_it_has_the_error_codes_of_the_code() -> None:
    assert SCHEMAS["error"]["properties"]["code"]["enum"] == [str(code) for code in ERROR_CODES]


def test_it_has_the_close_codes_of_the_code() -> None:
    listed = {
        entry["code"]: entry["comeBack"]
        for entry in DOCUMENT["channels"]["socket"]["x-close-codes"]
    }
    assert listed == {int(code): code.come_back for code in CloseCode}


def test_it_has_the_ids_and_the_bound_of_the_code() -> None:
    assert SCHEMAS["id"]["pattern"] == ID_PATTERN
    default = Settings.model_fields["max_rooms"].default
    assert f"MAX_ROOMS ({default})" in SCHEMAS["roomsGiven"]["description"]


def test_answers_are_as_described(client: ClientConnection) -> None:
    for request, message, answer in (
        ("ping", {"action": "ping"}, "pong"),
        ("register", {"userId": 1, "room": ["1", 2]}, "registered"),
        ("join", {"action": "join", "room": 3}, "joined"),
        ("join", {"action": "join", "room": [3, "4"]}, "joined"),
        ("leave", {"action": "leave", "room": [2, 3]}, "left"),
    ):
        validator(request).validate(message)
        validate(ask(client, message), answer)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (ProblemCode.MALFORMED, "{"),
        (ProblemCode.INVALID, {"action": "join"}),
        (ProblemCode.ALREADY_REGISTERED, {"userId": 1}),
        (ProblemCode.UNKNOWN_ACTION, {"action": "dance"}),
        (ProblemCode.TOO_MANY_ROOMS, {"action": "join", "room": [*range(101)]}),
        (ProblemCode.NOT_IN_ROOM, {"action": "leave", "room": 99}),
        (ProblemCode.UNSUPPORTED, b"binary"),
    ],
)
def test_errors_are_as_described(
    client: ClientConnection, code: ProblemCode, message: object
) -> None:
    ask(client, {"userId": 1})
    answer = ask(client, message)
    validate(answer, "error")
    assert answer["code"] == code


def test_an_action_before_the_registration_is_an_error_as_described(
    client: ClientConnection,
) -> None:
    answer = ask(client, {"action": "join", "room": 1})
    validate(answer, "error")
    assert answer["code"] == ProblemCode.NOT_REGISTERED


@pytest.mark.parametrize(
    "body",
    [
        {"type": "private", "target": LISTENER, "message": "m"},
        {"type": "room", "target": ROOMS, "data": {"n": [1, None]}, "priority": "critical"},
        {"type": "broadcast", "message": "m", "data": {}, "email": "a@b.c", "priority": "low"},
    ],
    ids=lambda body: str(body["type"]),
)
def test_notifications_are_as_described(
    stack: Stack, client: ClientConnection, body: dict[str, object]
) -> None:
    ask(client, {"userId": LISTENER, "room": ROOMS})
    asyncio.run(post(stack, {"userId": 2, **body}))
    targets = body["target"] if isinstance(body.get("target"), list) else [None]
    for _ in targets:  # type: ignore[attr-defined]  # a list
        frame = json.loads(client.recv(10))
        validate(frame, "notification")
        assert frame["type"] == body["type"]


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        ("register", {}),
        ("register", {"userId": 1, "rooms": 1}),
        ("register", {"userId": 1.5}),
        ("register", {"userId": True}),
        ("join", {"action": "join"}),
        ("leave", {"action": "leave", "room": "\n"}),
        ("ping", {"action": "ping", "room": 1}),
    ],
)
def test_what_the_schema_refuses_is_refused_by_the_gateway(
    client: ClientConnection, schema: str, wrong: dict[str, object]
) -> None:
    assert not validator(schema).is_valid(wrong)
    if schema != "register":
        ask(client, {"userId": 1})
    assert ask(client, wrong)["type"] == "error"
