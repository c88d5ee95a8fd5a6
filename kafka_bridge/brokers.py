"""librdkafka's connection settings, and the topics that must exist."""

import asyncio
import logging
import re
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from common.config.loading import refuse
from common.config.settings import Settings
from common.errors import RoomcastError
from common.process.backoff import jittered
from common.telemetry.outage import Outage

log = logging.getLogger("roomcast.kafka")

MESSAGE_MAX_BYTES: Final = 4 * 1024 * 1024
"""A notification has at most 1 MiB, an event little more."""
ADMIN_TIMEOUT_S: Final = 5.0
SAID_AGAIN_S: Final = 10.0
"""Time before the same connection failure is logged again."""
_SAID_MAX: Final = 100
_AWAY: Final = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001 - these are public, as librdkafka's
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
"""Errors that mean only that the brokers are away; all others are refusals."""
_CONNECTION_LOST: Final = re.compile(r"Connect to \S+ failed|Disconnected|[Tt]imed out")

kafka_outage: Final = Outage("kafka")
"""The outage of this process's brokers."""


class RefusedByBrokersError(RoomcastError):
    """The brokers answered, and refused; the text is theirs."""


def report_lost(who: str, error: KafkaException) -> None:
    """Report to `kafka_outage` that a part of this process lost the brokers."""
    cause = error.args[0]
    lost = ConnectionError if cause.code() in _AWAY else RefusedByBrokersError
    kafka_outage.lost(who, lost(cause.str()))


class _Noise(logging.Filter):
    """Drops a warning about a setting that is intended, and what librdkafka repeats.

    Every client of a broker that is away logs that many times a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text.startswith("CONFWARN") and "enable.gapless.guarantee" in text:
            return False
        if text.startswith("FATAL") and "gap-less" in text:
            # A refused batch stops those behind it that way; `CarefulWriter` goes on from there.
            record.levelno, record.levelname = logging.INFO, "INFO"
        if text.startswith("SESSTMOUT"):
            # Normal when the brokers are away: the consumer rejoins its group by itself.
            record.levelno, record.levelname = logging.INFO, "INFO"
        if not text.startswith("FAIL"):
            return True
        # What is left without the names in front (client, thread, broker) and the duration behind.
        what = text.partition("]: ")[2].partition(" (after")[0]
        _, connect, address = what.partition("Connect to ")
        what = connect + address or what
        if record.created - self._said.get(what, float("-inf")) < SAID_AGAIN_S:
            return False
        if len(self._said) >= _SAID_MAX:
            self._said.clear()
        self._said[what] = record.created
        # It reconnects by itself, and `kafka_outage` reports that the brokers are away.
        lost = _CONNECTION_LOST.search(text)
        most = logging.INFO if lost else logging.WARNING
        if record.levelno > most:
            record.levelno, record.levelname = most, logging.getLevelName(most)
        return True


_NOISE: Final = _Noise()


def _librdkafka_log() -> logging.Logger:
    logger = logging.getLogger("roomcast.librdkafka")
    logger.addFilter(_NOISE)  # adding it again changes nothing
    return logger


def connection(settings: Settings) -> dict[str, Any]:
    """Configuration that every client of the brokers shares."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_brokers,
        "client.id": "roomcast-bridge",
        "message.max.bytes": MESSAGE_MAX_BYTES,
        "reconnect.backoff.max.ms": 2_000,
        "logger": _librdkafka_log(),
    }
    if settings.kafka_ca_file:
        config["ssl.ca.location"] = settings.kafka_ca_file
    if settings.kafka_user:
        config |= {
            "sasl.mechanism": "PLAIN",
            "sasl.username": settings.kafka_user,
            "sasl.password": settings.kafka_password.get_secret_value(),
        }
    config["security.protocol"] = ("sasl_" if settings.kafka_user else "") + (
        "ssl" if settings.kafka_ca_file else "plaintext"
    )
    return config


def check_usable(settings: Settings) -> None:
    """Check that librdkafka can make something of the settings, whoever answers, or exit.

    Raises:
        SystemExit: status 2, after one line on stderr.
    """
    try:
        AdminClient(connection(settings) | {"log_level": 2})
    except KafkaException as error:
        name = "KAFKA_CA_FILE" if "ssl" in str(error) else "KAFKA_PASSWORD"
        refuse(name, error.args[0].str())


def make_topics(settings: Settings, *topics: str) -> None:
    """Make the topics that are not there, with the broker's default of partitions. Blocks.

    Raises:
        confluent_kafka.KafkaException: the brokers do not answer or do not allow it.
    """
    heard: list[KafkaError] = []
    admin = AdminClient(connection(settings) | {"error_cb": heard.append})
    try:
        there = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
    except KafkaException:
        # It says only that nobody answered in time. The cause, such as a wrong password, is
        # reported and logged by the next poll.
        admin.poll(0)
        causes = [error for error in heard if error.code() != KafkaError._ALL_BROKERS_DOWN]  # noqa: SLF001 - public
        if causes:
            raise KafkaException(causes[-1]) from None
        raise
    missing = [topic for topic in topics if topic not in there]
    if not missing:
        return
    # Larger than Kafka's default of 1 MiB, which a notification of that size would just exceed.
    config = {"max.message.bytes": str(MESSAGE_MAX_BYTES)}
    new = [
        NewTopic(topic, num_partitions=-1, replication_factor=-1, config=config)
        for topic in missing
    ]
    for topic, made in admin.create_topics(new, operation_timeout=ADMIN_TIMEOUT_S).items():
        try:
            made.result(ADMIN_TIMEOUT_S * 2)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        else:
            log.info("made a topic", extra={"topic": topic})


async def wait_for_brokers(settings: Settings) -> None:
    """Wait until the events topic is there, as long as it takes."""
    for wait in jittered():
        try:
            await asyncio.to_thread(make_topics, settings, settings.kafka_events_topic)
        except KafkaException as error:
            report_lost("start", error)
            await asyncio.sleep(wait)
        else:
            kafka_outage.back("start")
            return
