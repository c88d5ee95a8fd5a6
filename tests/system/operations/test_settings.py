import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.config.settings import Settings

PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("module", "setting", "value"),
    [
        ("server", "PORT", "eighty"),
        ("server", "REDIS_MEMORY_MAX_RATIO", "1.5"),
        ("worker", "LEASE_S", "0.1"),
        ("worker", "LOG_FORMAT", "xml"),
        ("ws_gateway", "WS_PORT", "70000"),
        ("ws_gateway", "DRAIN_S", "-1"),
        ("deploy.local", "VALKEY_PORT", ""),
    ],
)
def test_every_process_refuses_a_wrong_value_by_its_name(
    module: str, setting: str, value: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=PROJECT,
        env={**os.environ, setting: value},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"setting {setting} is refused: ")
    assert line.endswith(f"(got {value!r})")


@pytest.mark.parametrize(
    "more",
    [{"KAFKA_CA_FILE": "/nonexistent"}, {"KAFKA_USER": "me"}],
    ids=["no file", "no password"],
)
def test_a_bridge_that_could_never_connect_does_not_start(
    more: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kafka_bridge"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT), "KAFKA_BROKERS": "127.0.0.1:1", **more},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("setting KAFKA_"), done.stderr
    assert "Traceback" not in done.stderr


def test_the_projects_own_file_is_accepted_and_knows_no_other_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(PROJECT)
    lines = (PROJECT / ".env").read_text().splitlines()
    pairs = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert {name.lower() for name in pairs} <= Settings.model_fields.keys()
    # compose and pydantic-settings expand `$` differently.
    assert not any("$" in value for value in pairs.values())
    settings = Settings()
    assert settings.model_fields_set >= {name.lower() for name in pairs}


def test_the_file_names_the_valkey_that_is_started_locally(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("REDIS_CLIENT", "VALKEY_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(PROJECT)
    settings = Settings()
    assert settings.redis_url == f"redis://127.0.0.1:{settings.valkey_port}/0"
