"""A client that openapi-python-client makes of the document, used against a real stack."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.credentials import AuthStack
from tests.support.waiting import until

GENERATED = "roomcast_generated"


@pytest.fixture(scope="module")
def generated(document: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("generated")
    # It formats what it made with ruff, which it looks for in the PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none",
         "--fail-on-warning", "--path", document, "--output-path", folder / GENERATED],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module(GENERATED)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == GENERATED]:
            del sys.modules[name]


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes the connections of the clients that are entered in it."""
    with ExitStack() as stack:
        yield stack


def part(name: str) -> Any:
    return importlib.import_module(f"{GENERATED}.{name}")


async def test_the_generated_client_makes_a_client_sends_and_reads(
    generated: Any, required: AuthStack, opened: ExitStack
) -> None:
    models, url = part("models"), required.http_urls[0]
    operator = opened.enter_context(
        generated.AuthenticatedClient(base_url=url, token=required.operator)
    )
    made = part("api.clients.create_client").sync(
        client=operator, body=models.NewClient(name="typed", email="typed@example.com")
    )
    assert isinstance(made, models.CreateClientResponse)
    mine = opened.enter_context(generated.AuthenticatedClient(base_url=url, token=made.api_key))
    own = part("api.clients.get_own_client")
    await until(lambda: isinstance(own.sync(client=mine), models.OwnClient))
    assert own.sync(client=mine).client_id == made.client_id

    notify = part("api.notifications.notify")
    one = models.PrivateNotification(user_id=1, type_="private", target="ann", message="typed")
    queued = notify.sync(client=mine, body=one, idempotency_key="k1")
    assert isinstance(queued, models.Queued)
    again = notify.sync(client=mine, body=one, idempotency_key="k1")
    assert again.id == queued.id
    both = notify.sync(
        client=mine,
        body=[
            models.RoomNotification(user_id="u", type_="room", target=[1, "2"], message="r"),
            models.BroadcastNotification(
                user_id=2, type_="broadcast", message="b", priority=models.Lane.LOW, email=None
            ),
        ],
    )
    assert [type(each) for each in both] == [models.Queued] * 2

    inbox = part("api.inbox.list_inbox")

    def arrived() -> bool:
        page = inbox.sync("ann", client=mine, unread=True)
        return {item.message for item in page.notifications} == {"typed", "b"}

    await until(arrived)
    part("api.inbox.mark_read").sync_detailed("ann", str(queued.id), client=mine)

    def read() -> bool:
        count = part("api.inbox.get_unread_count").sync("ann", client=mine)
        return bool(count.count == 1)

    await until(read)
    story = part("api.notifications.get_story").sync(str(queued.id), client=mine)
    assert [type(channel) for channel in story.channels] == [models.StoryPublished]


async def test_the_generated_client_is_told_of_problems(
    generated: Any, required: AuthStack, opened: ExitStack
) -> None:
    models, url = part("models"), required.http_urls[0]
    notify = part("api.notifications.notify")
    bad = models.BroadcastNotification(user_id=1, type_="broadcast", message="")
    for key, code in ((required.operator, "invalid"), ("rk_invented", "unauthorized")):
        mine = opened.enter_context(generated.AuthenticatedClient(base_url=url, token=key))
        problem = notify.sync(client=mine, body=bad)
        assert isinstance(problem, models.Problem)
        assert problem.code == code
