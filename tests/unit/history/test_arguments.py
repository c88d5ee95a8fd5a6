"""Command line of the history writer."""

import sys

import pytest

from history.arguments import read_arguments


def test_it_writes_unless_it_is_told_to_migrate(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, command in (
        ([], None),
        (["migrate"], "migrate"),
        (["--replica", "1", "3"], None),
    ):
        monkeypatch.setattr(sys, "argv", ["history", *arguments])
        assert read_arguments().command == command


@pytest.mark.parametrize("arguments", [["write"], ["migrate", "head"], ["migrate", "--down"]])
def test_it_knows_no_other_command(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["history", *arguments])
    with pytest.raises(SystemExit) as refused:
        read_arguments()
    assert refused.value.code == 2
