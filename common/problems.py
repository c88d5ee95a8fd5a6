"""Errors that a client is told about, as RFC 9457 problem details."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from pydantic import ValidationError

PROBLEM_TYPE: Final = "application/problem+json"
_TAGS: Final = frozenset({"private", "room", "broadcast"})
_UNION_BRANCHES: Final = frozenset({"int", "constrained-str"})

ERRORS_MAX: Final = 4_000
"""Faults that are listed one by one; 1 MiB has room for 700,000, which take 11 s and 0.9 GB."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field: its JSON pointer (RFC 6901, `` for the whole body) and what is wrong."""

    pointer: str
    detail: str


# Not frozen: whoever handles an exception sets its traceback.
@dataclass(slots=True, eq=False)
class Problem(Exception):  # noqa: N818 - the RFC's word; not every problem is an error of ours
    """A refusal with its HTTP status, a stable `code`, and a sentence for a person.

    `retry_after_s` is sent as Retry-After; `errors` point at every bad field.
    """

    status: HTTPStatus
    code: str
    detail: str
    errors: Sequence[FieldError] = ()
    retry_after_s: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """Problem document, JSON in UTF-8."""
        document: dict[str, Any] = {
            "type": f"urn:roomcast:problem:{self.code}",
            "title": self.status.phrase,
            "status": int(self.status),
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [
                {"pointer": error.pointer, "detail": error.detail} for error in self.errors
            ]
        return json.dumps(document, ensure_ascii=True).encode()

    def response_headers(self) -> dict[str, str]:
        """Headers to answer with, Content-Type included."""
        headers = {"Content-Type": PROBLEM_TYPE, **self.headers}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        return headers


def closing_answer(problem: Problem, *lines: str) -> bytes:
    """Whole answer over HTTP of a problem after which the connection is closed.

    Args:
        problem: what is wrong.
        lines: more lines of its head.
    """
    body = problem.body()
    head = [
        f"HTTP/1.1 {int(problem.status)} {problem.status.phrase}",
        *(f"{name}: {value}" for name, value in problem.response_headers().items()),
        *lines,
        f"Content-Length: {len(body)}",
        "Connection: close",
        "",
        "",
    ]
    return "\r\n".join(head).encode("latin-1") + body


def pointer(parts: Sequence[str | int]) -> str:
    """JSON pointer (RFC 6901) of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def field_errors(error: ValidationError) -> list[FieldError]:
    """Every bad field that pydantic found in a notification or a batch, each once.

    More than `ERRORS_MAX` faults are only counted.
    """
    if error.error_count() > ERRORS_MAX:
        return [FieldError("", f"has {error.error_count()} faults, too many to list")]
    found: dict[str, str] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        parts = [*item["loc"]]
        detail = item["msg"]
        if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
            parts.append("type")
            detail = "must be private, room or broadcast"
        if item["type"] != "extra_forbidden" and parts and parts[-1] in _UNION_BRANCHES:
            parts.pop()
            detail = "must be an integer or 1 to 128 printable characters"
        # The tag that pydantic puts behind a batch's index, or at the front, is no field.
        at = 1 if parts and isinstance(parts[0], int) else 0
        if len(parts) > at and parts[at] in _TAGS:
            del parts[at]
        found.setdefault(pointer(parts), detail)
    return [FieldError(where, detail) for where, detail in found.items()]
