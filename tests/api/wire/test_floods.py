"""Whatever one connection sends, it gets a slice of each loop turn, and others are answered."""

import asyncio
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.wire.flood import KINDS, SLOW
from tests.support.certificates import Certificate, make_certificate
from tests.support.clients.http_wire import Wire, request
from tests.support.processes.process import ROOT
from tests.support.processes.stack import Stack

QUIET_S, FLOOD_S = 0.5, 1.0
WORST_RATIO = 40
"""A flood costs others some CPU time; before there were slices it took them all of it."""
LEAST_S = 0.005
"""What a scheduler's hiccup on a busy machine may cost at any time counts as quiet."""


async def asked(
    port: int, path: str, seconds: float, tls: ssl.SSLContext | None = None
) -> list[float]:
    """Seconds that each of one client's requests took, each on a connection of its own."""
    found, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.perf_counter()
        async with Wire(port, tls) as wire:
            await wire.send(request(method="GET", path=path, content_type=None, length=False))
            assert (await wire.reply()).status == 200
        found.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    return found


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def tls_stack(
    tmp_path_factory: pytest.TempPathFactory, certificate: Certificate
) -> Iterator[Stack]:
    settings: Any = certificate.settings
    with Stack(
        tmp_path_factory.mktemp("tls"),
        gateways=0,
        workers=0,
        ca_file=certificate.ca_file,
        **settings,
    ) as started:
        yield started


AT_ALL = [*KINDS, SLOW]
AT_HEALTH = ["a GET, then POSTs", "GET /healthz", "unknown paths", "chunks of a byte", "rubbish"]
"""What the ports for health alone, which have the same code and no more, are tried with."""


@pytest.mark.parametrize(
    ("process", "kind"),
    [(process, kind) for process in ("server-1", "gateway-1") for kind in AT_ALL]
    + [("worker-1", kind) for kind in AT_HEALTH],
)
async def test_a_flood_on_one_connection_leaves_others_their_answers(
    stack: Stack, process: str, kind: str
) -> None:
    await compare(stack, process, kind)


@pytest.mark.parametrize("kind", ["empty POSTs", "a GET, then POSTs", "chunks of a byte"])
async def test_a_flood_over_tls_leaves_others_their_answers(
    tls_stack: Stack, certificate: Certificate, kind: str
) -> None:
    before = len(tls_stack.processes["server-1"].log_lines())
    await compare(tls_stack, "server-1", kind, certificate)
    # Whoever writes to a peer that has hung up is warned by asyncio, once per write.
    assert not tls_stack.processes["server-1"].log_lines()[before:]


async def compare(
    stack: Stack, process: str, kind: str, certificate: Certificate | None = None
) -> None:
    """Hold the worst answer beside a flood against the worst one without."""
    port = stack.ports[process]
    quiet = await asked(port, "/healthz", QUIET_S, stack.tls)
    files = [str(certificate.ca_file)] if certificate else []
    flood = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.api.wire.flood", str(port), kind, str(FLOOD_S + 0.5), *files,
        stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    try:
        await asyncio.sleep(0.3)
        beside = await asked(port, "/healthz", FLOOD_S, stack.tls)
        async with asyncio.timeout(30):
            out, _ = await flood.communicate()
    finally:
        if flood.returncode is None:
            flood.kill()
            await flood.wait()
    assert int(out) > 0
    ratio = max(beside) / max(LEAST_S, *quiet)
    print(
        f"{process}, {kind}: worst {max(quiet) * 1000:.1f} ms quiet, {max(beside) * 1000:.1f} ms "
        f"beside {int(out):,} bytes, ratio {ratio:.1f} ({len(quiet)} and {len(beside)} answers)"
    )
    assert ratio <= WORST_RATIO
