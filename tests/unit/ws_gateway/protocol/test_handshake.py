import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from common.model.problem_codes import ProblemCode
from common.model.problems import Problem, closing_answer
from common.web.request_head import read_head
from tests.support.examples import examples
from ws_gateway.protocol.handshake import Answer, answer_upgrade, is_upgrade, refusal


def answered(request_head: bytes) -> Answer:
    try:
        return answer_upgrade(read_head(request_head))
    except Problem as problem:
        return Answer(closing_answer(problem), accepted=False)


FIELDS = [
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
]


def head(*changes: str, line: str = "GET / HTTP/1.1", without: str = "") -> bytes:
    fields = [field for field in FIELDS if not (without and field.startswith(without))]
    return ("\r\n".join([line, *fields, *changes]) + "\r\n\r\n").encode("latin-1")


def status(answer: Answer) -> int:
    top, _, body = answer.data.partition(b"\r\n\r\n")
    code = int(top.split()[1])
    assert answer.accepted == (code == 101)
    if not answer.accepted:
        assert b"Connection: close" in top
        assert b"application/problem+json" in top
        assert f"Content-Length: {len(body)}".encode() in top
        assert json.loads(body)["status"] == code
    return code


def test_the_example_of_the_rfc_is_answered_as_in_the_rfc() -> None:
    answer = answered(head())
    assert status(answer) == 101
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer.data
    assert answer.data.endswith(b"\r\n\r\n")


def test_websockets_is_satisfied_and_gets_no_extension_or_subprotocol() -> None:
    client = ClientProtocol(parse_uri("ws://localhost/"))
    request = client.connect()
    request.headers["Sec-WebSocket-Extensions"] = "permessage-deflate; client_max_window_bits"
    client.send_request(request)
    answer = answered(b"".join(client.data_to_send()))
    assert status(answer) == 101
    assert b"permessage" not in answer.data.lower()
    client.receive_data(answer.data)
    client.events_received()
    assert client.handshake_exc is None
    assert client.state.name == "OPEN"


