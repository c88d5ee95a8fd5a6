"""What of librdkafka's log comes through."""

import logging

import pytest
from confluent_kafka import KafkaError, KafkaException

from common.config.settings import Settings
from common.telemetry import outage
from kafka_bridge import brokers
from kafka_bridge.brokers import SAID_AGAIN_S, connection, report_lost

REFUSED = "FAIL [me#%s] [thrd:b/1]: b/1: Connect to %s failed: Connection refused (after %dms in)"


def test_a_failure_is_not_told_again_for_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = connection(Settings())["logger"]
    now = 1_000_000.0
    monkeypatch.setattr("logging.time.time", lambda: now)
    monkeypatch.setattr("logging.time.time_ns", lambda: int(now * 1e9), raising=False)
    with caplog.at_level(logging.INFO):
        for client in ("producer-1", "consumer-2", "producer-3"):
            logger.log(logging.ERROR, REFUSED, client, "ours:1", 3)
        assert len(caplog.records) == 1
        logger.log(logging.ERROR, REFUSED, "producer-1", "another:1", 3)
        logger.log(logging.INFO, "TERMINATE [me] it ends")
        logger.log(logging.INFO, "TERMINATE [me] it ends")
        assert len(caplog.records) == 4
        now += SAID_AGAIN_S
        logger.log(logging.ERROR, REFUSED, "producer-1", "ours:1", 3)
        assert len(caplog.records) == 5


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("FAIL [me#c-6] [thrd:g]: g: Connect to ipv4#b:1 failed: Connection refused", "INFO"),
        ("FAIL [me#c-7] [thrd:g]: g: Disconnected: connection closed by peer", "INFO"),
        ("FAIL [me#c-8] [thrd:g]: g: SASL authentication error: invalid password", "WARNING"),
        ("SESSTMOUT [me#c-9] [thrd:main]: Consumer group session timed out", "INFO"),
        ("MAXPOLL [me#c-9] [thrd:main]: Application maximum poll interval exceeded", "ERROR"),
    ],
)
def test_lost_connections_are_no_warnings_of_librdkafka(
    caplog: pytest.LogCaptureFixture, text: str, level: str
) -> None:
    logger = connection(Settings())["logger"]
    with caplog.at_level(logging.INFO):
        logger.log(logging.ERROR, text)
    assert [record.levelname for record in caplog.records] == [level]


def test_brokers_that_are_away_are_told_from_those_that_refuse(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brokers, "kafka_outage", outage.Outage("kafka"))
    with caplog.at_level(logging.INFO, "roomcast.outage"):
        for code in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._AUTHENTICATION):
            report_lost("start", KafkaException(KafkaError(code)))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "kafka does not answer"),
        ("WARNING", "kafka refuses a request"),
    ]
