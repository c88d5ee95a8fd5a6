"""Redis on the same machine, behind a Unix socket."""

import tempfile
from pathlib import Path

from tests.conftest import MakeStack
from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until


async def test_all_of_the_pipeline_reaches_it(make_stack: MakeStack, tmp_path: Path) -> None:
    # The path of a Unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="roomcast-") as folder:
        socket = Path(folder) / "valkey.sock"
        valkey = Valkey(tmp_path, unixsocket=str(socket))
        stack = make_stack(valkey=valkey, REDIS_CLIENT=f"unix://{socket}?db=0")
        async with Client(stack.ws_urls[0], user=1) as client:
            sent = await post(stack, {"type": "broadcast", "userId": 2, "message": "hi"})
            await until(lambda: client.ids == [sent.id])
