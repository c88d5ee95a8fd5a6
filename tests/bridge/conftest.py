"""The broker that most tests share, and a marker for Apache Kafka."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka import ApacheKafka, Broker, Tansu, needs_apache_kafka


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "apache_kafka: needs Java and Maven (skipped without, an error in CI)"
    )


@pytest.fixture
def tansu(tmp_path: Path) -> Iterator[Broker]:
    with Tansu(tmp_path) as broker:
        yield broker


@pytest.fixture
def apache(tmp_path: Path) -> Iterator[Broker]:
    needs_apache_kafka()
    with ApacheKafka(tmp_path) as broker:
        yield broker
