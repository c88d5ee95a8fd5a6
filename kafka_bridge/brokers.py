"""How librdkafka is told where the brokers are, and the topics that must be there."""

import logging
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from common.settings import Settings

log = logging.getLogger("roomcast.kafka")

MESSAGE_MAX_BYTES: Final = 4 * 1024 * 1024
"""A notification has at most 1 MiB, an event little more."""
ADMIN_TIMEOUT_S: Final = 5.0


class _Noise(logging.Filter):
    """Drops what librdkafka says at every start of a producer with a setting that is meant."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not (text.startswith("CONFWARN") and "enable.gapless.guarantee" in text)


_NOISE: Final = _Noise()


def _librdkafka_log() -> logging.Logger:
    logger = logging.getLogger("roomcast.librdkafka")
    logger.addFilter(_NOISE)  # the same one again is none more
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
            "sasl.password": settings.kafka_password,
        }
    config["security.protocol"] = ("sasl_" if settings.kafka_user else "") + (
        "ssl" if settings.kafka_ca_file else "plaintext"
    )
    return config


def make_topics(settings: Settings, *topics: str) -> None:
    """Make the topics that are not there, with the broker's default of partitions. Blocks.

    Raises:
        confluent_kafka.KafkaException: the brokers do not answer or do not allow it.
    """
    admin = AdminClient(connection(settings))
    there = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
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
