"""Refusals of JSON bodies, in words about the body and not about the library that read it."""

import json
import re
from collections.abc import Iterator, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]  # public, but not in typeshed
from typing import Any, Final, NoReturn

from pydantic import ValidationError

from common.model.problem_codes import ProblemCode
from common.model.problems import FieldError, Problem, field_errors, pointer
from common.model.surrogates import lone_surrogates

_AT: Final = re.compile(r"(.*) at line (\d+) column (\d+)")
_REASONS: Final = {
    "EOF": "it ends too early",
    "recursion": "it is nested too deep",
    "number out": "a number has too many digits",
    "trailing characters": "something follows it",
    "control character": "text holds a control character that is not escaped",
}
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_TWICE: Final = "is there more than once"
# Numbers don't matter here, and very long ones take long to parse.
_value: Final = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode


def refuse_invalid(body: bytes, error: ValidationError) -> Problem:
    """Make the refusal of an invalid body.

    Args:
        body: as it came.
        error: pydantic's error about it.

    Returns:
        400 if it is not JSON; else 422 with a pointer to every bad field.
    """
    # Such an error is the only one; looking through hundreds of thousands of others takes seconds.
    if error.error_count() == 1:
        item = error.errors(include_url=False, include_input=False)[0]
        if item["type"] == "json_invalid":
            surrogates = lone_surrogates(body)
            if surrogates:
                return refuse_fields(surrogates)
            return malformed(_reason(str(item["ctx"]["error"])))
    return refuse_fields(field_errors(error))


def refuse_fields(errors: Sequence[FieldError]) -> Problem:
    """Make the refusal of bad fields: 422, whose sentence names the first three."""
    detail = "; ".join(f"{e.pointer or 'body'}: {e.detail}" for e in errors[:3])
    return Problem(ProblemCode.INVALID, detail, errors)


def malformed(reason: str = "") -> Problem:
    """Make the refusal of a body that is not JSON: 400."""
    detail = f"the body is not JSON: {reason}" if reason else "the body is not JSON"
    return Problem(ProblemCode.MALFORMED_JSON, detail)


def no_number(body: bytes) -> Problem:
    """Make the refusal of a body that pydantic's parser accepts but JSON's grammar doesn't."""
    named = b"NaN" in body or b"Infinity" in body
    return malformed("NaN and Infinity are no numbers in it" if named else "")


def _reason(error: str) -> str:
    found = _AT.fullmatch(error)
    if not found:
        return ""
    text, line, column = found.groups()
    reason = next((ours for theirs, ours in _REASONS.items() if text.startswith(theirs)), "")
    place = f"line {line}, column {column}"
    return f"{reason} ({place})" if reason else f"see {place}"


def repeated_names(body: bytes, *, within: bool) -> list[FieldError]:
    """Find names that an object has more than once: readers differ in which value they take.

    Args:
        body: JSON that a parser has accepted.
        within: whether to look into the values of the body's object, or of the objects in its
            list, as well.

    Raises:
        ValueError: with `within`, there is a number that JSON does not have.
        RecursionError: with `within`, it is nested too deep.
    """
    text = body.decode()
    if within:
        found: list[FieldError] = []
        read = json.JSONDecoder(
            object_pairs_hook=_Pairs, parse_int=str, parse_float=str, parse_constant=_no_constant
        )
        _walk(read.decode(text), [], found)
        return found
    at = _skip(text, 0)
    if text[at] == "[":
        return [
            FieldError(pointer([index, name]), _TWICE)
            for index, names in enumerate(_items(text, at))
            for name in _repeated(names)
        ]
    return [FieldError(pointer([name]), _TWICE) for name in _repeated(_names(text, at)[0])]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


class _Pairs(list[tuple[str, Any]]):
    """An object's names and values as they are written, repeated ones included."""


def _walk(value: Any, parts: list[str | int], found: list[FieldError]) -> None:
    if isinstance(value, _Pairs):
        names = [name for name, _ in value]
        if len(set(names)) < len(names):
            found += [FieldError(pointer([*parts, name]), _TWICE) for name in _repeated(names)]
        for name, item in value:
            _walk(item, [*parts, name], found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _walk(item, [*parts, index], found)


def _repeated(names: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return list(dict.fromkeys(name for name in names if name in seen or seen.add(name)))  # type: ignore[func-returns-value]


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "it matches nothing, too"
    return found.end()


def _names(text: str, at: int) -> tuple[list[str], int]:
    """Return the names of the object at a place, in order, and its end; other values have none."""
    names: list[str] = []
    if text[at] != "{":
        return names, _value(text, at)[1]
    at = _skip(text, at + 1)
    while text[at] != "}":
        name, at = scanstring(text, at + 1, True)
        names.append(name)
        at = _skip(text, _skip(text, at) + 1)
        at = _skip(text, _value(text, at)[1])
        if text[at] == ",":
            at = _skip(text, at + 1)
    return names, at + 1


def _items(text: str, at: int) -> Iterator[list[str]]:
    at = _skip(text, at + 1)
    while text[at] != "]":
        names, at = _names(text, at)
        yield names
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
