"""What of librdkafka's log comes through."""

import logging

import pytest

from common.config.settings import Settings
from kafka_bridge.brokers import SAID_AGAIN_S, connection

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
