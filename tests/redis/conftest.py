"""One real Valkey for all scripts, empty for each test; a fit Redis beside it, if there is one."""

import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support.processes.process import LOOPBACK, Process
from tests.support.stores.job_queue import Queue
from tests.support.stores.valkey import Valkey


def _redis_server() -> str | None:
    """A `redis-server` on this machine that is new enough."""
    path = shutil.which("redis-server")
    if path is None:
        return None
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=(\d+)\.(\d+)", said)
    fit = version and (int(version[1]), int(version[2])) >= (7, 2)
    return path if fit else None


REDIS_SERVER = _redis_server()


@pytest.fixture(scope="session", params=["valkey", "redis"] if REDIS_SERVER else ["valkey"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Valkey]:
    valkey = Valkey(tmp_path_factory.mktemp("scripts"))
    if request.param == "redis":
        process = valkey.process
        argv = [str(REDIS_SERVER), "--port", str(valkey.port), "--bind", LOOPBACK, "--save", ""]
        valkey.process = Process("redis", argv, process.log.parent, {"PATH": "/usr/bin:/bin"})
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture
async def redis(server: Valkey) -> AsyncIterator[Redis]:
    client = Redis(host=LOOPBACK, port=server.port, retry=Retry(NoBackoff(), 0))
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def queue(redis: Redis) -> AsyncIterator[Queue]:
    queue = Queue(redis)
    yield queue
    await queue.close()
