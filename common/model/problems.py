"""Errors for clients, as RFC 9457 problem details."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Final, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from common.errors import RoomcastError
from common.model.problem_codes import ProblemCode

PROBLEM_TYPE: Final = "application/problem+json"
_TAGS: Final = frozenset({"private", "room", "broadcast"})
_UNION_BRANCHES: Final = frozenset({"int", "constrained-str"})

ERRORS_MAX: Final = 400
"""Most faults that are listed; 1 MiB has room for 700,000, which take 11 s and 0.9 GB."""
_NAME_MAX: Final = 200
"""Most characters of a field's name that are quoted to the sender."""

_ID: Final = "must be an integer or 1 to 128 printable characters"
_DATE: Final = "must be an RFC 3339 date and time with an offset"
_OBJECT: Final = "must be a JSON object"
_KINDS: Final = frozenset(get_args(ErrorType))
_PATTERNS: Final = {
    "email": "must be an address, such as ann@example.com",
    "name": "must have no control characters",
    "userId": _ID,
    "id": _ID,
}
"""Purpose of a field's pattern, by the field's name."""
_TEXTS: Final = {
    "extra_forbidden": "there is no such field",
    "none_required": "must be null or left out",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a number",
    "too_short": "must have at least {min_length}",
    "too_long": "at most {max_length}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string": "must be text",
    "int": "must be an integer",
    "float": "must be a number",
    "bool": "must be true or false",
    "list": "must be a list",
    "dict": _OBJECT,
    "model": _OBJECT,
    "date": _DATE,
    "datetime": _DATE,
    "timezone": _DATE,
    "union_tag_invalid": "must be private, room or broadcast",
    "union_tag_not_found": "is missing: private, room or broadcast",
}
"""Our words for a fault, by its kind or the beginning of the kind's name."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field: its JSON pointer (RFC 6901, `` for the whole body) and what is wrong."""

    pointer: Annotated[str, Meta(description="JSON pointer (RFC 6901).")]
    detail: str


class ProblemJson(msgspec.Struct):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    code: Annotated[str, Meta(description="Stable name of the problem.")]
    detail: str
    errors: list[FieldError] | UnsetType = UNSET


# Not frozen: handling an exception sets its traceback.
@dataclass(slots=True, eq=False)
class Problem(RoomcastError):  # noqa: N818 - the RFC's word; not every problem is an error of ours
    """A refusal with a stable `code`, its HTTP status, and a sentence for a person.

    `retry_after_s` is sent as Retry-After; `errors` point at every bad field; `other_status` is a
    status that is not the code's usual one.
    """

    code: ProblemCode
    detail: str
    errors: Sequence[FieldError] = ()
    retry_after_s: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    other_status: HTTPStatus | None = None

    @property
    def status(self) -> HTTPStatus:
        """HTTP status of the answer."""
        return self.other_status or self.code.status

    def body(self) -> bytes:
        """Return the problem document, JSON in UTF-8."""
        document = ProblemJson(
            type=f"urn:roomcast:problem:{self.code}",
            title=self.status.phrase,
            status=int(self.status),
            code=self.code,
            detail=self.detail,
            errors=list(self.errors) or UNSET,
        )
        # ASCII, because msgspec's encoder refuses lone surrogates, which a detail may quote.
        return json.dumps(msgspec.to_builtins(document), ensure_ascii=True).encode()

    def response_headers(self) -> dict[str, str]:
        """Return the headers of the response, Content-Type included."""
        headers = {"Content-Type": PROBLEM_TYPE, **self.headers}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        return headers


def closing_answer(problem: Problem, *lines: str) -> bytes:
    """Make the whole HTTP response for a problem after which the connection is closed.

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
    """Make a JSON pointer (RFC 6901) from a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def field_errors(error: ValidationError) -> list[FieldError]:
    """List the bad fields that pydantic found, each once, in our words.

    More than `ERRORS_MAX` faults are only counted.
    """
    if error.error_count() > ERRORS_MAX:
        return [FieldError("", f"has {error.error_count()} faults, too many to list")]
    found: dict[str, str] = {}
    for item in error.errors(include_url=False, include_input=False):
        parts = [part if isinstance(part, int) else part[:_NAME_MAX] for part in item["loc"]]
        kind = item["type"]
        in_union = bool(parts) and parts[-1] in _UNION_BRANCHES and kind != "extra_forbidden"
        if kind in ("union_tag_invalid", "union_tag_not_found"):
            parts.append("type")
        elif in_union:
            parts.pop()
        # The tag that pydantic puts behind a batch's index, or at the front, is not a field.
        at = 1 if parts and isinstance(parts[0], int) else 0
        tag = str(parts.pop(at)) if len(parts) > at and parts[at] in _TAGS else ""
        detail = _ID if in_union else _detail(item, parts[-1] if parts else "", tag)
        found.setdefault(pointer(parts), detail)
    return [FieldError(where, detail) for where, detail in found.items()]


def _detail(item: ErrorDetails, name: str | int, tag: str) -> str:
    kind = item["type"]
    if kind not in _KINDS:
        # The text is from one of our own validators.
        return item["msg"]
    if kind == "missing":
        return f"needed for type {tag}" if tag and name == "target" else "is missing"
    if kind == "none_required" and name == "target":
        return f"a {tag or 'broadcast'} has no target"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(name), "is not of the form that is needed")
    if kind in ("enum", "literal_error"):
        return "must be " + str(item["ctx"]["expected"]).replace("'", "")
    if kind == "string_too_short" and item["ctx"]["min_length"] == 1:
        return "must not be empty"
    text = _TEXTS.get(kind) or _TEXTS.get(kind.partition("_")[0]) or "is not valid"
    return text.format(**item.get("ctx", {}))
