from configparser import RawConfigParser
from pathlib import Path

import pytest

from deploy.local.parts import Part
from deploy.local.supervision.supervisord import (
    Control,
    Places,
    UnfitPathError,
    write_configuration,
)


def places_below(folder: Path) -> Places:
    return Places(folder / "conf", folder / "pid", folder / "sock", folder)


def test_parts_are_kept_running_and_told_apart(tmp_path: Path) -> None:
    places = places_below(tmp_path)
    part = Part("worker", ("/usr/bin/python", "-m", "a worker"), 30, 7)
    write_configuration(places, [part], tmp_path, "secret")
    parser = RawConfigParser()
    parser.read(places.configuration)
    program = parser["program:worker"]
    assert program["command"] == "/usr/bin/python -m 'a worker'"
    assert program["autorestart"] == "true"
    assert program["stopwaitsecs"] == "7"
    assert program["stdout_logfile"] == str(tmp_path / "worker.out")


def test_nobody_else_may_read_the_password(tmp_path: Path) -> None:
    places = places_below(tmp_path)
    places.configuration.touch(mode=0o644)
    write_configuration(places, [], tmp_path, "secret")
    assert places.configuration.stat().st_mode & 0o777 == 0o600


def test_percent_signs_survive(tmp_path: Path) -> None:
    folder = tmp_path / "100%"
    write_configuration(places_below(folder), [], tmp_path, "secret")
    assert f"{tmp_path}/100%%/pid" in (folder / "conf").read_text()


@pytest.mark.parametrize("name", ["my #1 project", "a ;b"])
def test_a_path_that_would_be_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnfitPathError, match="comment"):
        write_configuration(places_below(tmp_path / name), [], tmp_path, "secret")


def test_without_supervisord_no_process_is_known(tmp_path: Path) -> None:
    assert Control(tmp_path / "sock", "secret").processes() == {}
