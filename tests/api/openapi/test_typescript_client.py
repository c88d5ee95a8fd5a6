"""Types that openapi-typescript makes of the document, and a program that is written with them."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.credentials import AuthStack
from tests.support.skips import need_programs
from tests.support.waiting import until

SOURCES: Final = Path(__file__).parent / "typescript"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def project(document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its packages and the generated types."""
    need_programs("node", "npm", why="the TypeScript client")
    folder = tmp_path_factory.mktemp("typescript") / "project"
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("node_modules"))
    installed = run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    assert installed.returncode == 0, installed.stderr
    made = run(folder, "node_modules/.bin/openapi-typescript", str(document), "-o", "schema.ts")
    assert made.returncode == 0, made.stdout + made.stderr
    compiled = run(folder, "node_modules/.bin/tsc", "-p", ".")
    assert compiled.returncode == 0, compiled.stdout
    return folder


def test_the_lock_names_every_file_by_its_hash_and_no_registry() -> None:
    lock = json.loads((SOURCES / "package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert packages
    assert [name for name, one in packages.items() if not one.get("integrity")] == []
    assert "resolved" not in (SOURCES / "package-lock.json").read_text()


def test_a_wrong_program_does_not_compile(project: Path) -> None:
    lines = (project / "wrong.ts").read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("// wrong")}
    done = run(project, "node_modules/.bin/tsc", "-p", "tsconfig.wrong.json")
    refused = {
        int(line.partition("(")[2].partition(",")[0])
        for line in done.stdout.splitlines()
        if line.startswith("wrong.ts(")
    }
    assert refused == marked, done.stdout


async def test_the_program_makes_a_client_sends_and_reads(
    project: Path, required: AuthStack
) -> None:
    url = required.http_urls[0]

    def call(name: str, *given: str) -> Any:
        done = run(project, "node", "main.js", name, url, *given)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    key = call("makeClient", required.operator)

    def known() -> bool:
        return run(project, "node", "main.js", "inbox", url, key, "bob").returncode == 0

    await until(known)
    sent = call("send", key, "bob")
    await until(lambda: [item["id"] for item in call("inbox", key, "bob")] == [sent])
    assert call("story", key, sent) == ["user:bob 1"]
    assert call("sendWrong", key) == ["invalid /0/message"]
