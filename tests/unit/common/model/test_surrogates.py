import json

from hypothesis import given

from common.model.problems import pointer
from common.model.surrogates import lone_surrogates
from tests.support import strategies
from tests.support.examples import examples


def _where(body: str) -> list[str]:
    return [error.pointer for error in lone_surrogates(body.encode())]


def test_each_lone_surrogate_is_pointed_at() -> None:
    assert _where(r'{"a":"\ud800","b":["x","\udfff"],"c":{"d/e":"\ud83d"}}') == [
        "/a", "/b/1", "/c/d~1e",
    ]  # fmt: skip


def test_a_name_is_pointed_at_by_its_object() -> None:
    assert _where(r'{"a":{"\ud800":1}}') == ["/a"]
    assert _where(r'{"\ud800":1}') == [""]


def test_a_pair_is_a_character() -> None:
    assert _where(r'{"a":"\ud83d\ude00"}') == []


def test_what_is_no_json_or_too_deep_has_none() -> None:
    assert _where("{") == []
    assert _where("[" * 100_000) == []
    assert lone_surrogates(b"\xff") == []


@examples(100)
@given(strategies.values)
def test_unicode_has_none(value: object) -> None:
    assert lone_surrogates(json.dumps(value).encode()) == []


def test_pointers_are_escaped() -> None:
    assert pointer(["a/b", "~", 0, ""]) == "/a~1b/~0/0/"
    assert pointer([]) == ""
