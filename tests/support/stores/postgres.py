"""A real PostgreSQL for tests, from the wheel: one per test session, a database per stack.

    with Stack(tmp_path, history=1) as stack:       # or make_stack(history=1)
        connection = await asyncpg.connect(stack.database_url)

A stack with `history` (or with `database=True`, if only the database is wanted) gets an empty
database of its own on the session's server; `await migrate(stack.database_url)` makes its tables
where no history process does. A test that kills PostgreSQL brings its own:

    with Postgres(tmp_path, free_port()) as postgres:
        stack = make_stack(history=1, postgres=postgres)
        postgres.kill()
        postgres.start()
"""

import atexit
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from deploy.local.stores import postgres as wheel

ROOT: Final = Path(__file__).parents[3]
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
_FAST: Final = ("-c", "fsync=off", "-c", "max_connections=300")
"""Processes are killed in tests, but never the machine, so what was written stays."""
_shared: "list[Postgres]" = []


class Postgres:
    """A PostgreSQL that keeps its port and its data when it is restarted.

    Args:
        folder: for its log.
        port: a free one.
        options: of the server; those for quick tests unless others are given.
    """

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self.port = port
        self.log = folder / f"postgres-{port}.log"
        # Short-lived, and where PostgreSQL may be when the tests run as root.
        self._data = Path(tempfile.mkdtemp(prefix="roomcast-test-", dir="/var/tmp"))
        self._argv = wheel.command(self._data, port, *(options or _FAST))
        self._numbers = itertools.count(1)
        self._popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._data, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        return wheel.url(self.port, database)

    @property
    def is_alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert not self.is_alive
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            ended = self._popen.poll() is not None
            assert not ended, f"PostgreSQL ended:\n{self.log.read_text()[-4_000:]}"
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to the server and to every process of it, and wait for their end."""
        assert self._popen is not None
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        children = [int(pid) for pid in found.split()]
        self._popen.kill()
        self._popen.wait()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # Until they are gone, the shared memory of the one before keeps the next from starting.
        while any(_exists(pid) for pid in children):
            time.sleep(0.01)

    def stop(self) -> None:
        """End it, whoever is connected."""
        if not self.is_alive:
            return
        assert self._popen is not None
        self._popen.send_signal(signal.SIGINT)
        try:
            self._popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def make_database(self) -> str:
        """Make an empty database and return its URL. Blocks for a tenth of a second."""
        name = f"test_{next(self._numbers)}"
        self._run("createdb", name)
        return self.url(name)

    def sql(self, database_url: str, text: str) -> str:
        """Run SQL, blocking, for where no event loop runs: the rows, a line each, `|` between."""
        return self._run("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", text, database_url)

    def _run(self, program: str, *arguments: str) -> str:
        environment: dict[str, Any] = {
            **os.environ,
            "PGHOST": wheel.LOOPBACK,
            "PGPORT": str(self.port),
            "PGUSER": wheel.USER,
        }
        return subprocess.run(
            [wheel.programs() / program, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=START_TIMEOUT_S,
        ).stdout

    def _answers(self) -> bool:
        try:
            with socket.create_connection((wheel.LOOPBACK, self.port), timeout=1):
                pass
            self._run("psql", "-qAtX", "-c", "SELECT 1", "postgres")
        except (OSError, subprocess.CalledProcessError):
            return False
        return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Not yet waited for by whoever adopted it is as good as gone.
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def session_postgres(port: int) -> Postgres:
    """The server that all tests of this session share, started by the first who asks.

    Args:
        port: a free one, in case that it must be started.
    """
    if not _shared:
        folder = Path(tempfile.mkdtemp(prefix="roomcast-postgres-log-"))
        server = Postgres(folder, port)
        server.start()
        _shared.append(server)

        def end() -> None:
            server.__exit__(None, None, None)
            shutil.rmtree(folder, ignore_errors=True)

        atexit.register(end)
    return _shared[0]
