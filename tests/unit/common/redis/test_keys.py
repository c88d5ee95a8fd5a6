from collections.abc import Iterator

import pytest

from common.model.channels import PARTITIONS, Lane
from common.redis.keys import Keys


def _all_keys(keys: Keys) -> Iterator[str]:
    for lane in Lane:
        yield keys.door(lane)
        yield keys.ready(lane)
        yield keys.active(lane)
        yield keys.held(f"w:{lane}.0.1")
        for partition in range(PARTITIONS):
            yield keys.jobs(lane, partition)
    yield from (keys.workers, keys.waiting, keys.returns, keys.epoch, keys.events, keys.dead)
    yield keys.accepted_prefix + "default/id:x"
    yield keys.channel_prefix + "default/room:1"
    yield keys.log_prefix + "default/room:1"
    yield keys.pub("default/room:1")
    yield keys.probe("g")


@pytest.mark.parametrize("shard", ["0", "17"])
def test_every_key_carries_the_hash_tag_of_its_shard(shard: str) -> None:
    for key in _all_keys(Keys(shard)):
        assert key.startswith(f"rc:{{{shard}}}:")
        assert key.count("{") == key.count("}") == 1


def test_no_two_uses_share_a_key() -> None:
    found = list(_all_keys(Keys()))
    assert len(found) == len(set(found))


def test_keys_are_those_that_the_design_names() -> None:
    keys = Keys()
    assert keys.door("high") == "rc:{0}:jobs:high"
    assert keys.jobs("high", 3) == keys.jobs_prefix + "high:3" == "rc:{0}:jobs:high:3"
    assert keys.ready("low") == keys.ready_prefix + "low" == "rc:{0}:ready:low"
    assert keys.active("low") == keys.active_prefix + "low" == "rc:{0}:active:low"
    assert keys.held("w:low.0.1") == keys.held_prefix + "w:low.0.1" == "rc:{0}:held:w:low.0.1"
    assert keys.workers == "rc:{0}:workers"
    assert keys.pub("default/broadcast") == keys.pub_prefix + "default/broadcast"
    assert keys.events == "rc:{0}:events"
    assert keys.dead == "rc:{0}:dead"


def test_no_channel_of_a_client_is_a_probe() -> None:
    # A scoped name begins with the client's name and a slash.
    assert not Keys().probe("g").startswith(Keys().pub("default/"))
