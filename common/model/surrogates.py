"""Find lone surrogates, which JSON's grammar allows and UTF-8 can't carry."""

import json
from typing import Any

from common.model.problems import FieldError, pointer


def _walk(value: Any, parts: list[str | int], found: list[FieldError]) -> None:
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            found.append(FieldError(pointer(parts), "holds a lone surrogate"))
    elif isinstance(value, dict):
        for key, item in value.items():
            if any("\ud800" <= character <= "\udfff" for character in key):
                found.append(FieldError(pointer(parts), "has a name that holds a lone surrogate"))
            else:
                _walk(item, [*parts, key], found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _walk(item, [*parts, index], found)


def lone_surrogates(body: bytes) -> list[FieldError]:
    """List the places of lone surrogates in a body; empty if it has none or isn't JSON."""
    try:
        value = json.loads(body)
        found: list[FieldError] = []
        _walk(value, [], found)
    except (ValueError, RecursionError):
        return []
    return found
