"""Parameters of routes: ids in paths, query parameters, headers, cursors of lists.

A parameter is declared once, with its schema and its reader. An invalid one is refused with 422 and
a pointer to it.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Generic, NamedTuple, NoReturn, TypeVar
from urllib.parse import unquote_to_bytes

from aiohttp import web

from common.model.ids import ID_MAX_CHARACTERS, ID_PATTERN, identifier
from common.model.notification import DATE_MAX_CHARACTERS
from common.model.problem_codes import ProblemCode
from common.model.problems import FieldError, Problem, pointer

Schema = Mapping[str, Any]
"""JSON Schema, as JSON types."""
ID_SCHEMA: Final[Schema] = {
    "type": "string", "pattern": ID_PATTERN, "maxLength": ID_MAX_CHARACTERS,
}  # fmt: skip
TIME_SCHEMA: Final[Schema] = {"type": "string", "format": "date-time"}
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


@dataclass(frozen=True, slots=True)
class PathParameter:
    """Id in the path of a route.

    Attributes:
        name: as it is in the path.
        description: of the parameter, in a sentence.
    """

    place: ClassVar = "path"
    schema: ClassVar = ID_SCHEMA

    name: str
    description: str

    def of(self, request: web.Request) -> str:
        """Read the id, percent-decoded.

        Raises:
            Problem: 422; it is not 1 to 128 printable characters.
        """
        if not _is_encoded_text(request.raw_path.partition("?")[0]):
            refuse(self.name, "must be UTF-8, percent-encoded")
        try:
            return identifier(request.match_info[self.name])
        except ValueError:
            refuse(self.name, "must be 1 to 128 printable characters")


@dataclass(frozen=True, slots=True)
class QueryParameter(Generic[T]):
    """Optional parameter of the query.

    Attributes:
        name: as it is in the query.
        description: of the parameter, in a sentence.
        schema: of its text.
        read: converts the text, or raises ValueError with the fault.
    """

    place: ClassVar = "query"

    name: str
    description: str
    schema: Schema
    read: Callable[[str], T]

    def of(self, request: web.Request) -> T | None:
        """Read the parameter; None if it is not there.

        Raises:
            Problem: 422.
        """
        text = request.query.get(self.name)
        if text is None:
            return None
        try:
            return self.read(text)
        except ValueError as error:
            refuse(self.name, str(error))


@dataclass(frozen=True, slots=True)
class HeaderParameter:
    """Optional header that is a parameter; whoever needs it reads it.

    Attributes:
        name: of the header.
        description: of the parameter, in a sentence.
        schema: of its value.
    """

    place: ClassVar = "header"

    name: str
    description: str
    schema: Schema


Parameter = PathParameter | QueryParameter[Any] | HeaderParameter


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


def _limit(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,2}", text, re.ASCII) or int(text) > LIMIT_MAX:
        raise ValueError(f"must be 1 to {LIMIT_MAX}")
    return int(text)


def limit_of(request: web.Request) -> int:
    """Read the number of items that a page should have.

    Raises:
        Problem: 422.
    """
    return LIMIT.of(request) or LIMIT_DEFAULT


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


def next_cursor(place: tuple[int, str] | None) -> str | None:
    """Make the cursor of the next page, which begins behind a place; None: there is none."""
    return None if place is None else cursor_text(CursorPlace(*place))


def cursor(text: str) -> CursorPlace:
    """Read the place that a cursor stands for.

    Raises:
        ValueError: `cursor_text` made no such text.
    """
    found = _CURSOR.fullmatch(text)
    if not found:
        raise ValueError("is no cursor of this list")
    return CursorPlace(int(found[1]), found[2])


LIMIT: Final = QueryParameter(
    "limit",
    "Items of a page.",
    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    _limit,
)
CURSOR: Final = QueryParameter(
    "cursor",
    "`nextCursor` of the page before.",
    {"type": "string", "pattern": CURSOR_PATTERN},
    cursor,
)


def flag_parameter(name: str, description: str) -> QueryParameter[bool]:
    """Declare a parameter that is `true` or `false`."""
    return QueryParameter(name, description, {"type": "boolean"}, flag)


def id_parameter(name: str, description: str) -> QueryParameter[str]:
    """Declare a parameter that is an id."""
    return QueryParameter(name, description, ID_SCHEMA, identifier)


def time_parameter(name: str, description: str) -> QueryParameter[datetime]:
    """Declare a parameter that is a time."""
    return QueryParameter(name, description, TIME_SCHEMA, moment)


def choice_parameter(name: str, description: str, choices: tuple[str, ...]) -> QueryParameter[str]:
    """Declare a parameter that is one of some words."""
    schema = {"type": "string", "enum": list(map(str, choices))}
    return QueryParameter(name, description, schema, one_of(*choices))
