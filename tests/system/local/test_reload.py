import asyncio
from pathlib import Path

import pytest

from common.config.settings import Settings
from deploy.local.parts import list_parts
from deploy.local.supervision.reload import concerned, watch

PROJECT = Path("/project")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (["worker/lane_loop.py"], ["worker"]),
        (["worker/lane_loop.py", "ws_gateway/channels/hub.py"], ["gateway", "worker"]),
        (["common/redis/lua/queue/take.lua"], ["gateway", "worker", "server"]),
        ([".env"], ["gateway", "worker", "server"]),
        (["docs/page.py"], []),
    ],
)
def test_only_what_uses_a_source_starts_again(changed: list[str], expected: list[str]) -> None:
    parts = list_parts(Settings(), own_valkey=True)
    assert concerned([PROJECT / name for name in changed], parts, PROJECT) == expected


async def test_a_saved_source_names_its_part_and_other_files_do_not(tmp_path: Path) -> None:
    for folder in ("common", "worker"):
        (tmp_path / folder).mkdir()
    changes = watch(list_parts(Settings(), own_valkey=True), tmp_path)
    first = asyncio.ensure_future(anext(changes))
    # The watcher says nothing when it has begun to watch, so the file is saved until it is seen.
    for number in range(100):
        (tmp_path / "worker/notes.txt").write_text(str(number))
        (tmp_path / "worker/lane_loop.py").write_text(str(number))
        if (await asyncio.wait([first], timeout=0.1))[0]:
            break
    assert first.result() == ["worker"]
    await changes.aclose()
