"""Lua scripts: the atomic steps that Redis runs for Roomcast."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

Argument = str | bytes | int
_LIBRARIES: Final = {
    "accept": ("accept.lib",),
    "admit": ("accept.lib", "epoch.lib", "publish.lib"),
    "advance": ("stream_id.lib", "advance.lib"),
    "mirrored": ("stream_id.lib", "advance.lib"),
    "requeue": ("accept.lib",),
    "trim": ("stream_id.lib",),
    "publish": ("epoch.lib", "publish.lib"),
    "positions": ("epoch.lib",),
    "replay": ("epoch.lib",),
}
_OVER_THE_LIMIT: Final = frozenset(
    {
        # These empty the queue and the event stream.
        *("take", "publish", "lease", "audit", "admit"),
        *("lead", "group", "advance", "mirrored", "trim", "contents"),
        # Gateways need these to send publications; they write one small hash now and then.
        *("positions", "replay"),
        # This lets their clients in; it only deletes.
        "ticket_redeem",
    }
)
"""Scripts that run while Redis is at its maxmemory: without them, nothing would free memory.

All others are refused there, as a whole and before they read anything.
"""
_WRITE_NOTHING: Final = frozenset({"inbox_read", "inbox_begin", "clients_read", "was_sent"})


def _read(name: str) -> str:
    for folder in (resources.files("common") / "redis" / "lua").iterdir():
        if (folder / f"{name}.lua").is_file():
            return (folder / f"{name}.lua").read_text("utf-8")
    raise FileNotFoundError(f"there is no script {name}.lua")


class Script:
    """A script of `common/redis/lua`, preceded by the libraries that it needs.

    A call is sent once. Only `NOSCRIPT` is answered by loading the script and calling again,
    because then nothing was executed.
    """

    def __init__(self, name: str) -> None:
        """Read `<name>.lua` of a folder of `common/redis/lua`.

        Raises:
            FileNotFoundError: there is no such script.
        """
        parts = (*_LIBRARIES.get(name, ()), name)
        self.name = name
        # With flags, Redis refuses a script before its first step, never between its writes;
        # without any, it would check each command.
        flags = ""
        if name in _OVER_THE_LIMIT:
            flags = " flags=allow-oom"
        elif name in _WRITE_NOTHING:
            flags = " flags=no-writes"
        code = "".join(_read(part) for part in parts)
        self.text = f"#!lua{flags}\n{code}"
        # Redis names a script by the SHA-1 of its text.
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(
        self,
        redis: Redis,
        keys: Sequence[str],
        args: Sequence[Argument],
    ) -> Any:
        """Run the script and return its raw reply.

        Raises:
            redis.exceptions.RedisError: it was refused, or its outcome is unknown.
        """
        # redis-py does not type this one call.
        execute: Callable[..., Awaitable[Any]] = redis.execute_command
        try:
            return await execute("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            await redis.script_load(self.text)
            return await execute("EVALSHA", self.sha, len(keys), *keys, *args)
