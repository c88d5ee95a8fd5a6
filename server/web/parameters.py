"""Parameters of requests: ids in paths, query parameters, cursors of lists.

Invalid ones are refused with 422 and a pointer to the parameter.
"""

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final, NamedTuple, NoReturn, TypeVar
from urllib.parse import unquote_to_bytes

from aiohttp import web

from common.model.ids import identifier
from common.model.notification import DATE_MAX_CHARACTERS
from common.model.problem_codes import ProblemCode
from common.model.problems import FieldError, Problem, pointer

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100
CURSOR_PATTERN: Final = r"^[0-9]{1,14}\.[^\u0000-\u001f\u007f-\u009f\u2028\u2029]{0,128}$"
"""Pattern of a cursor, in JSON Schema's form."""
_DATE: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
_MIDDLE_YEAR: Final = 5_000
_CURSOR: Final = re.compile(
    r"([0-9]{1,14})\.([^\u0000-\u001f\u007f-\u009f\u2028\u2029]{0,128})", re.ASCII
)
_STRAY: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
T = TypeVar("T")


class CursorPlace(NamedTuple):
    """Place in a list that a cursor stands for: a time (Unix ms) and a name."""

    ms: int
    name: str


def refuse(parameter: str, detail: str) -> NoReturn:
    """Refuse a parameter of the path or the query.

    Raises:
        Problem: 422.
    """
    raise Problem(
        ProblemCode.INVALID,
        f"{parameter}: {detail}",
        [FieldError(pointer([parameter]), detail)],
    )


def path_id(request: web.Request, name: str) -> str:
    """Read an id in the path, percent-decoded.

    Raises:
        Problem: 422; it is not 1 to 128 printable characters.
    """
    if not _is_encoded_text(request.raw_path.partition("?")[0]):
        refuse(name, "must be UTF-8, percent-encoded")
    try:
        return identifier(request.match_info[name])
    except ValueError:
        refuse(name, "must be 1 to 128 printable characters")


def _is_encoded_text(part: str) -> bool:
    """Return True if a part of a URL is percent-encoded UTF-8.

    yarl leaves other parts as they are, so that `%FF` would be an id, and the same as `%25FF`.
    """
    if "%" not in part:
        return True
    try:
        unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        return False
    return _STRAY.search(part) is None


def only(request: web.Request, known: Collection[str]) -> None:
    """Refuse unknown, repeated or badly encoded parameters of the query.

    Raises:
        Problem: 422.
    """
    if not _is_encoded_text(request.raw_path.partition("?")[2]):
        refuse("query", "must be UTF-8, percent-encoded")
    for name in request.query:
        if name not in known:
            refuse(name, "is no parameter here")
        if len(request.query.getall(name)) > 1:
            refuse(name, "is there more than once")


def parameter(request: web.Request, name: str, read: Callable[[str], T]) -> T | None:
    """Read a query parameter; None if it is not there.

    Args:
        request: that may have it.
        name: of the parameter.
        read: converts its text, or raises ValueError with the fault.

    Raises:
        Problem: 422.
    """
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return read(text)
    except ValueError as error:
        refuse(name, str(error))


def limit_of(request: web.Request) -> int:
    """Read the number of items that a page should have.

    Raises:
        Problem: 422.
    """
    return parameter(request, "limit", _limit) or LIMIT_DEFAULT


def _limit(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,2}", text, re.ASCII) or int(text) > LIMIT_MAX:
        raise ValueError(f"must be 1 to {LIMIT_MAX}")
    return int(text)


def flag(text: str) -> bool:
    """Read `true` or `false`.

    Raises:
        ValueError: it is neither.
    """
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def moment(text: str) -> datetime:
    """Read an RFC 3339 date and time.

    Raises:
        ValueError: it is not one.
    """
    fault = "must be an RFC 3339 date and time with an offset"
    if len(text) > DATE_MAX_CHARACTERS or not _DATE.fullmatch(text):
        raise ValueError(fault)
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.upper()))
    except ValueError:
        raise ValueError(fault) from None
    try:
        return found.astimezone(UTC)
    except OverflowError:
        # With its offset, the time is out of the range of years.
        return _LATEST if found.year > _MIDDLE_YEAR else _EARLIEST


def one_of(*names: str) -> Callable[[str], str]:
    """Make a reader of a parameter that is one of these."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be {', '.join(names[:-1])} or {names[-1]}")
        return text

    return read


def cursor_text(place: CursorPlace) -> str:
    """Make the text for a place in a list, opaque to clients."""
    return f"{place.ms}.{place.name}"


def cursor(text: str) -> CursorPlace:
    """Read the place that a cursor stands for.

    Raises:
        ValueError: `cursor_text` made no such text.
    """
    found = _CURSOR.fullmatch(text)
    if not found:
        raise ValueError("is no cursor of this list")
    return CursorPlace(int(found[1]), found[2])
