"""What a person types: help, versions, mistakes. The programs are really started."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.config.version import VERSION
from deploy.processes import PROCESSES
from roomcast.command import COMMANDS

ROOT = Path(__file__).parents[3]
PROGRAMS = [
    *(process.module for process in PROCESSES),
    "worker.dead_letters",
    "roomcast",
]


def run(module: str, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that must end at once; it finds no store, and no `.env`."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd="/",
        env={"PYTHONPATH": str(ROOT), "REDIS_CLIENT": "redis://127.0.0.1:1/0", **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_this_list_has_every_program() -> None:
    roots = {path.parent.name for path in ROOT.glob("*/__main__.py")} - {"loadtests"}
    assert roots <= set(PROGRAMS)
    assert {command.module for command in COMMANDS} == set(PROGRAMS) - {"roomcast"}


@pytest.mark.parametrize("module", PROGRAMS)
def test_every_program_tells_how_it_is_used_and_which_version_it_is(module: str) -> None:
    helped = run(module, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    name = module if module == "roomcast" else f"python -m {module}"
    assert helped.stdout.startswith(f"usage: {name} ")
    told = run(module, "--version")
    assert (told.returncode, told.stdout, told.stderr) == (0, f"roomcast {VERSION}\n", "")


@pytest.mark.parametrize(
    "arguments", [("--nonsense",), ("nonsense",), ("-x", "1"), ("--replica", "1"), ("--vers",)]
)
@pytest.mark.parametrize("module", PROGRAMS)
def test_every_program_refuses_what_it_does_not_know(
    module: str, arguments: tuple[str, ...]
) -> None:
    refused = run(module, *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("usage: ")
    assert "error: " in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("module", PROGRAMS)
def test_help_loads_none_of_the_libraries(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in loaded
    assert not loaded & {"aiohttp", "pydantic", "redis", "prometheus_client", "sqlalchemy"}


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_one_command_is_in_front_of_all_and_knows_its_name(command: str) -> None:
    helped = run("roomcast", command, "--help")
    assert helped.returncode == 0
    assert helped.stdout.startswith(f"usage: roomcast {command} ")
    assert re.search(rf"^  {command} +\w", run("roomcast", "--help").stdout, re.MULTILINE)


def test_without_a_command_it_lists_them() -> None:
    done = run("roomcast")
    assert (done.returncode, done.stdout) == (2, "")
    assert "create-client" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("restore",), "--since"),
        (("restore", "--since", "yesterday"), "not a time"),
        (("restore", "--since", "2026-11-21T04:00:00"), "needs a zone"),
        (("restore", "--since", "0001-01-01T00:00:00+14:00"), "not a time"),
        (("restore", "--since", "1969-12-31T23:59:59Z"), "before 1970"),
        (("dead-letters", "drop"), "name entries"),
        (("create-client", "Shop"), "email"),
        (("create-client", "Shop", "a@b", "--scopes", "all"), "no list of scopes"),
        (("create-client", "Shop", "a@b", "--admin", "--scopes", "read"), "needs the scope admin"),
    ],
)
def test_a_mistake_in_a_command_is_told_and_is_status_2(
    arguments: tuple[str, ...], said: str
) -> None:
    done = run("roomcast", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "email", "said"),
    [
        ("", "ops@example.com", "name: "),
        ("Shop", "nobody", "email: "),
        ("x" * 200, "a@b", "name: "),
    ],
)
def test_a_client_that_http_would_refuse_is_refused_here_too(
    name: str, email: str, said: str
) -> None:
    done = run(
        "roomcast", "create-client", name, email, DATABASE_URL="postgresql://x@127.0.0.1:1/x"
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"no client was made: {said}")


@pytest.mark.parametrize("command", ["create-client", "migrate"])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody@127.0.0.1:1/none",
        "postgresql://nobody@name.invalid/none",
        f"postgresql://nobody@{'x' * 70}.example/none",
        "postgresql://nobody@127.0.0.1:1/none?sslmode=bogus",
        "postgresql:///none?host=/nowhere",
    ],
)
def test_a_database_that_does_not_answer_is_one_line(command: str, url: str) -> None:
    more = ("Shop", "shop@example.com") if command == "create-client" else ()
    done = run("roomcast", command, *more, DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        (("create-client", "Shop", "shop@example.com"), "DATABASE_URL"),
        (("migrate",), "DATABASE_URL"),
        (("history",), "DATABASE_URL"),
        (("kafka-bridge",), "KAFKA_BROKERS"),
        (("restore", "--since", "2026-11-21T04:00:00Z"), "KAFKA_BROKERS"),
    ],
)
def test_a_setting_that_a_command_needs_is_named(command: tuple[str, ...], setting: str) -> None:
    done = run("roomcast", *command)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"setting {setting} is refused: ")


def test_the_operator_is_told_of_every_command() -> None:
    page = (ROOT / "docs" / "reference" / "commands.md").read_text()
    listed = dict(
        re.findall(r"^\| `roomcast ([a-z-]+)` \|.*\| `python -m ([^`]+)` \|$", page, re.MULTILINE)
    )
    assert listed == {
        command.name: " ".join((command.module, *command.arguments)) for command in COMMANDS
    }


@pytest.mark.parametrize(
    "module",
    [
        "deploy.local",
        "deploy.local.clean",
        "deploy.local.client",
        "tools.audit",
        "tools.settings_table",
        "tools.structure",
        "loadtests.run_load",
        "loadtests.bench",
    ],
)
def test_no_tool_does_anything_when_it_is_asked_for_help(module: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m {module} ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "module",
    [
        "deploy.local",
        "deploy.local.clean",
        "deploy.local.client",
        "tools.settings_table",
        "tools.structure",
    ],
)
def test_no_tool_does_anything_when_it_is_misunderstood(module: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--nonsense"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")


@pytest.mark.parametrize("script", ["tools/lock.sh", "deploy/docker/stand-in-images"])
def test_scripts_tell_what_they_do_and_do_nothing(script: str) -> None:
    done = subprocess.run([ROOT / script, "--help"], capture_output=True, text=True, check=True)
    assert Path(script).name in done.stdout
