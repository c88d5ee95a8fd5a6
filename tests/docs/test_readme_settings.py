import pytest

from tools.settings_table import BEGIN, END, PAGE, render, replace


def test_the_page_lists_every_setting_as_it_is() -> None:
    text = PAGE.read_text()
    assert replace(text) == text, "run `make docs`"


def test_only_what_is_between_the_markers_is_replaced() -> None:
    assert replace(f"before\n{BEGIN}\nold\n{END}\nafter") == f"before\n{render()}\nafter"


@pytest.mark.parametrize("text", ["", f"{BEGIN} {END} {BEGIN} {END}", BEGIN])
def test_a_text_without_one_pair_of_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected one pair"):
        replace(text)
