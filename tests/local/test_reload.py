from pathlib import Path

import pytest

from common.settings import Settings
from deploy.local.parts import list_parts
from deploy.local.reload import concerned

PROJECT = Path("/project")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (["worker/lane.py"], ["worker"]),
        (["worker/lane.py", "ws_gateway/hub.py"], ["gateway", "worker"]),
        (["common/lua/take.lua"], ["gateway", "worker", "server"]),
        ([".env"], ["gateway", "worker", "server"]),
        (["docs/page.py"], []),
    ],
)
def test_only_what_uses_a_source_starts_again(changed: list[str], expected: list[str]) -> None:
    parts = list_parts(Settings(), own_valkey=True)
    assert concerned([PROJECT / name for name in changed], parts, PROJECT) == expected
