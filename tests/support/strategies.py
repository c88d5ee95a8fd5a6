"""Hypothesis strategies of everything that is valid on the wire."""

import json
import math
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

# Any character that UTF-8 can carry.
characters = st.characters(exclude_categories=["Cs"])
printable = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029")
texts = st.text(characters, max_size=60)
ids = st.one_of(
    st.integers(-(10**30), 10**30),
    st.text(printable, min_size=1, max_size=128),
    st.sampled_from([0, 1, "1", "0001", "a/b", "user:1", "~", "日本", "\U0001f600", "x" * 128]),
)
numbers = st.one_of(
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False, allow_infinity=False),
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=5)
emails = st.from_regex(r"[a-z0-9.+]{1,20}@[a-z0-9-]{1,20}\.[a-z]{2,5}", fullmatch=True)
dates = st.datetimes(
    min_value=datetime(1971, 1, 1),
    max_value=datetime(2200, 1, 1),
).map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z")
targets = st.one_of(ids, st.lists(ids, min_size=1, max_size=120))


@st.composite
def notifications(draw: st.DrawFn) -> dict[str, Any]:
    """A body of POST /notify that must be accepted."""
    kind = draw(st.sampled_from(["private", "room", "broadcast"]))
    body: dict[str, Any] = {"type": kind, "userId": draw(ids)}
    if kind != "broadcast":
        body["target"] = draw(targets)
    has_message = draw(st.booleans())
    if has_message:
        body["message"] = draw(st.text(characters, min_size=1, max_size=200))
    if not has_message or draw(st.booleans()):
        body["data"] = draw(objects)
    for name, strategy in (
        ("email", emails),
        ("priority", st.sampled_from(["critical", "high", "low"])),
        ("expiresAt", dates),
    ):
        if draw(st.booleans()):
            body[name] = draw(strategy)
    names = draw(st.permutations(list(body)))
    return {name: body[name] for name in names}


@st.composite
def encodings(draw: st.DrawFn, value: Any) -> bytes:
    """One of the ways to write a value as JSON."""
    return json.dumps(
        value,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, None, 2])),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\n")])),
        allow_nan=False,
    ).encode()


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is not 1.0 and not true; order of names matters."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return bool(one == other) and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)
