"""Fan-out: what waits in channels, written to their members' sockets.

A pass joins the waiting frames of a channel and writes them to every member, awaiting none. After
every `SLICE_WRITES` writes the event loop gets its turn, so a private message overtakes a broadcast
in progress. What is published meanwhile is joined into the next pass. A channel has one pass at a
time, so each member receives it in order.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from ws_gateway import metrics
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.pending import Pending

SLICE_WRITES: Final = 100


class Pass:
    """One joined write on its way to the members of one channel."""

    __slots__ = ("at", "channel", "joined", "members", "written")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.joined = channel.take_join()
        self.members = channel.snapshot
        self.at = 0
        self.written = 0


class FanOut:
    """Schedules passes.

    Args:
        loop: whose turns are shared with everything else.
        on_progress: called after each turn with the bytes that still wait.
        on_written: called after each pass with what was sent, and to how many.
        send: writes to a socket and returns how many bytes it took, as `os.write` does.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_progress: Callable[[int], None],
        on_written: Callable[[Channel, list[Pending], int], None],
        send: Callable[[int, bytes], int] = os.write,
    ) -> None:
        self._loop = loop
        self._on_progress = on_progress
        self._on_written = on_written
        self._send = send
        self._due: list[Channel] = []
        self._passes: deque[Pass] = deque()
        self._scheduled = False
        self.waiting_bytes = 0

    @property
    def idle(self) -> bool:
        """True if nothing is waiting."""
        return not self._due and not self._passes

    def enqueue(self, channel: Channel, added_bytes: int) -> None:
        """Note that a channel has publications to send; `turn` sends them."""
        self.waiting_bytes += added_bytes
        if not channel.queued:
            channel.queued = True
            self._due.append(channel)

    def turn(self) -> None:
        """Send to small channels at once, and a slice of a large one."""
        if self._due:
            self._start_passes()
        if self._passes:
            current = self._passes.popleft()
            self._advance(current, SLICE_WRITES)
            if current.at < len(current.members):
                self._passes.append(current)
            else:
                self._finish(current)
        self._on_progress(self.waiting_bytes)
        if (self._passes or self._due) and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._scheduled_turn)

    def _scheduled_turn(self) -> None:
        self._scheduled = False
        self.turn()

    def _start_passes(self) -> None:
        due, self._due = self._due, []
        if len(due) > 1:
            due.sort(key=lambda channel: len(channel.members))
        budget = SLICE_WRITES
        for index, channel in enumerate(due):
            if budget <= 0:
                self._due += due[index:]
                return
            if channel.sending:
                # Its next pass starts when this one is done.
                self._due.append(channel)
                continue
            channel.queued = False
            before = channel.pending_bytes
            a_pass = Pass(channel)
            self.waiting_bytes -= before - channel.pending_bytes
            if channel.pending:
                self.enqueue(channel, 0)
            if len(a_pass.members) <= SLICE_WRITES:
                budget -= len(a_pass.members)
                self._advance(a_pass, SLICE_WRITES)
                self._finish(a_pass)
            else:
                channel.sending = True
                self._passes.append(a_pass)

    def _advance(self, a_pass: Pass, writes: int) -> None:
        channel, joined, send = a_pass.channel, a_pass.joined, self._send
        data, left = joined.frames, channel.left
        size = len(data)
        start = a_pass.at
        a_pass.at = end = min(start + writes, len(a_pass.members))
        missed = 0
        for connection in a_pass.members[start:end]:
            if connection.clear and not left:
                # Past the transport: among thousands of sockets most of the time of its `write`
                # goes into fetching its state from memory.
                try:
                    sent = send(connection.fd, data)
                except OSError:
                    sent = 0
                if sent < size:
                    connection.write_rest(memoryview(data)[sent:])
            elif (left and connection in left) or not connection.deliver(channel, joined):
                missed += 1
        a_pass.written += end - start - missed

    def _finish(self, a_pass: Pass) -> None:
        a_pass.channel.sending = False
        a_pass.channel.left = None
        self._on_written(a_pass.channel, a_pass.joined.items, a_pass.written)
        _count(a_pass.joined.items, a_pass.written)


def _count(items: list[Pending], written: int) -> None:
    metrics.writes.inc(written)
    if written:
        now_ms = time.time() * 1000
        observe = metrics.latency_seconds.observe
        publications = [item.accepted_ms for item in items if item.accepted_ms]
        metrics.deliveries.inc(len(publications) * written)
        for accepted_ms in publications:
            observe(max(0.0, now_ms - accepted_ms) / 1000)
