"""What a batch makes of the broker's acknowledgements."""

from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError

from kafka_bridge.mirror.producer import UNKNOWN, NotWrittenError, _Batch


@dataclass(frozen=True)
class Told:
    """A message as librdkafka hands it to a delivery callback, as far as it is looked at."""

    at: tuple[int, int | None]

    def partition(self) -> int:
        return self.at[0]

    def offset(self) -> int | None:
        return self.at[1]


async def test_a_message_whose_offset_is_not_told_is_written_all_the_same() -> None:
    batch = _Batch(2, placed=True)
    batch.placed(1, None, Told((0, None)))
    batch.placed(0, None, Told((3, 7)))
    assert await batch.written == [(3, 7), UNKNOWN]


async def test_one_error_fails_the_batch() -> None:
    batch = _Batch(2, placed=False)
    error: Any = KafkaError(KafkaError._PURGE_INFLIGHT)
    batch.delivered(error, None)
    with pytest.raises(NotWrittenError):
        await batch.written
