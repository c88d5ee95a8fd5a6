import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from common.jobs.planning import plan_batch, plan_one
from common.model.notification import (
    BATCH_MAX,
    MESSAGE_MAX_BYTES,
    TARGETS_MAX,
    BroadcastNotification,
    notification_adapter,
)
from common.model.problems import Problem
from server.app import ROUTES
from server.openapi.document import openapi_document
from tests.support import strategies
from tests.support.examples import examples

PRIVATE = {"type": "private", "userId": 2, "target": 1, "message": "hello"}
BROADCAST = {"type": "broadcast", "userId": 1, "message": "hello"}

FOREVER = [
    '{"userId":2,"message":"Private message for userId 1","email":"abc@gmail.com","target":1,"type":"private"}',  # noqa: E501
    '{"userId":1,"message":"broadcast message for roomId 1","email":"abc@gmail.com","target":1,"type":"room"}',  # noqa: E501
    '{"userId":1,"message":"broadcast message for all","email":"abc@gmail.com","type":"broadcast"}',
]


def refusal(body: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        plan_one(body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value


def pointers(problem: Problem) -> list[str]:
    return sorted(error.pointer for error in problem.errors)


@pytest.mark.parametrize("body", FOREVER)
def test_the_three_bodies_work_as_they_stand(body: str) -> None:
    assert len(plan_one(body.encode()).jobs) == 1


@examples(150)
@given(st.data())
def test_every_valid_notification_is_taken(data: st.DataObject) -> None:
    body = data.draw(strategies.notifications())
    text = data.draw(strategies.encodings(body))
    notification = notification_adapter.validate_json(text)
    assert notification.userId == str(body["userId"])
    if not isinstance(notification, BroadcastNotification):
        listed = body["target"] if isinstance(body["target"], list) else [body["target"]]
        assert notification.target == list(dict.fromkeys(map(str, listed)))


_schema = openapi_document(ROUTES)
_validator = Draft202012Validator(
    {"$ref": "#/components/schemas/Notification", "components": _schema["components"]}
)


@examples(100)
@given(strategies.notifications())
def test_what_is_taken_fits_the_published_schema(body: dict[str, Any]) -> None:
    _validator.validate(body)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"type": "mail"}, "/type"),
        ({"type": None}, "/type"),
        ({"type": ["room"]}, "/type"),
        ({"userId": None}, "/userId"),
        ({"userId": 1.0}, "/userId"),
        ({"userId": True}, "/userId"),
        ({"userId": ""}, "/userId"),
        ({"userId": "a\nb"}, "/userId"),
        ({"userId": "x" * 129}, "/userId"),
        ({"userId": 10**128}, "/userId"),
        ({"target": None}, "/target"),
        ({"target": 1.5}, "/target"),
        ({"target": {}}, "/target"),
        ({"target": "\x00"}, "/target"),
        ({"target": []}, "/target"),
        ({"target": list(range(TARGETS_MAX + 1))}, "/target"),
        ({"target": [1, "", 3]}, "/target/1"),
        ({"target": [[1]]}, "/target/0"),
        ({"message": ""}, "/message"),
        ({"message": 5}, "/message"),
        ({"message": "x" * (MESSAGE_MAX_BYTES + 1)}, "/message"),
        ({"message": "é" * (MESSAGE_MAX_BYTES // 2 + 1)}, "/message"),
        ({"data": []}, "/data"),
        ({"data": "{}"}, "/data"),
        ({"email": "nobody"}, "/email"),
        ({"email": ""}, "/email"),
        ({"email": "a@" + "b" * 254}, "/email"),
        ({"priority": "urgent"}, "/priority"),
        ({"priority": "HIGH"}, "/priority"),
        ({"id": "mine"}, "/id"),
        ({"int": 1}, "/int"),
        ({"constrained-str": 1}, "/constrained-str"),
        ({"private": 1}, "/private"),
        ({"a/b~": 1}, "/a~1b~0"),
    ],
)
def test_a_bad_field_is_pointed_at(change: dict[str, Any], pointer: str) -> None:
    problem = refusal(PRIVATE | change)
    assert (problem.status, problem.code) == (422, "invalid")
    assert pointers(problem) == [pointer]
    assert pointer in problem.detail


@pytest.mark.parametrize(
    "date",
    ["", "soon", "5", "1700000000", "1.5", "-5", "1e3", "2030-01-01", "2030-01-01T00:00:00",
     "2030-01-01T00:00Z", "2030-13-01T00:00:00Z", "2030-02-30T00:00:00Z", "2030-01-01T25:00:00Z",
     "2030-01-01T00:00:00+0000", " 2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z\n",
     "２０３０-01-01T00:00:00Z", 5, 1.5, True, ["2030-01-01T00:00:00Z"], "9" * 100],
)  # fmt: skip
def test_what_is_no_rfc_3339_date_is_refused(date: object) -> None:
    assert pointers(refusal(BROADCAST | {"expiresAt": date})) == ["/expiresAt"]


@pytest.mark.parametrize(
    ("date", "unix_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01t00:00:00.5z", 500),
        ("1970-01-01 00:00:00.123456789Z", 123),
        ("1969-12-31T23:59:59-00:00", -1000),
    ],
)
def test_a_date_is_understood_with_its_offset(date: str, unix_ms: int) -> None:
    (job,) = plan_one(json.dumps(BROADCAST | {"expiresAt": date}).encode()).jobs
    assert json.loads(job[2])["expiresMs"] == unix_ms


