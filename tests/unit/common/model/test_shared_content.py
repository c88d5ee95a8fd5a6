"""Taking a content out of a text, and putting it back; tests/redis/publish has it on a Valkey."""

import json
from typing import Any

from hypothesis import given

from common.model.shared_content import (
    PLACEHOLDER,
    REFERENCE_FIELD,
    content_of,
    digest_of,
    place_in,
    put_back,
    references,
    with_content,
)
from tests.support import strategies
from tests.support.examples import examples


def head(user: str, content: bytes = PLACEHOLDER) -> bytes:
    """A frame up to its content and a little further."""
    return b'{"userId":%b,"message":%b,"priority":"high"}' % (json.dumps(user).encode(), content)


def entry(text: bytes, *reference: bytes) -> tuple[bytes, list[bytes]]:
    fields = [b"k", b"published", b"c", b"default/room:1", b"w", b"w1", b"p", text, b"x", b""]
    return b"1-0", [*fields, *reference]


def test_a_digest_names_the_bytes() -> None:
    one = content_of(b'"a"', b'{"b":1}')
    assert digest_of(one) == digest_of(bytes(one))
    others = [
        content_of(b'"a"', b'{"b": 1}'),
        content_of(b'"a" ', b'{"b":1}'),
        content_of(b'"A"', b"{}"),
    ]
    assert len({digest_of(content) for content in (one, *others)}) == 4


@examples(50)
@given(strategies.texts, strategies.values, strategies.values)
def test_what_was_taken_out_is_put_back(user: str, message: object, data: object) -> None:
    content = content_of(json.dumps(message).encode(), json.dumps(data).encode())
    text = head(user)
    whole = with_content(text, place_in(text), content)
    assert whole == head(user, content)
    assert json.loads(whole)["message"] == message
    assert json.loads(whole)["data"] == data


@examples(100)
@given(strategies.texts)
def test_no_text_of_a_sender_is_taken_for_the_place(before: str) -> None:
    user = before + '"message":null,"data":null'
    text = head(user)
    assert json.loads(with_content(text, place_in(text), b'"it","data":1'))["userId"] == user


def test_entries_get_their_own_contents_and_lose_the_reference() -> None:
    place = b":%d" % place_in(head("1"))
    contents: dict[bytes, bytes | None] = {b"aa": b'"A","data":1', b"bb": b'"B","data":2'}
    entries: list[Any] = [
        entry(head("1"), REFERENCE_FIELD, b"bb" + place),
        entry(b'{"plain":1}'),
        entry(head("1"), REFERENCE_FIELD, b"aa" + place),
    ]
    assert references(entries) == {b"aa", b"bb"}
    found = put_back(entries, contents)
    assert [json.loads(fields[7]).get("message") for _, fields in found] == ["B", None, "A"]
    assert {len(fields) for _, fields in found} == {10}
    assert references(found) == set()


def test_a_content_that_is_gone_or_a_broken_reference_leaves_null() -> None:
    for contents, reference in (
        ({}, b"aa:20"),
        ({b"aa": None}, b"aa:20"),
        ({b"aa": b'"A","data":1'}, b"aa"),
        ({b"aa": b'"A","data":1'}, b"aa:-1"),
    ):
        ((_, fields),) = put_back([entry(head("1"), REFERENCE_FIELD, reference)], contents)
        assert json.loads(fields[7])["message"] is None


def test_an_entry_of_somebody_else_is_left_alone() -> None:
    strange = [(b"1-0", [b"a", b"1"]), (b"2-0", [REFERENCE_FIELD, b"aa:1"])]
    assert references(strange) == set()
    assert put_back(strange, {b"aa": b"x"}) == strange
