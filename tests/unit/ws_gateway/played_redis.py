"""Redis, played by a test: positions, logs and the subscription."""

import asyncio
from collections.abc import Sequence

from common.model.publication import Position
from ws_gateway.channels.log_reader import Replay, Standing


class PlayedRedis:
    """Subscription and log reader in one; `hold` keeps answers back."""

    def __init__(self) -> None:
        self.held_names: set[bytes] = set()
        self.released = asyncio.Event()
        self.subscribed: list[bytes] = []
        self.now: dict[str, Position] = {}
        self.replays: list[Replay | Exception] = []

    async def subscribe(self, names: list[bytes]) -> None:
        if self.held_names.intersection(names):
            await self.released.wait()
        self.subscribed += names

    def forget(self, names: list[bytes]) -> None:
        for name in names:
            self.subscribed.remove(name)

    async def barrier(self) -> None:
        await asyncio.sleep(0)

    async def positions(self, names: Sequence[str], *, to_begin: bool = False) -> list[Standing]:
        return [Standing(self.now.get(name, Position("e", 0)), "e") for name in names]

    async def replay(self, name: str, after: Position, max_bytes: int = 0) -> Replay:
        await asyncio.sleep(0)
        answer = self.replays.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pause(self) -> None: ...

    def go_on(self) -> None: ...
