"""Answers of the fast path, as they go onto the wire."""

import pytest

from server.notify.fast_path import _encode
from server.notify.handler import ACCEPTED_HEADERS, Reply


@pytest.mark.parametrize("status", [202, 400, 409, 413, 415, 422, 503])
def test_an_answer_has_its_length(status: int) -> None:
    data = _encode(Reply(status, {"Content-Type": "application/json"}, b"{}"))
    assert data.startswith(b"HTTP/1.1 %d " % status)
    assert data.endswith(b"\r\nContent-Length: 2\r\n\r\n{}")


def test_the_lines_of_the_limits_follow_the_headers() -> None:
    data = _encode(Reply(202, ACCEPTED_HEADERS, b"{}", "RateLimit-Limit: 7\r\n"))
    assert data == (
        b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
        b"RateLimit-Limit: 7\r\nContent-Length: 2\r\n\r\n{}"
    )
