import asyncio
import io
import logging
import os

import pytest

from common.config.settings import LogFormat, Settings
from common.telemetry.logs import set_up_logs
from deploy.local.console.console import Console, LineProtocol


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


async def shown(*chunks: bytes, name: str = "valkey") -> list[str]:
    output = io.BytesIO()
    protocol = LineProtocol(Console([name], output), name)
    for chunk in chunks:
        protocol.data_received(chunk)
    protocol.connection_lost(None)
    await asyncio.wait_for(protocol.ended, 1)
    return output.getvalue().decode().splitlines()


async def test_every_line_gets_its_name_however_it_arrives() -> None:
    assert await shown(b"on", b"e\ntwo\r\n\n", b"thr", b"ee") == [
        "valkey     | one",
        "valkey     | two",
        "valkey     | ",
        "valkey     | three",
    ]


async def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    lines = await shown(*[b"x" * 50_000] * 4)
    assert [len(line.partition("| ")[2]) for line in lines] == [100_000, 100_000]


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("server", b"12:00:00 server    INFO    ready", "server     | 12:00:00 INFO    ready"),
        ("gateway", b"12:00:00 gateway.2 INFO    ready", "gateway.2  | 12:00:00 INFO    ready"),
        ("server", b"12:00:00 worker    INFO    ready", "12:00:00 worker    INFO    ready"),
    ],
)
async def test_the_name_in_a_log_line_is_said_once(name: str, line: bytes, expected: str) -> None:
    (said,) = await shown(line, name=name)
    assert said.endswith(expected)


async def test_what_the_processes_log_is_recognised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logs(Settings(log_format=LogFormat.CONSOLE), "worker.3")
        logging.getLogger("test").info("working", extra={"lanes": 3})
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    (said,) = await shown(stream.getvalue().encode(), name="worker")
    assert said.startswith("worker.3   | ")
    assert said.count("worker") == 1
    assert said.endswith("working  lanes=3")


def test_only_a_terminal_sees_colours() -> None:
    terminal, file = Terminal(), io.BytesIO()
    Console(["server"], terminal).line("server", b"ready")
    Console(["server"], file).line("server", b"ready")
    assert terminal.getvalue() == b"\x1b[36mserver     | \x1b[0mready\n"
    assert file.getvalue() == b"server     | ready\n"


def test_texts_keep_their_lines() -> None:
    output = io.BytesIO()
    console = Console(["runner"], output)
    console.text("runner", "one\ntwo")
    console.plain("three\n")
    assert output.getvalue() == b"runner     | one\nrunner     | two\nthree\n"


async def test_a_pipe_is_shown_to_its_last_byte() -> None:
    reading, writing = os.pipe()
    output = io.BytesIO()
    _, protocol = await asyncio.get_running_loop().connect_read_pipe(
        lambda: LineProtocol(Console(["worker"], output), "worker"), os.fdopen(reading, "rb")
    )
    os.write(writing, b"last words")
    os.close(writing)
    await asyncio.wait_for(protocol.ended, 5)
    assert output.getvalue() == b"worker     | last words\n"


def test_the_end_of_an_outage_is_shown_to_whoever_saw_its_begin() -> None:
    output = io.BytesIO()
    console = Console(["server"], output, verbose=False)
    back = b"12:00:01 server    INFO    redis answers again  after_s=1.1"
    console.line("server", back)
    assert output.getvalue() == b""
    console.line("server", b"12:00:00 server    WARNING redis does not answer  part=pool  reason=x")
    console.line("server", b"12:00:00 server    INFO    the database answers again  after_s=1.1")
    console.line("server", back)
    console.line("server", back)
    assert output.getvalue().decode().splitlines() == [
        "server     | 12:00:00 WARNING redis does not answer  part=pool  reason=x",
        "server     | 12:00:01 INFO    redis answers again  after_s=1.1",
    ]
