import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from common.model.ids import ID_PATTERN, identifier
from common.model.notification import Id, Targets
from tests.support import strategies
from tests.support.examples import examples

_id = TypeAdapter(Id)
_targets = TypeAdapter(Targets)

anything = st.one_of(
    strategies.ids,
    st.text(max_size=140),
    st.text(min_size=125, max_size=131),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)


def test_an_integer_and_its_text_are_the_same_id() -> None:
    assert identifier(1) == identifier("1") == "1"
    assert identifier(-5) == "-5"


@pytest.mark.parametrize(
    "wrong",
    ["", "a\nb", "a\x00", "\x7f", "\x85", "\u2028", "x" * 129, 10**200, 1.0, True, None, [], {},
     "\ud800", "a\udfffb", "1\n"],
)  # fmt: skip
def test_what_is_no_id_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="must be an integer or 1 to 128 printable characters"):
        identifier(wrong)


@examples(300)
@given(anything)
def test_sockets_and_http_take_the_same_ids(value: object) -> None:
    def taken(by: object) -> object:
        try:
            return by(value)  # type: ignore[operator]
        except (ValidationError, ValueError):
            return None

    expected = taken(identifier)
    assert taken(_id.validate_python) == expected
    if not isinstance(value, list):
        assert taken(_targets.validate_python) == (None if expected is None else [expected])


@examples(300)
@given(st.text(max_size=130))
def test_the_published_pattern_is_what_is_checked(text: str) -> None:
    # As ECMA-262 reads it: $ is the end and nothing else.
    pattern = ID_PATTERN.removesuffix("$") + r"\Z"
    is_unicode = not re.search("[\ud800-\udfff]", text)
    matches = bool(re.match(pattern, text)) and is_unicode
    try:
        assert identifier(text) == text
    except ValueError:
        assert not matches
    else:
        assert matches
