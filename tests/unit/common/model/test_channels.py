import zlib

from hypothesis import given

from common.model.channels import (
    BROADCAST_CHANNEL,
    PARTITIONS,
    channel_of,
    partition_of,
    room_channel,
    scoped,
    user_channel,
)
from tests.support import strategies
from tests.support.examples import examples


def test_channels_are_named_for_whom_they_are_for() -> None:
    assert channel_of("private", "1") == user_channel("1") == "user:1"
    assert channel_of("room", "1") == room_channel("1") == "room:1"
    assert channel_of("broadcast", None) == BROADCAST_CHANNEL == "broadcast"
    assert scoped("room:1") == "default/room:1"


@examples(200)
@given(strategies.ids, strategies.ids)
def test_no_two_targets_share_a_channel(one: int | str, other: int | str) -> None:
    channels = {
        channel_of(kind, target)
        for kind, target in (
            ("private", str(one)), ("room", str(one)), ("private", str(other)),
            ("room", str(other)), ("broadcast", None),
        )
    }  # fmt: skip
    assert len(channels) == (3 if str(one) == str(other) else 5)


@examples(100)
@given(strategies.ids)
def test_a_partition_never_changes(target: int | str) -> None:
    # Were it to depend on a process (hash()) or change with a release, jobs that wait would be
    # overtaken by later ones of their channel.
    name = scoped(channel_of("room", str(target)))
    assert partition_of(name) == zlib.crc32(name.encode()) % 64
    assert 0 <= partition_of(name) < PARTITIONS == 64


def test_known_partitions() -> None:
    assert partition_of("default/broadcast") == 10
    assert partition_of("default/room:1") == zlib.crc32(b"default/room:1") % 64


def test_channels_spread_over_all_partitions() -> None:
    assert len({partition_of(scoped(room_channel(str(n)))) for n in range(2_000)}) == PARTITIONS
