"""A port in front of another whose connections a test can cut.

with SeverableCable() as gate, Tansu(tmp_path, gate) as broker:
    gate.cut()
    gate.open()
"""

import asyncio
import ssl
import threading
from types import TracebackType
from typing import Any, Self

from tests.support.processes.process import LOOPBACK, free_port


class SeverableCable:
    """Passes bytes on both ways, in a thread of its own; a context manager.

    Args:
        tls: with what it ends TLS; what is behind it speaks none.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.port = free_port()
        self._to: int | None = None
        self._is_open = True
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cable", daemon=True)
        self._ends: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def before(self, port: int) -> int:
        """Stand before a port; returns the cable's own."""
        self._to = port
        return self.port

    def cut(self) -> int:
        """Abort every connection and refuse new ones; returns how many there were. Blocks."""
        return int(self._run(self._cut()))

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._ends) // 2

    def open(self) -> None:
        """Let connections pass again, as at the start."""
        self._is_open = True

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(
            asyncio.start_server(self._pass, LOOPBACK, self.port, ssl=self._tls)
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _cut(self) -> int:
        self._is_open = False
        count = len(self._ends) // 2
        for end in self._ends:
            end.transport.abort()
        return count

    async def _end(self) -> None:
        assert self._server
        self._server.close()
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            writer.transport.abort()
            return
        try:
            beyond, other = await asyncio.open_connection(LOOPBACK, self._to)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, other}
        self._ends |= ends
        try:
            if self._is_open:  # it may have been cut while the other end was being reached
                await asyncio.gather(_copy(reader, other), _copy(beyond, writer))
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        # One side gone, the other goes too, as when the peer itself had ended.
        target.close()