@pytest.mark.parametrize("kind", ["private", "room", "broadcast"])
def test_what_is_null_is_as_good_as_left_out(kind: str) -> None:
    body: dict[str, Any] = {"type": kind, "userId": 1, "message": "hi"}
    if kind != "broadcast":
        body["target"] = 1
    nothing: dict[str, Any] = dict.fromkeys(("data", "email", "priority", "expiresAt"))
    if kind == "broadcast":
        nothing["target"] = None
    for written in (body | nothing, body | {"message": None, "data": {}} | {"email": None}):
        (job,) = plan_one(json.dumps(written).encode()).jobs
        (other,) = plan_batch(json.dumps([written]).encode()).jobs
        for lane, _, text in (job, other):
            assert lane == "high"
            found = json.loads(text)
            assert (found.get("email"), found.get("expiresMs")) == (None, None)
            assert found["message"] == written["message"]
            assert found["data"] == written.get("data")


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"message": "x" * (MESSAGE_MAX_BYTES + 1)}, "/message: at most 65536 bytes of UTF-8"),
        ({"message": ""}, "/message: must not be empty"),
        ({"message": 5}, "/message: must be text"),
        ({"message": None}, "body: a notification needs a message or data"),
        ({"target": None}, "/target: needed for type private"),
        ({"type": "room", "target": None}, "/target: needed for type room"),
        ({"type": "broadcast"}, "/target: a broadcast has no target"),
        ({"target": {}}, "/target: must be an integer or 1 to 128 printable characters"),
        ({"target": []}, "/target: must have at least 1"),
        ({"target": list(range(TARGETS_MAX + 1))}, "/target: at most 1000"),
        ({"userId": None}, "/userId: must be an integer or 1 to 128 printable characters"),
        ({"data": []}, "/data: must be a JSON object"),
        ({"email": "nobody"}, "/email: must be an address, such as ann@example.com"),
        ({"email": "a@" + "b" * 254}, "/email: at most 254 characters"),
        ({"priority": "urgent"}, "/priority: must be critical, high or low"),
        ({"expiresAt": "soon"}, "/expiresAt: must be an RFC 3339 date and time with an offset"),
        ({"type": "mail"}, "/type: must be private, room or broadcast"),
        ({"type": None}, "/type: must be private, room or broadcast"),
        ({"colour": 1}, "/colour: there is no such field"),
    ],
)
def test_a_refusal_speaks_of_notifications(change: dict[str, Any], detail: str) -> None:
    assert refusal(PRIVATE | change).detail == detail


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "the body is not JSON: it ends too early (line 1, column 0)"),
        (b"{'a':1}", "the body is not JSON: see line 1, column 2"),
        (b"{}x", "the body is not JSON: something follows it (line 1, column 3)"),
        (b"[" * 300, "the body is not JSON: it is nested too deep (line 1, column 202)"),
        (
            b'{"type":"broadcast","userId":1,"data":{"a":NaN}}',
            "the body is not JSON: NaN and Infinity are no numbers in it",
        ),
        (
            b'{"type":"broadcast","userId":%b,"message":"x"}' % (b"1" * 5_000),
            "the body is not JSON: a number has too many digits (line 1, column 4331)",
        ),
    ],
)
def test_a_refusal_of_what_is_no_json_says_where(body: bytes, detail: str) -> None:
    assert refusal(body).detail == detail


def test_every_missing_and_every_bad_field_is_pointed_at_at_once() -> None:
    problem = refusal({"type": "room", "email": 5, "data": [], "x": 1, "priority": 7})
    assert pointers(problem) == ["/data", "/email", "/priority", "/target", "/userId", "/x"]


def test_a_target_of_a_broadcast_is_refused() -> None:
    assert pointers(refusal(BROADCAST | {"target": 1})) == ["/target"]


def test_a_message_or_data_is_required() -> None:
    assert refusal({"type": "broadcast", "userId": 1}).status == 422
    contents: list[dict[str, Any]] = [{"message": "x"}, {"data": {}}]
    for content in contents:
        assert plan_one(json.dumps({"type": "broadcast", "userId": 1, **content}).encode()).jobs


