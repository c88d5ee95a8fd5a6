"""What a sender is told about a body that is refused."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from common.model.json_bodies import (
    malformed,
    no_number,
    refuse_fields,
    refuse_invalid,
    repeated_names,
)
from common.model.notification import notification_adapter
from common.model.problems import FieldError, Problem
from tests.support import strategies
from tests.support.examples import examples


def refusal(body: bytes) -> Problem:
    with pytest.raises(ValidationError) as refused:
        notification_adapter.validate_json(body)
    return refuse_invalid(body, refused.value)


def pointers(errors: Iterable[FieldError]) -> list[str]:
    return [error.pointer for error in errors]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it ends too early (line 1, column 0)"),
        (b'{"type":\n "room"', "it ends too early (line 2, column 7)"),
        (b'{"a":1} x', "something follows it (line 1, column 9)"),
        (b'{"a":"\n"}', "text holds a control character that is not escaped (line 2, column 0)"),
        (b'{"a":' + b"[" * 1_000, "it is nested too deep (line 1, column 206)"),
        (b"{'a':1}", "see line 1, column 2"),
    ],
)
def test_a_body_that_is_not_json_is_400_with_the_place(body: bytes, said: str) -> None:
    problem = refusal(body)
    assert (problem.status, problem.code) == (400, "malformed-json")
    assert problem.detail == f"the body is not JSON: {said}"


def test_half_a_character_is_pointed_at_like_a_bad_field() -> None:
    problem = refusal(rb'{"type":"broadcast","userId":1,"message":"\ud800"}')
    assert problem.status == 422
    assert pointers(problem.errors) == ["/message"]


def test_every_bad_field_is_pointed_at() -> None:
    problem = refusal(b'{"type":"room","userId":[],"priority":"urgent","message":"x"}')
    assert problem.status == 422
    assert sorted(pointers(problem.errors)) == ["/priority", "/target", "/userId"]


def test_the_sentence_names_three_fields_and_the_list_has_all() -> None:
    errors = [FieldError("", "too long"), *(FieldError(f"/f{n}", "is wrong") for n in range(5))]
    problem = refuse_fields(errors)
    assert problem.detail == "body: too long; /f0: is wrong; /f1: is wrong"
    assert list(problem.errors) == errors


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_have_is_named(name: str) -> None:
    assert "NaN and Infinity" in no_number(f'{{"data":{name}}}'.encode()).detail
    assert no_number(b'{"data":01}').detail == malformed().detail == "the body is not JSON"


names = st.one_of(
    st.text(strategies.characters, max_size=3), st.sampled_from(["a", "b/c", "~", '"'])
)
values = st.sampled_from(
    ["1", "null", '""', '"\\"}"', "[1, {}]", '{"a":{"a":[]},"b":"]"}', "-1.5e9"]
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, set[str]]:
    """An object that may say names again, and the names that it says again."""
    said = draw(st.lists(names, max_size=5, unique=True))
    again = draw(st.lists(st.sampled_from(said), max_size=3)) if said else []
    spaces = draw(st.sampled_from(["", " ", "\n\t "]))
    pairs = [f"{json.dumps(name)}{spaces}:{spaces}{draw(values)}" for name in [*said, *again]]
    return f"{{{spaces}{f'{spaces},{spaces}'.join(pairs)}{spaces}}}".encode(), set(again)


@examples(100)
@given(bodies())
def test_exactly_the_names_that_are_said_again_are_found(made: tuple[bytes, set[str]]) -> None:
    body, again = made
    # A pointer has an escape for each of two characters.
    expected = {"/" + name.replace("~", "~0").replace("/", "~1") for name in again}
    for within in (False, True):
        found = pointers(repeated_names(body, within=within))
        assert len(found) == len(set(found))
        assert set(found) == expected


@examples(50)
@given(st.lists(bodies(), max_size=4))
def test_each_object_of_a_list_has_names_of_its_own(made: list[tuple[bytes, set[str]]]) -> None:
    body = b"[ " + b" ,\n".join(text for text, _ in made) + b"]"
    found = {error.pointer.split("/")[1] for error in repeated_names(body, within=False)}
    assert found == {str(index) for index, (_, again) in enumerate(made) if again}


def test_a_name_written_with_an_escape_is_the_same_name() -> None:
    assert pointers(repeated_names(rb'{"a":1,"\u0061":2}', within=False)) == ["/a"]


def test_values_are_looked_into_on_request_only() -> None:
    body = b'{"data":{"x":[{"a":1,"a":2}]},"list":[[{"b":1,"b":1}]]}'
    assert repeated_names(body, within=False) == []
    assert pointers(repeated_names(body, within=True)) == ["/data/x/0/a", "/list/0/0/b"]


@pytest.mark.parametrize(
    "body", [b"1", b'"text"', b"null", b"[1, [2], null]", b"[]", b"{}", b" {} "]
)
def test_what_has_no_names_repeats_none(body: bytes) -> None:
    assert repeated_names(body, within=False) == []
    assert repeated_names(body, within=True) == []


def test_looking_within_refuses_numbers_that_json_does_not_have_and_endless_nesting() -> None:
    with pytest.raises(ValueError, match="NaN"):
        repeated_names(b'{"a":NaN}', within=True)
    deep: Any = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(RecursionError):
        repeated_names(deep, within=True)
