import os
import re
from pathlib import Path

import pytest

from common.config.loading import COMPOSE_NAMES, find_unknown, load_settings
from common.config.settings import Settings

PROJECT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("HOST", ""),
        ("DRAIN_S", "inf"),
        ("LEASE_S", "1e300"),
        ("HISTORY_DELAY_S", "nan"),
        ("REDIS_MEMORY_MAX_RATIO", "nan"),
        ("LANE_MAX_JOBS", "9" * 24),
        ("LOG_TTL_S", "9" * 20),
        ("SEND_BUFFER_BYTES", "9" * 10),
        ("HISTORY_RETENTION_DAYS", "999999999"),
        ("KAFKA_BROKERS", "::::"),
        ("KAFKA_BROKERS", "one:9092,,two:9092"),
        ("KAFKA_BROKERS", "one:port"),
        ("KAFKA_EVENTS_TOPIC", "a b"),
        ("ALLOWED_ORIGINS", "app.example.com"),
        ("TRUSTED_PROXIES", "proxy"),
        ("REDIS_CLIENT", "redis://127.0.0.1:6379/zero"),
        ("REDIS_CLIENT", "redis://127.0.0.1:6379/-1"),
        ("LOG_LEVEL", "chatty"),
    ],
)
def test_what_nothing_can_be_done_with_is_refused_at_start(
    setting: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(setting, value)
    with pytest.raises(SystemExit) as stopped:
        load_settings()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"setting {setting} is refused: ")
    assert "Value error" not in line


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("KAFKA_BROKERS", "one.example:9092, [::1]:9093,three"),
        ("KAFKA_BROKERS", ""),
        ("ALLOWED_ORIGINS", "https://app.example.com, http://[::1]:8080,*"),
        ("REDIS_CLIENT", "redis://127.0.0.1"),
        ("REDIS_CLIENT", "redis://127.0.0.1:6379/"),
        ("REDIS_CLIENT", "unix:///run/valkey.sock?db=1"),
    ],
)
def test_these_are_accepted(setting: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(setting, value)
    load_settings()


def test_a_file_that_can_not_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe\n")
    with pytest.raises(SystemExit) as stopped:
        load_settings()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the settings in .env can't be read: ")


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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WORKERPORT", "WORKER_PORT"),
        ("lane_maxjobs", "LANE_MAX_JOBS"),
        ("DATABASE_URL_FLIE", "DATABASE_URL_FILE"),
        ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS"),
        ("SOMETHING_ELSE_ENTIRELY", None),
    ],
)
def test_a_name_in_the_file_that_is_no_setting_is_warned_of(
    name: str,
    meant: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"{name}=s3cret\nMAX_ROOMS=7\n")
    assert load_settings().max_rooms == 7
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"WARNING .env sets {name.upper()}, which is no setting")
    assert line.endswith(f"did you mean {meant}?" if meant else "is ignored")
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LANE_MAXJOBS", "LANE_MAX_JOBS"),
        ("Kafka_Broker", "KAFKA_BROKERS"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("HOSTNAME", None),
        ("SERVER_PORT", None),
        ("REDIS_CLIENT_ID", None),
        ("KAFKA_USERNAME", None),
    ],
)
def test_a_misspelt_name_in_the_environment_is_warned_of_and_no_stranger(
    name: str,
    meant: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "s3cret")
    load_settings()
    said = f"WARNING the environment sets {name.upper()}, which is no setting, and is ignored; "
    assert capsys.readouterr().err == (f"{said}did you mean {meant}?\n" if meant else "")
    # In the file, too: it is said once. And a replica leaves it to its parent.
    (tmp_path / ".env").write_text(f"{name}=1\n")
    load_settings()
    assert capsys.readouterr().err.count("WARNING") == 1
    load_settings(warn=False)
    assert capsys.readouterr().err == ""


def test_names_that_something_reads_are_not_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compose = "".join(path.read_text() for path in PROJECT.glob("compose*.yaml"))
    read_by_compose = set(re.findall(r"\$\{([A-Z_]+)", compose))
    assert read_by_compose >= COMPOSE_NAMES
    assert list(find_unknown([*read_by_compose, "COMPOSE_PROFILES"])) == []
    monkeypatch.chdir(PROJECT)
    load_settings()
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("port=9080\nREDIS_CLIENT_FILE=\nIMAGE_TAG=1\n")
    assert load_settings().port == int(os.environ.get("PORT", 9080))
    assert capsys.readouterr().err == ""
