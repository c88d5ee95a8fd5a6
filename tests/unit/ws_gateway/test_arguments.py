import sys

import pytest

from ws_gateway.arguments import read_arguments


def test_the_gateway_takes_no_arguments_of_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["roomcast ws_gateway"])
    assert read_arguments().replica is None
    monkeypatch.setattr(sys, "argv", ["roomcast ws_gateway", "now"])
    with pytest.raises(SystemExit) as refused:
        read_arguments()
    assert refused.value.code == 2


def test_help_says_what_it_is_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["roomcast ws_gateway", "--help"])
    with pytest.raises(SystemExit) as answered:
        read_arguments()
    assert answered.value.code == 0
    assert "WS_PORT" in capsys.readouterr().out
