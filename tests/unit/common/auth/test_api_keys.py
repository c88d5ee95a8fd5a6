"""API keys: what is one, and what only looks like one."""

from hypothesis import given
from hypothesis import strategies as st

from common.auth.api_keys import LENGTH, PREFIX, digest, is_key, key_id, new_key


def test_a_key_is_read_and_fits_what_is_stored_of_it() -> None:
    key = new_key()
    assert len(key.text) == LENGTH
    assert key.text.startswith(f"{PREFIX}{key.id}_")
    assert key_id(key.text) == key.id
    assert is_key(key.text, key.digest)
    assert key.digest == digest(key.text)
    assert key.text not in repr(key.digest)


def test_no_two_keys_are_alike() -> None:
    keys = [new_key() for _ in range(200)]
    assert len({key.id for key in keys}) == len({key.text for key in keys}) == 200


@given(st.integers(0, LENGTH - 1), st.characters(codec="utf-8"))
def test_one_wrong_character_is_seen(at: int, character: str) -> None:
    text = new_key().text
    wrong = text[:at] + character + text[at + 1 :]
    assert wrong == text or key_id(wrong) is None


@given(st.text(max_size=200))
def test_other_text_is_no_key(text: str) -> None:
    assert key_id(text) is None
    assert key_id(PREFIX + text) is None


def test_the_key_of_somebody_else_does_not_fit() -> None:
    assert not is_key(new_key().text, new_key().digest)
