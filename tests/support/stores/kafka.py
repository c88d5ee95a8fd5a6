"""Real brokers for tests, Tansu from the wheel or Apache Kafka itself, and what they hold.

    with Tansu(tmp_path) as broker, Stack(tmp_path, bridges=1, **broker.settings()) as stack:
        ...
        records = await asyncio.to_thread(broker.consume, "roomcast.events", 10)

Tansu keeps everything in memory; Apache Kafka keeps it on disk, and can be killed. Behind a
`SeverableCable` a broker's connections can be cut.
"""

import ctypes
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import confluent_kafka.admin
import trustme
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from deploy.local.stores.kafka import kafka_command
from tests.support.processes.process import LOOPBACK, ROOT, Process, free_port
from tests.support.processes.severed_cable import SeverableCable
from tests.support.skips import need_programs

EVENTS: Final = "roomcast.events"
REQUESTS: Final = "roomcast.requests"
DEAD: Final = "roomcast.requests.dead"
START_TIMEOUT_S: Final = 120.0
admin: Any = confluent_kafka.admin
"""Of some that it has, its types say nothing."""
_TOPIC_RULE: Final = (admin.ResourceType.TOPIC,)
APACHE: Final = ROOT / "deploy" / "kafka" / "apache-kafka"


@dataclass(frozen=True, slots=True)
class Record:
    """One message, as it was read."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]


class Broker:
    """A broker on a free loopback port, which it keeps; a context manager."""

    def __init__(self, name: str, argv: list[str], folder: Path, port: int) -> None:
        self.port = port
        self.process = Process(name, argv, folder, os.environ)

    @property
    def brokers(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def settings(self, readers: str = "kafka") -> dict[str, str]:
        """Settings of a stack with bridges."""
        return {"KAFKA_BROKERS": self.brokers, "EVENT_READERS": readers}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            # Who fails to enter is never left: nobody else would stop it.
            self.process.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.stop()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self.process.is_alive, self.process.log_tail()
            assert time.monotonic() < deadline, self.process.log_tail()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.signal(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        self.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.signal(signal.SIGCONT)

    def produce(
        self,
        topic: str,
        *messages: tuple[bytes | None, Mapping[str, bytes]],
        key: bytes | None = b"k",
    ) -> None:
        """Write values with headers to a topic, and wait for the broker. Blocks."""
        config = {"bootstrap.servers": self.brokers, "acks": "all", "message.max.bytes": 16 << 20}
        producer: Any = Producer(config)
        failed: list[Any] = []
        for value, headers in messages:
            producer.produce(
                topic,
                value,
                key,
                headers=list(headers.items()),
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        assert producer.flush(30) == 0
        assert not failed

    def make_topic(self, topic: str, partitions: int = 2, **config: str) -> None:
        """Make a topic, with `max_message_bytes="20000"` and the like. Blocks."""
        client = AdminClient({"bootstrap.servers": self.brokers})
        named = {name.replace("_", "."): value for name, value in config.items()}
        for made in client.create_topics([NewTopic(topic, partitions, 1, config=named)]).values():
            made.result(30)

    def produce_odd_header(self, topic: str, name: bytes) -> None:
        """Write a message with a header whose name is any bytes, as a producer in C may. Blocks.

        confluent-kafka takes none, so this asks the library that it brings.
        """
        packages = Path(confluent_kafka.__file__).parent.parent
        (library,) = (packages / "confluent_kafka.libs").glob("librdkafka*")
        rdkafka = ctypes.CDLL(str(library))
        for function in (rdkafka.rd_kafka_conf_new, rdkafka.rd_kafka_new):
            function.restype = ctypes.c_void_p
        why = ctypes.create_string_buffer(512)
        config = ctypes.c_void_p(rdkafka.rd_kafka_conf_new())
        server = (b"bootstrap.servers", self.brokers.encode())
        assert rdkafka.rd_kafka_conf_set(config, *server, why, len(why)) == 0, why.value
        producer = ctypes.c_void_p(rdkafka.rd_kafka_new(0, config, why, len(why)))
        text = [b"{}", ctypes.c_size_t(2)]
        # RD_KAFKA_VTYPE_TOPIC, _MSGFLAGS (copy), _VALUE, _HEADER and _END of rdkafka.h.
        header = [name, b"v", ctypes.c_ssize_t(1)]
        arguments = [1, topic.encode(), 7, 2, 4, *text, 9, *header, 0]
        assert rdkafka.rd_kafka_producev(producer, *arguments) == 0
        assert rdkafka.rd_kafka_flush(producer, 10_000) == 0
        rdkafka.rd_kafka_destroy(producer)

    def consume(
        self, topic: str, least: int, timeout_s: float = 30.0, quiet_s: float = 0.5
    ) -> list[Record]:
        """Read a topic from its beginning until there are so many and no more come. Blocks."""
        return self.consume_until(topic, lambda found: len(found) >= least, timeout_s, quiet_s)

    def consume_until(
        self,
        topic: str,
        enough: Callable[[list[Record]], bool],
        timeout_s: float = 30.0,
        quiet_s: float = 0.5,
    ) -> list[Record]:
        """Read a topic from its beginning until it is enough and no more come. Blocks."""
        return Reading(self, topic).until(enough, timeout_s, quiet_s)

    def forget_offsets(self, group: str, topic: str) -> None:
        """Set the committed offsets of a group that nobody is in back to the beginning. Blocks."""
        consumer: Any = Consumer(
            {"bootstrap.servers": self.brokers, "group.id": group, "enable.auto.commit": False}
        )
        try:
            numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.commit(
                offsets=[TopicPartition(topic, number, 0) for number in numbers],
                asynchronous=False,
            )
        finally:
            consumer.close()

    def _answers(self) -> bool:
        try:
            AdminClient({"bootstrap.servers": self.brokers, "log_level": 0}).list_topics(timeout=1)
        except KafkaException:
            return False
        return True


class Reading:
    """A consumer in no group, independent of the bridge, which goes on where it stopped.

    Args:
        broker: that has the topic.
        topic: which.
        positions: the next offset by partition; from the beginning where there is none.
    """

    def __init__(
        self, broker: Broker, topic: str, positions: Mapping[int, int] | None = None
    ) -> None:
        self._broker = broker
        self._topic = topic
        self._positions = dict(positions or {})

    def copy(self) -> "Reading":
        """Another one that goes on from here, and leaves this one where it is."""
        return Reading(self._broker, self._topic, self._positions)

    def until(
        self,
        enough: Callable[[list[Record]], bool],
        timeout_s: float = 30.0,
        quiet_s: float = 0.5,
    ) -> list[Record]:
        """Read on until what this call found is enough and no more come. Blocks."""
        config = {
            "bootstrap.servers": self._broker.brokers,
            "group.id": "test",
            "enable.auto.commit": False,
        }
        consumer: Any = Consumer(config)
        found: list[Record] = []
        try:
            deadline = time.monotonic() + timeout_s
            while True:
                found_topic = consumer.list_topics(self._topic, timeout=10).topics[self._topic]
                if found_topic.partitions:
                    break
                assert time.monotonic() < deadline, f"there is no topic {self._topic}"
                time.sleep(0.1)
            consumer.assign(
                [
                    TopicPartition(self._topic, number, self._positions.get(number, 0))
                    for number in found_topic.partitions
                ]
            )
            while True:
                messages = consumer.consume(2_000, quiet_s)
                for message in messages:
                    assert message.error() is None, message.error()
                    found.append(
                        Record(
                            message.partition(),
                            message.offset(),
                            message.key(),
                            message.value() or b"",
                            dict(message.headers() or []),
                        )
                    )
                if not messages and enough(found):
                    break
                assert time.monotonic() < deadline, f"{self._topic} has only {len(found)} messages"
        finally:
            consumer.close()
        self._positions |= {record.partition: record.offset + 1 for record in found}
        return found


class Tansu(Broker):
    """The broker that `make run` starts, in memory.

    Args:
        folder: for its log.
        gate: through which everybody shall come.
    """

    def __init__(self, folder: Path, gate: SeverableCable | None = None) -> None:
        port = free_port()
        advertised = gate.before(port) if gate else port
        argv = [*kafka_command(port, advertised, host=LOOPBACK)]
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(f"tansu-{port}", argv, folder, advertised)


class ApacheKafka(Broker):
    """Apache Kafka (KRaft) from Maven, on disk.

    Args:
        folder: for its data and its log.
        secured: whether it has a second port, for TLS with a certificate of its own CA and SASL.
        guarded: whether it asks who may do what (`deny`).
    """

    def __init__(self, folder: Path, *, secured: bool = False, guarded: bool = False) -> None:
        port, controller = free_port(), free_port()
        data = folder / f"kafka-{port}"
        argv = [str(APACHE), "run", str(data), str(port), str(controller)]
        folder.mkdir(parents=True, exist_ok=True)
        self.secured: dict[str, str] = {}
        """Settings for that port."""
        if secured:
            more, self.secured = _secured(folder, port, controller)
            argv.append(str(more))
        if guarded:
            more = folder / "guarded.properties"
            more.write_text(
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
                "allow.everyone.if.no.acl.found=true\n"
            )
            argv.append(str(more))
        super().__init__(f"kafka-{port}", argv, folder, port)

    def deny(self, operation: str, topic: str) -> None:
        """Let nobody `READ` or `WRITE` a topic; a broker that is guarded. Blocks."""
        everything, denied = admin.AclOperation.ALL, admin.AclOperation[operation]
        allow, deny = admin.AclPermissionType.ALLOW, admin.AclPermissionType.DENY
        rules = [_rule(topic, everything, allow), _rule(topic, denied, deny)]
        client = admin.AdminClient({"bootstrap.servers": self.brokers})
        for made in client.create_acls(rules).values():
            made.result(30)

    def allow(self, topic: str) -> None:
        """Take back what `deny` did. Blocks."""
        found = admin.AclBindingFilter(
            *_TOPIC_RULE, topic, admin.ResourcePatternType.LITERAL, None, None,
            admin.AclOperation.ANY, admin.AclPermissionType.ANY,
        )  # fmt: skip
        client = admin.AdminClient({"bootstrap.servers": self.brokers})
        for gone in client.delete_acls([found]).values():
            gone.result(30)


def _rule(topic: str, operation: Any, permission: Any) -> Any:
    literal = admin.ResourcePatternType.LITERAL
    return admin.AclBinding(*_TOPIC_RULE, topic, literal, "User:*", "*", operation, permission)


def _secured(folder: Path, port: int, controller: int) -> tuple[Path, dict[str, str]]:
    """Properties of a broker with a secured port, and the settings of who comes to it."""
    secured_port, user, password = free_port(), "roomcast", "a password for one test"
    authority, certificate = folder / "ca.pem", folder / "broker.pem"
    ca = trustme.CA()
    ca.cert_pem.write_to_path(authority)
    issued = ca.issue_cert(LOOPBACK)
    # The JVM reads no other format of a private key than PKCS #8.
    key = load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    certificate.write_bytes(key + b"".join(each.bytes() for each in issued.cert_chain_pems))
    plain, inner = f"PLAINTEXT://{LOOPBACK}:{port}", f"CONTROLLER://{LOOPBACK}:{controller}"
    tls = f"SASL_SSL://{LOOPBACK}:{secured_port}"
    login = "org.apache.kafka.common.security.plain.PlainLoginModule"
    properties = folder / "secured.properties"
    properties.write_text(
        f"listeners={plain},{inner},{tls}\n"
        f"advertised.listeners={plain},{tls}\n"
        "listener.security.protocol.map="
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL\n"
        "sasl.enabled.mechanisms=PLAIN\n"
        "listener.name.sasl_ssl.plain.sasl.jaas.config="
        f'{login} required user_{user}="{password}";\n'
        "ssl.keystore.type=PEM\n"
        f"ssl.keystore.location={certificate}\n"
    )
    return properties, {
        "KAFKA_BROKERS": f"{LOOPBACK}:{secured_port}",
        "KAFKA_CA_FILE": str(authority),
        "KAFKA_USER": user,
        "KAFKA_PASSWORD": password,
    }


def needs_apache_kafka() -> None:
    """Skip a test where Apache Kafka can't be had; in CI that is an error."""
    need_programs("java", "mvn", why="Apache Kafka")


def first_occurrences(records: Sequence[Record], identity: Callable[[Record], str]) -> list[Record]:
    """The records without repeats, in the order of their partitions."""
    seen: set[str] = set()
    found = []
    for record in records:
        name = identity(record)
        if name not in seen:
            seen.add(name)
            found.append(record)
    return found


def by_key(records: Sequence[Record]) -> dict[bytes, list[Record]]:
    """Records of every key, in their order."""
    found: defaultdict[bytes, list[Record]] = defaultdict(list)
    for record in records:
        found[record.key or b""].append(record)
    return dict(found)
