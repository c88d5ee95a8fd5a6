from collections.abc import Iterator

from common.events.event import Event
from common.model.publication import Position, parse_publication
from kafka_bridge.messages.cloud_events import MirroredEvent, from_message, to_message
from kafka_bridge.restore.channel_rebuild import Rebuild, new_ones
from tests.unit.kafka_bridge.frames import publication


def mirrored(event: Event) -> MirroredEvent:
    message = to_message(event)
    assert message is not None
    return from_message(message.value or b"")


def rebuilt(*places: tuple[str, int], log_max: int = 100) -> Rebuild:
    rebuild = Rebuild(log_max)
    events: Iterator[MirroredEvent] = (
        mirrored(publication("1", f"{epoch}{offset}", "m", offset, epoch))
        for epoch, offset in places
    )
    for event in new_ones(rebuild, events):
        rebuild.add(event)
    return rebuild


def test_repeats_are_dropped() -> None:
    rebuild = rebuilt(("a", 1), ("a", 2), ("a", 1), ("a", 2), ("a", 3), ("a", 3))
    channel = rebuild.channels["default/room:1"]
    assert [parse_publication(entry).offset for entry in channel.log] == [1, 2, 3]
    assert (channel.epoch, channel.offset, channel.before) == ("a", 3, "")


def test_receipts_are_dropped_by_id() -> None:
    rebuild = Rebuild(10)
    receipt = mirrored(Event("5-0", "read", "default/user:1", "g", b'{"id":"n"}', b""))
    other = mirrored(Event("4-0", "read", "default/user:1", "g", b'{"id":"n"}', b""))
    assert len(list(new_ones(rebuild, iter([receipt, other, receipt])))) == 2


def test_the_log_is_bounded() -> None:
    channel = rebuilt(*(("a", n) for n in range(1, 10)), log_max=3).channels["default/room:1"]
    assert [parse_publication(entry).offset for entry in channel.log] == [7, 8, 9]


def test_the_end_of_an_epoch_is_kept() -> None:
    rebuild = rebuilt(("a", 1), ("a", 2), ("b", 3))
    channel = rebuild.channels["default/room:1"]
    assert (channel.epoch, channel.before, channel.ended_at) == ("b", "a", 2)
    assert rebuild.epoch == "b"
    assert [parse_publication(entry).base for entry in channel.log] == [
        None,
        None,
        Position("a", 2),
    ]


def test_offsets_that_were_handed_out_again_leave_no_double_in_the_log() -> None:
    # Redis lost what it had published last, after it was mirrored.
    channel = rebuilt(("a", 1), ("a", 2), ("a", 3), ("b", 2), ("b", 3)).channels["default/room:1"]
    found = [parse_publication(entry) for entry in channel.log]
    assert [(each.epoch, each.offset) for each in found] == [("a", 1), ("b", 2), ("b", 3)]
    assert (channel.before, channel.ended_at) == ("a", 1)


def test_the_log_has_no_hole() -> None:
    # What was published while nobody could mirror it, or before the time that was asked for.
    channel = rebuilt(("a", 5), ("a", 6), ("a", 9)).channels["default/room:1"]
    assert [parse_publication(entry).offset for entry in channel.log] == [9]
    assert channel.offset == 9


def test_a_channel_that_begins_anew_does_not_know_where_it_ended_before() -> None:
    channel = rebuilt(("a", 1), ("a", 2), ("b", 1)).channels["default/room:1"]
    assert (channel.epoch, channel.offset) == ("b", 1)
    assert (channel.before, channel.ended_at) == ("", 0)
    assert [parse_publication(entry).base for entry in channel.log] == [None]
