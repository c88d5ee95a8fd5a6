"""Names of keys: a Redis of an earlier release has them, so none may ever change."""

from collections.abc import Iterator

import pytest

from common.model.channels import PARTITIONS, Lane
from common.redis.keys import GlobalKeys, ShardKeys
from common.redis.shards import Shards

OF_A_SHARD = {
    "root": "rc:{0}:",
    "door": "rc:{0}:jobs:<lane>",
    "jobs_prefix": "rc:{0}:jobs:",
    "jobs": "rc:{0}:jobs:<lane>:<partition>",
    "ready_prefix": "rc:{0}:ready:",
    "ready": "rc:{0}:ready:<lane>",
    "active_prefix": "rc:{0}:active:",
    "active": "rc:{0}:active:<lane>",
    "held_prefix": "rc:{0}:held:",
    "held": "rc:{0}:held:<holder>",
    "workers": "rc:{0}:workers",
    "waiting": "rc:{0}:waiting",
    "backlog": "rc:{0}:backlog",
    "returns": "rc:{0}:returns",
    "accepted_prefix": "rc:{0}:accepted:",
    "epoch": "rc:{0}:epoch",
    "entered": "rc:{0}:epoch:<epoch>",
    "channel_prefix": "rc:{0}:channel:",
    "log_prefix": "rc:{0}:log:",
    "pub_prefix": "rc:{0}:pub:",
    "pub": "rc:{0}:pub:<scoped_channel>",
    "probe": "rc:{0}:pub:!probe/<gateway>",
    "content_prefix": "rc:{0}:content:",
    "contents": "rc:{0}:contents",
    "write_probe": "rc:{0}:probe",
    "events": "rc:{0}:events",
    "dropped": "rc:{0}:events:dropped",
    "event_clients": "rc:{0}:events:clients",
    "reader": "rc:{0}:reader:<group>",
    "restored": "rc:{0}:restored",
    "unread": "rc:{0}:unread:<user>",
    "inbox": "rc:{0}:inbox:<user>",
    "reads": "rc:{0}:reads:<user>",
    "acks": "rc:{0}:acks:<user>",
    "changes": "rc:{0}:changes:<user>",
    "sights": "rc:{0}:sights",
    "dead": "rc:{0}:dead",
    "dead_of": "rc:{0}:dead:<client>",
    "dead_clients": "rc:{0}:dead_clients",
}
OF_NO_SHARD = {
    "root": "rc:{0}:",
    "clients": "rc:{0}:clients",
    "clients_order": "rc:{0}:clients:order",
    "clients_head": "rc:{0}:clients:head",
    "ticket": "rc:{0}:ticket:<name>",
    "tickets_prefix": "rc:{0}:tickets:",
    "limits": "rc:{0}:limits",
    "usage": "rc:{0}:usage:<client>:<day>",
    "connections": "rc:{0}:connections",
}


def _names(keys: ShardKeys | GlobalKeys) -> dict[str, str]:
    """Every key by its member, with the names of what it is made of in their places."""
    found = {"root": keys.root}
    for name, member in vars(type(keys)).items():
        if name.startswith("_") or name in ("root", "shard"):
            continue
        if isinstance(member, property):
            found[name] = getattr(keys, name)
        else:
            code = member.__code__
            words = code.co_varnames[1 : code.co_argcount]
            found[name] = member(keys, *(f"<{word}>" for word in words))
    return found


def test_keys_are_named_as_ever() -> None:
    shards = Shards()
    assert _names(shards.only) == OF_A_SHARD
    assert _names(shards.global_keys) == OF_NO_SHARD


def test_no_key_is_of_a_shard_and_of_none() -> None:
    own = {name for key, name in OF_A_SHARD.items() if key != "root"}
    assert not own & set(OF_NO_SHARD.values())


def _all_keys(keys: ShardKeys) -> Iterator[str]:
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
    for key in (*_all_keys(ShardKeys(shard)), *_names(ShardKeys(shard)).values()):
        assert key.startswith(f"rc:{{{shard}}}:")
        assert key.count("{") == key.count("}") == 1


def test_no_two_uses_share_a_key() -> None:
    found = list(_all_keys(Shards().only))
    assert len(found) == len(set(found))


def test_a_prefix_is_followed_by_what_the_key_is_made_of() -> None:
    keys = Shards().only
    assert keys.jobs("high", 3) == keys.jobs_prefix + "high:3"
    assert keys.ready("low") == keys.ready_prefix + "low"
    assert keys.active("low") == keys.active_prefix + "low"
    assert keys.held("w:low.0.1") == keys.held_prefix + "w:low.0.1"
    assert keys.pub("default/broadcast") == keys.pub_prefix + "default/broadcast"


def test_no_channel_of_a_client_is_a_probe() -> None:
    # A scoped name begins with the client's name and a slash.
    keys = Shards().only
    assert not keys.probe("g").startswith(keys.pub("default/"))
