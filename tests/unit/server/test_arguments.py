"""Command line of the server."""

import argparse
import sys

import pytest

from common.auth.client_records import ALL_SCOPES, Scope
from server.arguments import read_arguments

TILL = ("create-client", "till", "till@example.com")


def parsed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> argparse.Namespace:
    monkeypatch.setattr(sys, "argv", ["server", *arguments])
    return read_arguments()


def test_it_serves_unless_it_is_told_to_make_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed(monkeypatch).command is None
    assert parsed(monkeypatch, "--replica", "1", "3").replica == [1, 3]
    assert parsed(monkeypatch, *TILL).command == "create-client"


def test_a_client_is_no_operators_and_its_key_has_all_scopes_unless_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = parsed(monkeypatch, *TILL)
    assert (found.name, found.email) == ("till", "till@example.com")
    assert (found.admin, found.scopes) == (False, ALL_SCOPES)


@pytest.mark.parametrize(
    ("more", "admin", "scopes"),
    [
        (("--admin",), True, ALL_SCOPES),
        (("--scopes", "notify,read"), False, {Scope.NOTIFY, Scope.READ}),
        (("--admin", "--scopes", "admin"), True, {Scope.ADMIN}),
    ],
)
def test_its_scopes_and_its_operator_can_be_named(
    monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], admin: bool, scopes: set[Scope]
) -> None:
    found = parsed(monkeypatch, *TILL, *more)
    assert (found.admin, found.scopes) == (admin, scopes)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("serve",), "invalid choice"),
        (("create-client", "till"), "email"),
        ((*TILL, "more"), "more"),
        ((*TILL, "--scopes", ""), "no list of scopes"),
        ((*TILL, "--scopes", "notify,all"), "no list of scopes"),
        ((*TILL, "--scopes", "notify, read"), "no list of scopes"),
        ((*TILL, "--admin", "--scopes", "notify"), "needs the scope admin"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    with pytest.raises(SystemExit) as refused:
        parsed(monkeypatch, *arguments)
    assert refused.value.code == 2
    assert reason in capsys.readouterr().err
