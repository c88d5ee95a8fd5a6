"""TLS on both ports: everything that works without it, and what TLS itself must withstand."""

import asyncio
import contextlib
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from common.web.tls import HANDSHAKE_TIMEOUT_S
from tests.support.certificates import Certificate, make_certificate
from tests.support.clients.socket_client import Client
from tests.support.clients.socket_wire import HANDSHAKE, Wire, client_frame
from tests.support.processes.process import LOOPBACK
from tests.support.processes.stack import Stack
from tests.support.waiting import until
from ws_gateway.protocol.close_codes import CloseCode

# A connection of asyncio's TLS, which waits for the other's goodbye, may outlive its test's loop.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <(function _Selector|socket\.socket)"
    r":pytest.PytestUnraisableExceptionWarning"
)

KINDS = ["server-1", "gateway-1"]
MESSAGE = {"type": "room", "userId": 2, "message": "hello"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("tls")
    settings: Any = certificate.settings
    with Stack(folder, ca_file=certificate.ca_file, **settings) as started:
        yield started
        for name in KINDS:
            said = started.processes[name].log.read_text()
            # Since then nothing was the fault of this side.
            _, _, since = said.partition('"message": "ready"')
            assert '"ERROR"' not in since
            assert '"WARNING"' not in since
            assert "Traceback" not in since


@pytest.fixture
async def session(certificate: Certificate) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=certificate.context)
    async with aiohttp.ClientSession(connector=connector) as opened:
        yield opened
        # Or a connection that says goodbye outlives the test's loop.
        await connector.close(abort_ssl=True)


@contextlib.asynccontextmanager
async def secured_wire(stack: Stack, name: str) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(LOOPBACK, stack.ports[name], ssl=stack.tls)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for first in range(0, len(body), 10):
        yield body[first : first + 10]


@pytest.mark.parametrize("way", ["short", "chunked"])
async def test_what_is_posted_reaches_a_socket(
    stack: Stack, session: aiohttp.ClientSession, way: str
) -> None:
    room = uuid.uuid4().hex
    async with Client(stack.ws_urls[0], room=room, tls=stack.tls) as client:
        ids = []
        for _ in range(3):
            body = json.dumps({**MESSAGE, "target": room}).encode()
            async with session.post(
                f"{stack.http_urls[0]}/notify",
                data=body if way == "short" else in_pieces(body),
                headers={"Content-Type": "application/json"},
            ) as response:
                assert response.status == 202
                # aiohttp names itself, the short way does not.
                assert ("Server" in response.headers) == (way == "chunked")
                ids.append((await response.json())["id"])
        await until(lambda: client.ids == ids)


