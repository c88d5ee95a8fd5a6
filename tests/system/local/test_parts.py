import pytest

from common.config.settings import AuthMode, LogFormat, Settings
from deploy.local.parts import (
    child_environment,
    complete,
    list_listeners,
    list_parts,
    uses_own_kafka,
    uses_own_postgres,
    uses_own_valkey,
)
from deploy.local.stack import summarize


def test_valkey_starts_first_and_stops_last() -> None:
    parts = list_parts(Settings(), own_valkey=True)
    assert [part.name for part in parts] == ["valkey", "gateway", "worker", "server"]
    assert parts == sorted(parts, key=lambda part: part.priority)


def test_a_redis_from_the_environment_leaves_valkey_out() -> None:
    assert uses_own_valkey({"PATH": "/bin"})
    assert not uses_own_valkey({"redis_client": "redis://there"})
    names = [part.name for part in list_parts(Settings(), own_valkey=False)]
    assert "valkey" not in names
    settings = [listener.setting for listener in list_listeners(Settings(), own_valkey=False)]
    assert settings == ["PORT", "WORKER_PORT", "WS_PORT"]


def test_history_is_between_the_stores_and_whoever_writes_events() -> None:
    settings = complete(Settings(postgres_port=7002), own_postgres=True)
    parts = list_parts(settings, own_valkey=True, own_postgres=True)
    assert [part.name for part in parts] == [
        "valkey", "postgres", "history", "gateway", "worker", "server",
    ]  # fmt: skip
    environment = child_environment(settings, own_valkey=True)
    assert environment["DATABASE_URL"] == "postgresql://postgres@127.0.0.1:7002/postgres"
    assert environment["EVENT_READERS"] == "history"
    listeners = list_listeners(settings, own_valkey=True, own_postgres=True)
    assert {"POSTGRES_PORT", "HISTORY_PORT"} <= {listener.setting for listener in listeners}


@pytest.mark.parametrize(("niceness", "first"), [(7, ("nice", "-n", "7")), (0, ())])
def test_stores_that_no_socket_waits_for_give_way_as_their_writers_do(
    niceness: int, first: tuple[str, ...]
) -> None:
    settings = complete(Settings(reader_niceness=niceness), own_postgres=True, own_kafka=True)
    parts = list_parts(settings, own_valkey=True, own_postgres=True, own_kafka=True)
    commands = {part.name: part.command for part in parts}
    for store in ("postgres", "kafka"):
        assert commands[store][: len(first)] == first
    # These see to it themselves, or do not.
    assert all("nice" not in commands[part] for part in commands.keys() - {"postgres", "kafka"})
    assert ("nice" in commands["kafka"]) == bool(niceness)


def test_a_database_from_the_environment_leaves_postgres_out() -> None:
    assert uses_own_postgres({"PATH": "/bin"})
    assert not uses_own_postgres({"database_url": "postgresql://there"})
    settings = complete(Settings(database_url="postgresql://there"), own_postgres=False)
    assert settings.event_readers == "history"
    names = [part.name for part in list_parts(settings, own_valkey=False)]
    assert names == ["history", "gateway", "worker", "server"]


def test_an_empty_database_url_turns_history_off() -> None:
    settings = complete(Settings(database_url=""), own_postgres=False)
    assert settings.event_readers == ""
    assert "history" not in [part.name for part in list_parts(settings, own_valkey=False)]


def test_kafka_and_the_bridge_are_parts_too() -> None:
    settings = complete(Settings(kafka_port=7003), own_postgres=False, own_kafka=True)
    parts = list_parts(settings, own_valkey=True, own_kafka=True)
    assert [part.name for part in parts] == [
        "valkey", "kafka", "bridge", "gateway", "worker", "server",
    ]  # fmt: skip
    environment = child_environment(settings, own_valkey=True)
    assert environment["KAFKA_BROKERS"] == "127.0.0.1:7003"
    assert environment["EVENT_READERS"] == "kafka"
    listeners = list_listeners(settings, own_valkey=True, own_kafka=True)
    assert {"KAFKA_PORT", "KAFKA_BRIDGE_PORT"} <= {listener.setting for listener in listeners}


def test_brokers_from_the_environment_leave_tansu_out() -> None:
    assert uses_own_kafka({"PATH": "/bin"})
    assert not uses_own_kafka({"kafka_brokers": ""})
    settings = complete(Settings(kafka_brokers="there:9092"), own_postgres=False)
    names = [part.name for part in list_parts(settings, own_valkey=False)]
    assert names == ["bridge", "gateway", "worker", "server"]
    off = complete(Settings(kafka_brokers=""), own_postgres=False)
    assert "bridge" not in [part.name for part in list_parts(off, own_valkey=False)]


def test_readers_that_somebody_chose_stay() -> None:
    settings = complete(Settings(event_readers="kafka"), own_postgres=True)
    assert settings.event_readers == "kafka"


def test_processes_are_told_which_valkey_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(valkey_port=7001, redis_client="redis://elsewhere")
    assert (
        child_environment(settings, own_valkey=True)["REDIS_CLIENT"] == "redis://127.0.0.1:7001/0"
    )
    monkeypatch.setenv("REDIS_CLIENT", "redis://elsewhere")
    assert child_environment(settings, own_valkey=False)["REDIS_CLIENT"] == "redis://elsewhere"


def test_nobody_needs_a_key_here_unless_somebody_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTH_MODE", raising=False)
    settings = complete(Settings(), own_postgres=True)
    assert settings.auth_mode is AuthMode.OPEN
    assert child_environment(settings, own_valkey=True)["AUTH_MODE"] == "open"
    monkeypatch.setenv("AUTH_MODE", "required")
    settings = complete(Settings(), own_postgres=True)
    assert child_environment(settings, own_valkey=True)["AUTH_MODE"] == "required"


def test_draining_is_short_unless_somebody_chose() -> None:
    chosen, default = Settings(drain_s=30), Settings()
    assert child_environment(default, own_valkey=True)["DRAIN_S"] == "1.0"
    assert child_environment(chosen, own_valkey=True)["DRAIN_S"] == "30.0"
    waits = [
        part.stop_wait_s
        for settings in (default, chosen)
        for part in list_parts(settings, own_valkey=False)
        if part.name == "gateway"
    ]
    assert waits == [16, 45]


def test_logs_are_readable_unless_somebody_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    assert child_environment(Settings(), own_valkey=True)["LOG_FORMAT"] == "console"
    chosen = child_environment(Settings(log_format=LogFormat.JSON), own_valkey=True)
    assert "LOG_FORMAT" not in chosen


def test_what_is_waited_for_says_each_reason_once() -> None:
    waiting = {"postgres": "not listening yet", "server": "503 {}", "worker": "not listening yet"}
    assert summarize(waiting) == "postgres, worker: not listening yet; server: 503 {}"
