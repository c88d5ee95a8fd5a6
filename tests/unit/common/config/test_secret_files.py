"""Secrets from files."""

from pathlib import Path

import pytest

from common.config.loading import load_settings
from common.config.settings import SECRETS, Settings

VALUES = {
    "redis_client": "rediss://me:hunter2@redis.example:6379/0",
    "database_url": "postgresql://me:hunter2@db.example/roomcast",
    "kafka_password": "hunter2 ",
}


@pytest.fixture(autouse=True)
def nothing_else_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        load_settings()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_comes_from_its_file(
    name: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(f"{VALUES[name]}{end}".encode())
    monkeypatch.setenv(f"{name}_FILE".upper(), str(file))
    settings = load_settings()
    assert getattr(settings, name).get_secret_value() == VALUES[name]
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_is_given_twice_is_refused(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "secret").write_text(VALUES[name])
    monkeypatch.setenv(f"{name}_FILE".upper(), str(tmp_path / "secret"))
    monkeypatch.setenv(name.upper(), VALUES[name])
    said = refusal(capsys)
    assert f"setting {name.upper()}_FILE is refused: {name.upper()} is set as well" in said


def test_the_environments_file_comes_before_the_value_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("REDIS_CLIENT=redis://first\nKAFKA_PASSWORD_FILE=gone\n")
    (tmp_path / "secret").write_text("redis://second")
    monkeypatch.setenv("REDIS_CLIENT_FILE", "secret")
    with pytest.raises(SystemExit):
        load_settings()
    (tmp_path / "gone").write_text("found")
    settings = load_settings()
    assert settings.redis_url == "redis://second"
    assert settings.kafka_password.get_secret_value() == "found"


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"", "is empty"), (b"\n", "is empty"),
                            (b"\xff", "no text in UTF-8")],
)  # fmt: skip
def test_a_file_without_a_secret_is_refused(
    content: bytes | None,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "secret"))
    said = refusal(capsys)
    assert said.startswith("setting DATABASE_URL_FILE is refused: ")
    assert reason in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_CLIENT", "http://me:hunter2@there"),
        ("REDIS_CLIENT", "redis://me:hunter2/x@there"),
        ("DATABASE_URL", "mysql://me:hunter2@there"),
        ("DATABASE_URL", "postgresql://me:hunter2#x@there/db"),
    ],
)
def test_a_refused_secret_is_not_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("PORT", "0")
    said = refusal(capsys)
    assert f"setting {name} is refused: " in said
    assert "setting PORT is refused: " in said
    with pytest.raises(ValueError) as caught:
        Settings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "path", "reason"),
    [("redis://there", "ca.pem", "rediss://"), ("rediss://there", "gone.pem", "no such file")],
)
def test_a_file_of_authorities_that_would_not_count_is_refused(
    url: str,
    path: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("REDIS_CLIENT", url)
    monkeypatch.setenv("REDIS_CA_FILE", path)
    said = refusal(capsys)
    assert said.startswith("setting REDIS_CA_FILE is refused: ")
    assert reason in said


def test_proxies_that_are_none_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8,haproxy")
    assert refusal(capsys).startswith("setting TRUSTED_PROXIES is refused: ")
