import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.settings import Settings, load_settings

PROJECT = Path(__file__).parents[1]


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


def test_all_wrong_values_are_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "0")
    monkeypatch.setenv("MAX_ROOMS", "none")
    with pytest.raises(SystemExit) as stopped:
        load_settings()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "setting PORT " in said
    assert "setting MAX_ROOMS " in said


def test_the_environment_comes_before_the_file_and_the_file_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PORT=1001\nWS_PORT=1002\n")
    monkeypatch.setenv("PORT", "2001")
    settings = load_settings()
    assert (settings.port, settings.ws_port, settings.worker_port) == (2001, 1002, 8082)


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