@pytest.mark.parametrize("message", ["x" * MESSAGE_MAX_BYTES, "é" * (MESSAGE_MAX_BYTES // 2)])
def test_a_message_may_have_64_kib_of_utf8(message: str) -> None:
    assert plan_one(json.dumps(BROADCAST | {"message": message}).encode()).jobs


def test_doubles_in_a_list_of_targets_count_once() -> None:
    plan = plan_one(json.dumps(PRIVATE | {"target": [1, "1", 2, 1]}).encode())
    found = [target for _, _, job in plan.jobs for target in json.loads(job)["targets"]]
    assert sorted(found) == ["1", "2"]


@pytest.mark.parametrize("body", ["5", "null", '"x"', "true", "1.5"])
def test_a_body_that_is_no_object_is_invalid(body: str) -> None:
    assert pointers(refusal(body.encode())) == [""]


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b"nul", b"{'a':1}", b'{"a":1}x', b'{"a":1}\x00', b"\xff", b'"\xff"',
     b'{"type":"broadcast","userId":1,"message":"\xff"}', b"\xef\xbb\xbf{}",
     b'{"type":"broadcast","userId":1,"data":{"a":NaN}}',
     b'{"type":"broadcast","userId":1,"data":{"a":Infinity}}',
     b'{"type":"broadcast","userId":1,"message":"a\nb"}',
     b'{"type":"broadcast","userId":1,"message":"x",}', b"[" * 100_000, b'{"a":' * 100_000],
)  # fmt: skip
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    problem = refusal(body)
    assert (problem.status, problem.code) == (400, "malformed-json")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (r'{"type":"broadcast","userId":1,"message":"\ud800"}', "/message"),
        (r'{"type":"broadcast","userId":"\udc00","message":"x"}', "/userId"),
        (r'{"type":"broadcast","userId":1,"data":{"a":["\ud83d\ud83d"]}}', "/data/a/0"),
        (r'{"type":"broadcast","userId":1,"data":{"\ud800":1}}', "/data"),
    ],
)
def test_a_lone_surrogate_is_invalid_and_pointed_at(body: str, pointer: str) -> None:
    problem = refusal(body.encode())
    assert problem.status == 422
    assert pointers(problem) == [pointer]


def _resolves(document: Any, pointer: str) -> bool:
    parts = [p.replace("~1", "/").replace("~0", "~") for p in pointer.split("/")[1:]]
    for depth, part in enumerate(parts):
        if isinstance(document, list):
            document = document[int(part)]
        elif part in document:
            document = document[part]
        else:
            # A field that is missing.
            return depth == len(parts) - 1
    return True


rubbish = st.one_of(strategies.values, st.integers(), st.text(max_size=3), st.just(1.5))
broken = st.builds(
    lambda body, name, value: body | {name: value},
    strategies.notifications(),
    st.sampled_from(["type", "userId", "target", "message", "data", "email", "priority",
                     "expiresAt", "int", "room", "x/~"]),
    st.one_of(rubbish, st.lists(rubbish, max_size=3)),
)  # fmt: skip


@examples(200)
@given(broken | strategies.values | st.lists(broken | strategies.values, max_size=4))
def test_every_refusal_points_into_the_body(body: Any) -> None:
    problem = None
    try:
        (plan_batch if isinstance(body, list) else plan_one)(json.dumps(body).encode())
    except Problem as refused:
        problem = refused
    if problem:
        assert problem.status == 422, problem
        assert problem.errors
        assert len(set(pointers(problem))) == len(problem.errors)
        for error in problem.errors:
            assert _resolves(body, error.pointer), error
            assert error.detail
        json.loads(problem.body())


@examples(300)
@given(
    st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="replace"))
)
def test_rubbish_is_refused_as_a_problem_and_nothing_else(body: bytes) -> None:
    for plan in (plan_one, plan_batch):
        with pytest.raises(Problem) as caught:
            plan(body)
        assert caught.value.status in (400, 422)


def test_a_batch_may_have_1000_and_no_more() -> None:
    one = json.dumps(BROADCAST).encode()
    assert len(plan_batch(b"[" + b",".join([one] * BATCH_MAX) + b"]").jobs) == BATCH_MAX
    for wrong in (b"[]", b"[" + b",".join([one] * (BATCH_MAX + 1)) + b"]"):
        with pytest.raises(Problem) as caught:
            plan_batch(wrong)
        assert pointers(caught.value) == [""]


def test_a_bad_field_in_a_batch_is_pointed_at_by_its_index() -> None:
    body = [BROADCAST, BROADCAST | {"x": 1}, {"type": "no"}, 5, PRIVATE | {"target": [1, ""]}]
    with pytest.raises(Problem) as caught:
        plan_batch(json.dumps(body).encode())
    assert pointers(caught.value) == ["/1/x", "/2/type", "/3", "/4/target/1"]


def test_a_body_of_nothing_but_faults_is_not_listed_whole() -> None:
    # Each fault costs 16 µs and a kilobyte to list: 1 MiB of them held the server up for 11 s.
    ids = b",".join([b"{}"] * TARGETS_MAX)
    item = b'{"type":"room","userId":1,"message":"a","target":[%b]}' % ids
    with pytest.raises(Problem) as caught:
        plan_batch(b"[" + b",".join([item] * 300) + b"]")
    assert pointers(caught.value) == sorted(f"/{n}/target" for n in range(300))
    assert len(refusal(b'{"type":"broadcast","userId":1,"message":"a",%b}' % b",".join(
        b'"%d":0' % n for n in range(50_000))).errors) == 1  # fmt: skip
