"""Brokers: Tansu, and Apache Kafka itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stores.kafka import ApacheKafka, Broker, Tansu, needs_apache_kafka


@pytest.fixture
def tansu(tmp_path: Path) -> Iterator[Broker]:
    with Tansu(tmp_path) as broker:
        yield broker


@pytest.fixture
def apache(tmp_path: Path) -> Iterator[Broker]:
    needs_apache_kafka()
    with ApacheKafka(tmp_path) as broker:
        yield broker
