"""TLS to Redis, by redis-py and by the lean link, and to PostgreSQL.

The wheels' Valkey and PostgreSQL are built without TLS, so gates end it in front of them.
"""

import asyncio
import ssl
import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from common.redis.pipelined_connection import Link
from history.database import Database, DatabaseAwayError
from history.schema.migrate import migrate
from tests.support.certificates import make_certificate
from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.processes.process import LOOPBACK, Process, free_port
from tests.support.processes.severed_cable import SeverableCable
from tests.support.processes.stack import Stack
from tests.support.stores.postgres import session_postgres
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until


def says(process: Process, text: str) -> bool:
    return text in process.log.read_text()


SSL_REQUEST = struct.pack("!II", 8, 80_877_103)
"""PostgreSQL 18, 54.2.11."""
MESSAGE = {"type": "private", "userId": 2, "target": 1, "message": "hello"}


async def test_redis_is_reached_through_tls_and_found_again(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "redis")
    valkey = Valkey(tmp_path)
    with SeverableCable(certificate.server_context) as gate:
        settings: Any = {
            "REDIS_CLIENT": f"rediss://{LOOPBACK}:{gate.before(valkey.port)}/0",
            "REDIS_CA_FILE": str(certificate.ca_file),
        }
        with Stack(tmp_path, valkey=valkey, **settings) as stack:
            # More than one client of redis-py in each process: the links are there, too.
            assert gate.connections > len(stack.processes)
            async with Client(stack.ws_urls[0], user=1) as client:
                ids = [(await post(stack, MESSAGE)).id for _ in range(3)]
                await until(lambda: client.ids == ids)
                assert await asyncio.to_thread(gate.cut) > 0
                await until(lambda: not stack.is_ready("server-1"))
                gate.open()
                for name in stack.processes:
                    await asyncio.to_thread(stack.wait_ready, name)
                ids.append((await post(stack, MESSAGE)).id)
                await until(lambda: client.ids == ids)


@pytest.mark.parametrize("fault", ["authority unknown", "another name"])
async def test_a_redis_that_is_not_the_one_is_not_talked_to(tmp_path: Path, fault: str) -> None:
    name = "redis.example" if fault == "another name" else LOOPBACK
    certificate = make_certificate(tmp_path / "redis", name)
    trusted = make_certificate(tmp_path / "other") if fault != "another name" else certificate
    valkey = Valkey(tmp_path)
    with (
        SeverableCable(certificate.server_context) as gate,
        Stack(tmp_path, valkey=valkey, servers=0, workers=0, gateways=0) as stack,
    ):
        settings = {
            "REDIS_CLIENT": f"rediss://{LOOPBACK}:{gate.before(valkey.port)}/0",
            "REDIS_CA_FILE": str(trusted.ca_file),
        }
        names = [stack.add(kind, **settings) for kind in ("server", "worker", "gateway")]
        for one in names:
            stack.processes[one].start()
        for one in names:
            process = stack.processes[one]
            await until(partial(says, process, "certificate verify failed"))
            assert stack.get(one, "/readyz")[0] != 200
        # Only who asks here.
        listed = valkey.command("CLIENT", "LIST")
        assert len(listed.splitlines()) == 1


async def test_a_login_that_is_refused_leaves_no_connection_behind(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path)
    with Stack(tmp_path, valkey=valkey, servers=0, workers=0, gateways=0):
        for _ in range(20):
            with pytest.raises(ResponseError, match="WRONGPASS"):
                await Link.connect(f"redis://me:wrong@{LOOPBACK}:{valkey.port}/0", "test")
        # And the one that asks.
        await until(lambda: valkey.command("INFO", "clients")["connected_clients"] == 1)


class SeverablePostgresCable(SeverableCable):
    """A gate that ends TLS as PostgreSQL does: it is asked for in clear, and begun then."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__()
        self._context = tls

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read(8)
        if asked != SSL_REQUEST:
            writer.transport.abort()
            return
        writer.write(b"S")
        await writer.start_tls(self._context)
        await super()._pass(reader, writer)


async def test_postgresql_is_reached_through_tls(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "postgres")
    other = make_certificate(tmp_path / "other")
    server = session_postgres(free_port())
    plain = server.make_database()
    with SeverablePostgresCable(certificate.server_context) as gate:
        port = gate.before(server.port)
        url = f"{plain.replace(f':{server.port}/', f':{port}/')}?sslmode=verify-full&sslrootcert="
        await migrate(f"{url}{certificate.ca_file}")
        database = Database(f"{url}{certificate.ca_file}")
        async with database.connection() as connection:
            assert gate.connections == 1
            assert await connection.fetchval("SELECT count(*) FROM clients") is not None
        await database.close()
        stranger = Database(f"{url}{other.ca_file}")
        with pytest.raises(DatabaseAwayError, match="certificate verify failed"):
            async with stranger.connection():
                pass
        await stranger.close()
        with pytest.raises(OSError, match="certificate verify failed"):
            await migrate(f"{url}{other.ca_file}")
