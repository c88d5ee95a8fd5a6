"""Command lines of the worker and of the dead letters."""

import argparse
import sys
from collections.abc import Callable

import pytest

from worker.arguments import read_arguments, read_dead_letters_arguments


def parsed(
    read: Callable[[], argparse.Namespace], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> argparse.Namespace:
    monkeypatch.setattr(sys, "argv", ["roomcast test", *arguments])
    return read()


def test_the_worker_takes_no_arguments_of_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed(read_arguments, monkeypatch).replica is None
    assert parsed(read_arguments, monkeypatch, "--replica", "2", "7").replica == [2, 7]
    with pytest.raises(SystemExit):
        parsed(read_arguments, monkeypatch, "publish")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["list"], ("list", [], False)),
        (["drop", "1-0", "a:2-0"], ("drop", ["1-0", "a:2-0"], False)),
        (["requeue", "--all"], ("requeue", [], True)),
        (["requeue", "1-0", "--all"], ("requeue", ["1-0"], True)),
    ],
)
def test_a_command_says_which_letters(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: tuple[str, list[str], bool]
) -> None:
    found = parsed(read_dead_letters_arguments, monkeypatch, *arguments)
    assert (found.command, found.entry, found.all) == expected


@pytest.mark.parametrize(
    "arguments", [[], ["drop"], ["requeue"], ["list", "1-0"], ["list", "--all"], ["burn", "--all"]]
)
def test_what_would_be_done_to_no_letter_or_to_unnamed_ones_is_an_error(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        parsed(read_dead_letters_arguments, monkeypatch, *arguments)
    assert refused.value.code == 2