@pytest.mark.parametrize(
    ("request_head", "code"),
    [
        (head(line="GET /?token=x HTTP/1.1"), 101),
        (head("Content-Length: 0"), 101),
        (head("Sec-WebSocket-Protocol: a, b"), 101),
        (head("Origin: http://elsewhere"), 101),
        (head("Connection: keep-alive"), 101),
        (head("Connection: keep-alive, Upgrade", without="Connection"), 101),
        (head("connection: UPGRADE", without="Connection"), 101),
        (head("Upgrade: WebSocket", without="Upgrade"), 101),
        (head(line="GET / HTTP/1.0"), 400),
        (head(line="GET / HTTP/2"), 400),
        (head(line="POST / HTTP/1.1"), 400),
        (head(line="GET /"), 400),
        (head(line=""), 400),
        (head("Content-Length: 5"), 400),
        (head("Content-Length: x"), 400),
        (head("Transfer-Encoding: chunked"), 400),
        (head(without="Host"), 400),
        (head(without="Connection"), 400),
        (head("Connection: close", without="Connection"), 400),
        (head(without="Sec-WebSocket-Key"), 400),
        (head("Sec-WebSocket-Key: c2hvcnQ=", without="Sec-WebSocket-Key"), 400),
        (head("Sec-WebSocket-Key: !", without="Sec-WebSocket-Key"), 400),
        (head("Sec-WebSocket-Key: \xe9", without="Sec-WebSocket-Key"), 400),
        (head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        (head("X-Name: \xe9\xff"), None),
        (head("X Name: 1"), 400),
        (head(": 1"), 400),
        (head("no colon"), 400),
        (head(without="Sec-WebSocket-Version"), None),
        (head("Sec-WebSocket-Version: 8", without="Sec-WebSocket-Version"), 426),
        (head("Sec-WebSocket-Version: \xe9", without="Sec-WebSocket-Version"), None),
        (head(line="GET /elsewhere HTTP/1.1"), 404),
        (head(line="GET \xe9 HTTP/1.1"), 400),
        (head(line="OPTIONS * HTTP/1.1"), 400),
    ],
)
def test_each_handshake_has_its_answer(request_head: bytes, code: int | None) -> None:
    found = status(answered(request_head))
    if code is None:
        assert found in (101, 400, 426)
    else:
        assert found == code


def test_another_version_is_told_which_one_is_spoken() -> None:
    changed = head("Sec-WebSocket-Version: 8", without="Sec-WebSocket-Version")
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in answered(changed).data


names = st.sampled_from(["Host", "Upgrade", "Connection", "Sec-WebSocket-Key",
                         "Sec-WebSocket-Version", "Content-Length", "Expect", "X"])  # fmt: skip
values = st.sampled_from(["websocket", "13", "Upgrade", "", " ", "dGhlIHNhbXBsZSBub25jZQ=="])
latin = st.text(st.characters(max_codepoint=255), max_size=12)


@examples(300)
@given(
    st.lists(st.builds("{}: {}".format, names | latin, values | latin), max_size=6),
    st.sampled_from(["GET / HTTP/1.1", "GET / HTTP/1.0", ""]) | latin,
    st.sampled_from(["", "Host", "Upgrade", "Connection", "Sec-WebSocket"]),
)
def test_any_head_is_answered_and_nothing_is_raised(
    changes: list[str], line: str, without: str
) -> None:
    assert status(answered(head(*changes, line=line, without=without))) in (
        101, 400, 404, 426,
    )  # fmt: skip


@examples(200)
@given(st.binary(max_size=200))
def test_any_bytes_are_answered_and_nothing_is_raised(rubbish: bytes) -> None:
    assert status(answered(rubbish + b"\r\n\r\n")) == 400


@pytest.mark.parametrize(
    ("request_head", "upgrade"),
    [
        (head(), True),
        (head(line="GET / HTTP/1.0"), True),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nupgrade:WEBSOCKET\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nX: websocket\r\n\r\n", False),
        (b"GET /websocket HTTP/1.1\r\nHost: x\r\nX-Upgrade: websocket\r\n\r\n", False),
    ],
)
def test_the_upgrade_field_says_what_is_a_handshake(request_head: bytes, upgrade: bool) -> None:
    assert is_upgrade(read_head(request_head)) is upgrade


def test_a_refusal_carries_what_is_added() -> None:
    data = refusal(ProblemCode.FULL, "no room", "Retry-After: 1")
    assert data.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: 1\r\n" in data


@pytest.mark.parametrize(
    ("query", "ticket"),
    [
        ("", None),
        ("?", None),
        ("?x=1", None),
        ("?tickets=a", None),
        ("?ticket=rt_a-_9", "rt_a-_9"),
        ("?x=1&ticket=a&y=2", "a"),
        ("?ticket=", ""),
        ("?ticket", ""),
        ("?ticket=%61", "a"),
        ("?ticket=%ff&&&;", "\N{REPLACEMENT CHARACTER}"),
        ("?x=ticket", None),
    ],
)
def test_of_the_query_only_a_ticket_counts(query: str, ticket: str | None) -> None:
    answer = answered(head(line=f"GET /{query} HTTP/1.1"))
    assert status(answer) == 101
    assert answer.ticket == ticket
    assert ticket is None or not ticket or repr(ticket) not in repr(answer)


def test_two_credentials_are_refused_whichever_they_are() -> None:
    bearer = "Authorization: Bearer x"
    for line, fields in (
        ("GET /?ticket=a&ticket=b HTTP/1.1", []),
        ("GET /?ticket=a HTTP/1.1", [bearer]),
        ("GET /?ticket= HTTP/1.1", ["Sec-WebSocket-Protocol: roomcast, bearer.x"]),
    ):
        assert status(answered(head(*fields, line=line))) == 401
