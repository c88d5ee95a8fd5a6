"""No password of a store is in a log, in /readyz, in /metrics or on stderr when it is refused."""

import asyncio
import json
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes.process import LOOPBACK, free_port
from tests.support.processes.stack import Stack
from tests.support.stores.kafka import Tansu
from tests.support.stores.postgres import session_postgres
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until

PASSWORD = "hunter2%2Fhunter3"
PARTS = ("hunter2", "hunter3")
KINDS = ("server", "worker", "gateway", "history", "bridge")


def add_all(stack: Stack, redis: str, database: str, kafka: str) -> list[str]:
    (stack.folder / "kafka-password").write_text("hunter2/hunter3\n")
    settings = {
        "REDIS_CLIENT": redis,
        "DATABASE_URL": database,
        "KAFKA_BROKERS": kafka,
        "KAFKA_USER": "me",
        "KAFKA_PASSWORD_FILE": str(stack.folder / "kafka-password"),
        "EVENT_READERS": "history,kafka",
        "LOG_LEVEL": "DEBUG",
    }
    return [stack.add(kind, **settings) for kind in KINDS]


@pytest.mark.parametrize("case", ["refused", "away", "redis only"])
async def test_a_password_is_never_shown(case: str, tmp_path: Path) -> None:
    # With Redis reached, the processes that need PostgreSQL and Kafka get as far as those.
    valkey = Valkey(tmp_path)
    with (
        Tansu(tmp_path) as broker,
        Stack(tmp_path, servers=0, workers=0, gateways=0, valkey=valkey) as stack,
    ):
        server = session_postgres(free_port())
        away = f"{LOOPBACK}:{free_port()}"
        redis = {
            "refused": f"redis://nobody:{PASSWORD}@{LOOPBACK}:{valkey.port}/0",
            "away": f"redis://nobody:{PASSWORD}@{away}/0",
            "redis only": valkey.url,
        }[case]
        database, kafka = {
            "refused": (f"{LOOPBACK}:{server.port}", broker.brokers),
            "away": (away, away),
            "redis only": (f"{LOOPBACK}:{server.port}", broker.brokers),
        }[case]
        names = add_all(stack, redis, f"postgresql://nobody:{PASSWORD}@{database}/no", kafka)
        for name in names:
            stack.processes[name].start()
        told = []
        try:
            for name in names:

                def answers(name: str = name) -> bool:
                    status, body = stack.get(name, "/readyz")
                    return status == 200 or (
                        status == 503 and "not probed" not in json.loads(body)["reason"]
                    )

                await until(partial(asyncio.to_thread, answers))
            # Long enough for every connection to be tried again.
            await asyncio.sleep(3)
            for name in names:
                told += [stack.get(name, "/readyz")[1], stack.get(name, "/metrics")[1]]
                told.append(stack.get(name, "/users/1/notifications")[1])
        finally:
            for name in names:
                stack.processes[name].stop()
        logs = {name: stack.processes[name].log.read_text() for name in names}
        reached = {"server", "worker", "gateway"} if case == "redis only" else set()
        for name, log in logs.items():
            assert name.split("-")[0] in reached or '"reason"' in log, log
        for text in (*told, *logs.values()):
            assert not any(part in text for part in PARTS), text


async def test_the_command_line_shows_no_password(tmp_path: Path) -> None:
    with Stack(tmp_path, servers=0, workers=0, gateways=0) as stack:
        server = session_postgres(free_port())
        for host in (f"{LOOPBACK}:{server.port}", f"{LOOPBACK}:{free_port()}"):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "server", "create-client", "a", "a@example.org"),
                cwd=tmp_path,
                env={
                    **stack.environment,
                    "DATABASE_URL": f"postgresql://nobody:{PASSWORD}@{host}/no",
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await process.communicate()
            assert process.returncode
            assert said
            assert not any(part in said.decode() for part in PARTS), said.decode()
