"""Whatever one socket sends, it gets a slice of each loop turn, and others are answered."""

import asyncio
import sys
import time

import pytest

from tests.gateway.flood import KINDS, SLOW
from tests.support.clients.socket_wire import Wire, client_frame, open_socket
from tests.support.processes.process import ROOT
from tests.support.processes.stack import Stack
from ws_gateway.transport.web_socket import DROPPED_MAX_BYTES

QUIET_S, FLOOD_S = 0.7, 1.5
WORST_RATIO = 60
"""A flood costs others some CPU time; before there were slices it took them all of it."""
LEAST_S = 0.005
"""What a scheduler's hiccup on a busy machine may cost at any time counts as quiet."""
PING = client_frame(b'{"action":"ping"}')


async def asked(victim: Wire, seconds: float) -> list[float]:
    """Seconds that each of one client's pings took."""
    found, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.perf_counter()
        await victim.send(PING)
        opcode, payload = await victim.frame()
        assert (opcode, payload) == (1, b'{"type":"pong"}')
        found.append(time.perf_counter() - began)
        # Below its own limit of messages.
        await asyncio.sleep(0.04)
    return found


async def test_who_goes_on_sending_after_the_close_is_cut_off(stack: Stack) -> None:
    payload = client_frame(b"", 9) * 20_000
    async with open_socket(stack.ws_urls[0]) as peer:
        sent, was_cut_off = 0, False
        while not was_cut_off and sent < 8 * DROPPED_MAX_BYTES:
            try:
                await peer.send(payload)
            except ConnectionError:
                was_cut_off = True
            sent += len(payload)
    assert was_cut_off
    assert sent > DROPPED_MAX_BYTES


@pytest.mark.parametrize("kind", [*KINDS, SLOW])
async def test_a_flood_on_one_socket_leaves_others_their_answers(stack: Stack, kind: str) -> None:
    async with open_socket(stack.ws_urls[0], client_frame(b'{"userId":"victim"}')) as victim:
        await victim.frame()
        quiet = await asked(victim, QUIET_S)
        flood = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.gateway.flood", str(stack.ports["gateway-1"]), kind,
            str(FLOOD_S + 0.5), stdout=asyncio.subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        try:
            await asyncio.sleep(0.3)
            beside = await asked(victim, FLOOD_S)
            async with asyncio.timeout(30):
                out, _ = await flood.communicate()
        finally:
            if flood.returncode is None:
                flood.kill()
                await flood.wait()
    assert int(out) > 0
    ratio = max(beside) / max(LEAST_S, *quiet)
    print(
        f"{kind}: worst {max(quiet) * 1000:.1f} ms quiet, {max(beside) * 1000:.1f} ms beside "
        f"{int(out):,} bytes, ratio {ratio:.1f} ({len(quiet)} and {len(beside)} answers)"
    )
    assert ratio <= WORST_RATIO
