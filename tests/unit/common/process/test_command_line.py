"""The command line that all processes share."""

import subprocess
import sys

import pytest

from common.config.version import VERSION
from common.process.command_line import REPLICA_FLAG, command_parser, process_parser


def refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        process_parser("worker", "Work.").parse_args(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["x"],
        ["--vers"],
        ["--nonsense"],
        [REPLICA_FLAG],
        [REPLICA_FLAG, "1"],
        [REPLICA_FLAG, "a", "3"],
    ],
)
def test_everything_else_is_an_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "error: " in refuses(arguments, capsys)


def test_a_replica_says_its_number_and_its_pipe() -> None:
    found = process_parser("worker", "Work.").parse_args([REPLICA_FLAG, "2", "7"])
    assert found.replica == [2, 7]


def test_help_says_what_it_is_for_and_nothing_of_replicas() -> None:
    text = process_parser("worker", "Publish what waits.").format_help()
    assert "Publish what waits." in text
    assert "docs/reference/settings.md" in text
    assert REPLICA_FLAG not in text


def test_a_command_without_replicas_knows_no_such_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_parser("worker.dead_letters", "List.").parse_args([REPLICA_FLAG, "1", "3"])
    assert REPLICA_FLAG in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_parser("worker", "Work.").parse_args(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"roomcast {VERSION}\n"


@pytest.mark.parametrize(
    ("called", "shown"),
    [
        ("roomcast worker", "roomcast worker"),
        ("roomcast", "roomcast"),
        ("/app/worker/__main__.py", "python -m worker"),
        ("roomcast-old", "python -m worker"),
    ],
)
def test_it_has_the_name_that_it_was_called_by(
    called: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert command_parser("worker", "Work.").prog == shown


def test_it_is_light() -> None:
    code = "import sys, common.process.command_line; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    installed = {
        "aiohttp",
        "asyncio",
        "msgspec",
        "prometheus_client",
        "pydantic",
        "redis",
        "uvloop",
    }
    assert not loaded & installed
