import re
from pathlib import Path

import pytest

from common.config.loading import load_settings
from common.config.renamed import RENAMED, warn_of_old_names
from common.config.settings import Settings

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for pair in RENAMED.items():
        for name in pair:
            monkeypatch.delenv(name.upper(), raising=False)


def test_new_names_are_settings_and_old_ones_are_not() -> None:
    assert set(RENAMED.values()) <= Settings.model_fields.keys()
    assert not RENAMED.keys() & Settings.model_fields.keys()


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_in_the_environment_still_works(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(old.upper(), "4321")
    assert getattr(load_settings(), new) == 4321
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("WARNING old names of settings: ")
    assert f"{old.upper()} is {new.upper()} now" in line


def test_an_old_name_in_the_file_still_works(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text("client_frames_burst=77\nSLOW_CLIENT_MAX_BYTES=4096\n")
    settings = load_settings()
    assert (settings.socket_frames_burst, settings.socket_unsent_max_bytes) == (77, 4096)
    # One line for all of them.
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_new_name_comes_before_the_old_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIENT_FRAMES_PER_S", "1")
    monkeypatch.setenv("SOCKET_FRAMES_PER_S", "2")
    assert load_settings().socket_frames_per_s == 2
    assert "SOCKET_FRAMES_PER_S now, which is set as well and comes first" in (
        capsys.readouterr().err
    )


def test_the_environment_comes_before_the_file_whatever_the_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text("SOCKET_FRAMES_PER_S=1\n")
    monkeypatch.setenv("CLIENT_FRAMES_PER_S", "2")
    assert load_settings().socket_frames_per_s == 2


def test_a_wrong_value_is_refused_under_the_new_name_after_the_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIENT_FRAMES_PER_S", "many")
    with pytest.raises(SystemExit):
        load_settings()
    first, second = capsys.readouterr().err.splitlines()
    assert "CLIENT_FRAMES_PER_S is SOCKET_FRAMES_PER_S now" in first
    assert second.startswith("setting SOCKET_FRAMES_PER_S is refused: ")


def test_who_uses_new_names_is_not_warned(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text("SOCKET_FRAMES_PER_S=9\n")
    load_settings()
    assert capsys.readouterr().err == ""
    assert warn_of_old_names(["PATH", "SOCKET_FRAMES_PER_S"]) == ""


def test_the_changelog_has_every_old_name_with_the_new_one() -> None:
    unreleased = (ROOT / "CHANGELOG.md").read_text().partition("## [Unreleased]")[2]
    table = dict(re.findall(r"^  \| `([A-Z_]+)` \| `([A-Z_]+)` \|$", unreleased, re.MULTILINE))
    assert table == {old.upper(): new.upper() for old, new in RENAMED.items()}