async def test_a_body_of_many_records_is_taken(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    room = uuid.uuid4().hex
    one = {**MESSAGE, "target": room, "message": "x" * 60_000}
    body = [one] * 15
    async with Client(stack.ws_urls[0], room=room, tls=stack.tls) as client:
        async with session.post(f"{stack.http_urls[0]}/notify", json=body) as response:
            assert response.status == 202
        await until(lambda: len(client.frames) == len(body))
        assert {received["message"] for received in client.notifications} == {one["message"]}


@pytest.mark.parametrize("name", KINDS)
async def test_aiohttp_answers_what_else_there_is(
    stack: Stack, session: aiohttp.ClientSession, name: str
) -> None:
    async with session.get(f"{stack.url(name)}/healthz") as response:
        assert response.status == 200
    async with session.get(f"{stack.url(name)}/nothing") as response:
        assert response.status == 404
        assert response.content_type == "application/problem+json"


async def test_events_are_streamed(stack: Stack, session: aiohttp.ClientSession) -> None:
    room = uuid.uuid4().hex
    url = f"{stack.url('gateway-1')}/events?userId=1&room={room}"
    async with session.get(url) as stream:
        assert stream.status == 200
        assert b"registered" in await stream.content.readuntil(b"\n\n")
        body = {**MESSAGE, "target": room}
        async with session.post(f"{stack.http_urls[0]}/notify", json=body) as response:
            sent = (await response.json())["id"]
        async with asyncio.timeout(20):
            assert sent.encode() in await stream.content.readuntil(b"\n\n")
        # Or it says goodbye for longer than the test's loop lives.
        assert stream.connection
        assert stream.connection.transport
        stream.connection.transport.abort()


async def test_who_does_not_read_is_left_behind_and_caught_up(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    room = uuid.uuid4().hex
    left_before = stack.metric("gateway-1", "roomcast_left_behind_total")
    ids = []
    async with (
        Client(stack.ws_urls[0], user=1, room=room, tls=stack.tls) as quick,
        Client(stack.ws_urls[0], user=2, room=room, tls=stack.tls) as slow,
    ):
        assert slow._socket is not None
        slow._socket.transport.pause_reading()
        body = {**MESSAGE, "target": room, "message": "x" * 60_000}
        for _ in range(200):
            async with session.post(f"{stack.http_urls[0]}/notify", json=body) as response:
                assert response.status == 202
                ids.append((await response.json())["id"])
        # 12 MB: the quick one gets all of it, and the gateway does not keep it for the slow one.
        await until(lambda: quick.ids == ids)
        await until(lambda: stack.metric("gateway-1", "roomcast_left_behind_total") > left_before)
        assert len(slow.ids) < len(ids) / 2
        slow._socket.transport.resume_reading()
        await until(lambda: slow.ids == ids)
        assert slow.close_code is None


async def test_a_broken_frame_is_answered_with_its_code(stack: Stack) -> None:
    async with secured_wire(stack, "gateway-1") as peer:
        await peer.send(HANDSHAKE)
        assert (await peer.head()).startswith(b"HTTP/1.1 101")
        await peer.send(client_frame(b"{}", masked=False))
        assert await peer.close_code() == CloseCode.PROTOCOL_ERROR
        started = time.monotonic()
        await peer.rest()
        assert time.monotonic() - started < 4


async def test_who_hangs_up_while_being_answered_is_no_event(stack: Stack) -> None:
    body = json.dumps({**MESSAGE, "target": uuid.uuid4().hex}).encode()
    head = (
        b"POST /notify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    accepted = stack.metric("server-1", "roomcast_accepted_jobs_total")
    for _ in range(20):
        reader, writer = await asyncio.open_connection(
            LOOPBACK, stack.ports["server-1"], ssl=stack.tls
        )
        writer.write(head + body)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        del reader
    await until(lambda: stack.metric("server-1", "roomcast_accepted_jobs_total") - accepted == 20)


def open_files(stack: Stack, name: str) -> int:
    return len(list(Path(f"/proc/{stack.processes[name].pid}/fd").iterdir()))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "rubbish",
    [HANDSHAKE, b"\x16\x03\x01\x00\x05hello", b"\0" * 100_000],
    ids=["http", "tls", "nul"],
)
async def test_who_speaks_no_tls_is_closed_and_costs_nothing(
    stack: Stack, name: str, rubbish: bytes
) -> None:
    before = open_files(stack, name)

    async def come() -> bytes:
        reader, writer = await asyncio.open_connection(LOOPBACK, stack.ports[name])
        with contextlib.suppress(OSError):
            writer.write(rubbish)
            await writer.drain()
        try:
            return await Wire(reader, writer).rest()
        finally:
            writer.transport.abort()

    size = stack.processes[name].log.stat().st_size
    answers = await asyncio.gather(*(come() for _ in range(100)))
    # An alert at most, nothing in clear.
    assert all(len(answer) < 20 and b"HTTP" not in answer for answer in answers)
    await until(lambda: open_files(stack, name) <= before + 2)
    assert stack.processes[name].log.stat().st_size == size


async def test_a_handshake_that_does_not_end_is_ended(stack: Stack) -> None:
    async def come(name: str, start: bytes) -> float:
        reader, writer = await asyncio.open_connection(LOOPBACK, stack.ports[name])
        begun = time.monotonic()
        writer.write(start)
        await Wire(reader, writer).rest(HANDSHAKE_TIMEOUT_S * 2)
        writer.transport.abort()
        return time.monotonic() - begun

    # A record that says that it is longer than what comes.
    starts = [b"", b"\x16", b"\x16\x03\x01\x01\x00\x01"]
    lasted = await asyncio.gather(*(come(name, start) for name in KINDS for start in starts))
    assert min(lasted) > HANDSHAKE_TIMEOUT_S - 1
    assert max(lasted) < HANDSHAKE_TIMEOUT_S + 5


async def test_a_silent_peer_after_its_handshake_is_closed_as_without_tls(stack: Stack) -> None:
    async with secured_wire(stack, "gateway-1") as peer:
        await peer.send(b"GET /")
        assert (await peer.head(25)).startswith(b"HTTP/1.1 408")


def without(settings: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in settings.items() if key != name}


@pytest.mark.parametrize("module", ["server", "ws_gateway"])
@pytest.mark.parametrize(
    "fault", ["no key", "no certificate", "gone", "rubbish", "swapped", "another's"]
)
async def test_a_certificate_that_can_not_be_used_is_refused_at_start(
    stack: Stack, certificate: Certificate, tmp_path: Path, module: str, fault: str
) -> None:
    settings: Any = certificate.settings
    (tmp_path / "rubbish").write_text("no certificate")
    settings = {
        "no key": without(settings, "TLS_KEY_FILE"),
        "no certificate": without(settings, "TLS_CERT_FILE"),
        "gone": {**settings, "TLS_CERT_FILE": str(tmp_path / "gone")},
        "rubbish": {**settings, "TLS_KEY_FILE": str(tmp_path / "rubbish")},
        "swapped": {
            "TLS_CERT_FILE": settings["TLS_KEY_FILE"],
            "TLS_KEY_FILE": settings["TLS_CERT_FILE"],
        },
        "another's": {
            **settings,
            "TLS_KEY_FILE": make_certificate(tmp_path / "other").settings["TLS_KEY_FILE"],
        },
    }[fault]
    plain = {
        name: value for name, value in stack.environment.items() if not name.startswith("TLS_")
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        cwd=tmp_path,
        env={**plain, **settings, "PORT": "1", "WS_PORT": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 2
    assert b"TLS_CERT_FILE" in said
    assert b"TLS_KEY_FILE" in said
    assert b"Traceback" not in said
