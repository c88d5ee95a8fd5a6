import asyncio

import pytest

from tests.support.waiting import until
from ws_gateway.sessions.connection_tasks import ConnectionTasks


class Owner:
    """Whom a task is for."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


async def fail() -> None:
    raise RuntimeError("broken")


async def test_a_task_that_fails_drops_its_owner_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks, owner, other = ConnectionTasks(), Owner(), Owner()
    tasks.start(owner, fail())
    tasks.start(other, asyncio.sleep(0))
    await until(lambda: not len(tasks))
    assert owner.aborted
    assert not other.aborted
    assert "could not be handled" in caplog.text


async def test_what_is_under_way_ends_with_the_gateway() -> None:
    tasks, owner = ConnectionTasks(), Owner()
    tasks.start(owner, asyncio.sleep(3_600))
    await tasks.close()
    assert len(tasks) == 0
    assert not owner.aborted
