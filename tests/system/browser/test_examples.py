"""The examples for pages in docs/reference/protocol.md, run as they stand there, by Node.

Node has what they use of a browser but `EventSource`, which is undici's.
"""

import asyncio
import json
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, make_client, token_of
from tests.support.processes.process import ROOT
from tests.support.skips import need_programs
from tests.support.waiting import WAIT_TIMEOUT_S

HERE: Final = Path(__file__).parent
EXAMPLES: Final = re.findall(
    r"^```js\n(.*?)^```$",
    (ROOT / "docs" / "reference" / "protocol.md").read_text(),
    re.DOTALL | re.MULTILINE,
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's folder with its package."""
    need_programs("node", "npm", why="a page")
    folder = tmp_path_factory.mktemp("browser") / "page"
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("*.py", "node_modules"))
    installed = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert installed.returncode == 0, installed.stderr
    return folder


@pytest.fixture(scope="module")
def auth_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthStack]:
    with AuthStack(
        tmp_path_factory.mktemp("pages"),
        gateways=1,
        database=True,
        AUTH_MODE="required",
        FAILED_ATTEMPTS_PER_MINUTE="0",
    ) as stack:
        yield stack


@pytest.fixture
async def api(auth_stack: AuthStack) -> AsyncIterator[Api]:
    async with Api(auth_stack) as api:
        yield api


@pytest.fixture
async def shop(api: Api, auth_stack: AuthStack) -> Made:
    return await make_client(api, auth_stack)


class Page:
    """What an example hands over, one after the other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self) -> list[Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_TIMEOUT_S):
            line = await self._process.stdout.readline()
        assert line, "the page's program ended"
        found: list[Any] = json.loads(line)
        return found


@asynccontextmanager
async def page(
    project: Path, example: str, stack: AuthStack, token: str, last_id: str = ""
) -> AsyncIterator[Page]:
    """Run an example."""
    (found,) = [one for one in EXAMPLES if example in one]
    program = project / f"{example.split()[-1]}.js"
    program.write_text((project / "page.js").read_text() + found)
    given = {
        "server": stack.http_urls[0],
        "gateway": stack.url("gateway-1"),
        "token": token,
        "lastId": last_id,
    }
    process = await asyncio.create_subprocess_exec(
        "node",
        program.name,
        json.dumps(given),
        cwd=project,
        stdout=subprocess.PIPE,
        limit=1024 * 1024,
    )
    try:
        yield Page(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def send(api: Api, shop: Made, target: str = "1") -> str:
    body = {"type": "private", "userId": 2, "target": target, "message": "line\nbreak"}
    answer = await api("POST", "/notify", json=body, headers=shop.bearer)
    assert answer.status == 202, answer
    return str(answer.body["id"])


def recovered(registered: dict[str, Any]) -> set[bool]:
    return {channel["recovered"] for channel in registered["channels"].values()}


async def test_a_page_reads_a_stream_with_fetch_and_comes_back(
    project: Path, auth_stack: AuthStack, api: Api, shop: Made
) -> None:
    token = await token_of(api, shop, "1")
    async with page(project, "const response", auth_stack, token) as first:
        assert (await first.next())[0] == "registered"
        sent = await send(api, shop)
        name, body = await first.next()
        assert (name, body["id"], body["message"]) == ("message", sent, "line\nbreak")
        await asyncio.to_thread(auth_stack.restart, "gateway-1")
        name, reason = await first.next()
        assert (name, reason["code"]) == ("close", 1012)
        name, last_id = await first.next()
        assert name == "ended"
    missed = await send(api, shop)
    async with page(project, "const response", auth_stack, token, last_id) as again:
        name, registered = await again.next()
        assert name == "registered"
        assert recovered(registered) == {True}
        assert (await again.next())[1]["id"] == missed


async def test_a_page_listens_by_tickets_through_the_death_of_its_gateway(
    project: Path, auth_stack: AuthStack, api: Api, shop: Made
) -> None:
    token = await token_of(api, shop, "1")
    async with page(project, "new EventSource", auth_stack, token) as listener:
        assert (await listener.next())[0] == "registered"
        for death in ("kill", "stop"):
            sent = await send(api, shop)
            assert (await listener.next())[1]["id"] == sent
            process = auth_stack.processes["gateway-1"]
            if death == "kill":
                process.signal(signal.SIGKILL)
            await asyncio.to_thread(process.stop)
            missed = await send(api, shop)
            await asyncio.to_thread(auth_stack.start, "gateway-1")
            if death == "stop":
                assert (await listener.next())[0] == "close"
            name, registered = await listener.next()
            assert name == "registered"
            assert recovered(registered) == {True}
            assert (await listener.next())[1]["id"] == missed
            # It showed no ticket twice.
            assert (
                auth_stack.metric("gateway-1", "roomcast_handshakes_total", result="refused") == 0
            )


async def test_a_page_is_told_that_its_token_is_of_no_use(
    project: Path, auth_stack: AuthStack
) -> None:
    async with page(project, "new EventSource", auth_stack, "x") as listener:
        assert await listener.next() == ["unauthorized"]
