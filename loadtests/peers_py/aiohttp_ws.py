"""Handshake and registration with aiohttp's WebSocketResponse. Argument: the port."""

import json
import sys

import uvloop
from aiohttp import WSMsgType, web


async def serve_socket(request: web.Request) -> web.WebSocketResponse:
    """Answer the registration, then wait until the client goes."""
    socket = web.WebSocketResponse(compress=False, heartbeat=25)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            user = json.loads(message.data)["userId"]
            await socket.send_str(json.dumps({"type": "registered", "userId": user}))
    return socket


def main() -> None:
    """Serve until a signal comes."""
    app = web.Application()
    app.router.add_get("/", serve_socket)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), backlog=4096, access_log=None)


if __name__ == "__main__":
    main()
