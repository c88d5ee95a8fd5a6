"""Log lines, as an operator's tools and a person read them."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

from common.config.settings import LogFormat, Settings
from common.telemetry.logs import set_up_logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


SetUp = Callable[..., io.StringIO]


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[SetUp]:
    """Set up logs that go to a file, or to the test's stream; afterwards all is as before."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    handlers, levels = root.handlers[:], (root.level, access.level)

    def begin(stream: io.StringIO | None = None, **settings: str) -> io.StringIO:
        shown = io.StringIO() if stream is None else stream
        monkeypatch.setattr("sys.stdout", shown)
        set_up_logs(Settings(_env_file=None, **settings), "gateway.2")  # type: ignore[arg-type]
        return shown

    yield begin
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    access.setLevel(levels[1])


def test_each_line_is_one_json_object_whatever_is_in_it(set_up: SetUp) -> None:
    shown = set_up()
    logging.getLogger("roomcast.test").warning("two\nlines", extra={"reason": 'a "b"\n', "n": 3})
    (line,) = shown.getvalue().splitlines()
    said = json.loads(line)
    assert datetime.fromisoformat(said.pop("timestamp")).tzinfo is not None
    assert said == {
        "level": "WARNING", "logger": "roomcast.test", "process": "gateway.2",
        "message": "two\nlines", "reason": 'a "b"\n', "n": 3,
    }  # fmt: skip


def test_an_exception_is_in_its_line(set_up: SetUp) -> None:
    shown = set_up()
    try:
        int("broken")
    except ValueError:
        logging.getLogger("roomcast.test").exception("failed")
    (line,) = shown.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exc_info"]


def test_a_terminal_gets_readable_lines(set_up: SetUp) -> None:
    shown = set_up(Terminal())
    logging.getLogger("roomcast.test").info("working", extra={"lanes": 3, "reason": "why"})
    time, *words = shown.getvalue().split(maxsplit=3)
    assert len(time) == len("12:00:00")
    assert words == ["gateway.2", "INFO", "working  lanes=3  reason=why\n"]


@pytest.mark.parametrize(
    ("stream", "chosen", "is_json"),
    [
        (io.StringIO(), LogFormat.AUTO, True),
        (Terminal(), LogFormat.AUTO, False),
        (Terminal(), LogFormat.JSON, True),
        (io.StringIO(), LogFormat.CONSOLE, False),
    ],
)
def test_the_format_is_the_setting_s_and_else_the_stream_s(
    set_up: SetUp, stream: io.StringIO, chosen: LogFormat, is_json: bool
) -> None:
    shown = set_up(stream, log_format=chosen)
    logging.getLogger("roomcast.test").info("x")
    assert shown.getvalue().startswith("{") is is_json


def test_what_is_below_the_level_is_not_written(set_up: SetUp) -> None:
    shown = set_up(log_level="WARNING")
    log = logging.getLogger("roomcast.test")
    log.info("a")
    log.warning("b")
    assert [json.loads(line)["message"] for line in shown.getvalue().splitlines()] == ["b"]


def test_nothing_is_written_for_every_request(set_up: SetUp) -> None:
    shown = set_up(log_level="DEBUG")
    logging.getLogger("aiohttp.access").info("GET /healthz")
    assert shown.getvalue() == ""


def test_setting_up_again_writes_no_line_twice(set_up: SetUp) -> None:
    set_up()
    shown = set_up()
    logging.getLogger("roomcast.test").info("once")
    assert len(shown.getvalue().splitlines()) == 1
