import re
from pathlib import Path

from common.redis.shards import Shards
from deploy.processes import FOLDERS

ROOT = Path(__file__).parents[4]


def test_there_is_one_shard_and_every_channel_is_in_it() -> None:
    shards = Shards()
    assert list(shards) == [shards.only]
    for channel in ("default/room:1", "shop/user:7", "shop/", ""):
        assert shards.of(channel) is shards.only


def test_nothing_but_shards_makes_keys() -> None:
    makers = {
        str(path.relative_to(ROOT))
        for folder in (*FOLDERS, "loadtests")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\b(Shard|Global)Keys\(", path.read_text())
    }
    assert makers == {"common/redis/shards.py"}


def test_no_key_is_written_out_anywhere_else() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"[\"']rc:\{", path.read_text())
    }
    assert found <= {"common/redis/keys.py"}
