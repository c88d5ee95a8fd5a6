"""`server/clients/command_line.py`: clients that are made without HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from common.auth.client_records import ALL_SCOPES, Scope, decode_record
from common.config.settings import Settings
from server.clients.command_line import create_client
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, accepts
from tests.support.processes.process import LOOPBACK, free_port
from tests.support.processes.stack import GLOBAL_KEYS
from tests.support.stores.postgres import session_postgres
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until


async def test_a_first_client_is_made_at_the_command_line_and_no_secret_is_asked_for_by_http(
    auth_stack: AuthStack,
) -> None:
    key = auth_stack.run("server", "create-client", "till", "till@example.com")
    await until(lambda: accepts(auth_stack, 0, key))
    ready = auth_stack.get("server-1", "/readyz")[1]
    assert "authMode" not in ready


def test_the_command_line_makes_a_first_key_with_some_scopes(auth_stack: AuthStack) -> None:
    key = auth_stack.run(
        "server", "create-client", "--scopes", "notify,read", "till", "till@example.com"
    )

    async def look() -> None:
        async with Api(auth_stack) as api:
            made = Made("", key)

            async def known() -> bool:
                return (await api("GET", "/notifications", headers=made.bearer)).status == 200

            await until(known)
            assert (await api("GET", "/clients/me/keys", headers=made.bearer)).status == 403

    asyncio.run(look())
    for wrong in (
        ["--scopes", "write"],
        ["--scopes", ""],
        ["--admin", "--scopes", "read"],
    ):
        with pytest.raises(AssertionError, match="usage"):
            auth_stack.run("server", "create-client", *wrong, "till", "till@example.com")


def make(settings: Settings, name: str = "till", email: str = "till@example.com") -> int:
    return create_client(settings, name, email, operator=True, scopes=frozenset({Scope.ADMIN}))


def settings_of(**stores: Any) -> Settings:
    return Settings(_env_file=None, **stores)


def test_a_key_is_printed_alone_and_the_tables_are_made_on_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    valkey = Valkey(tmp_path)
    valkey.start()
    try:
        database = session_postgres(free_port()).make_database()
        assert make(settings_of(redis_client=valkey.url, database_url=database)) == 0
        (record,) = valkey.command("HVALS", GLOBAL_KEYS.clients)
    finally:
        valkey.stop()
    printed = capsys.readouterr()
    known = decode_record(record.partition(" ")[2].encode())
    assert (known.name, known.operator) == ("till", True)
    (key,) = known.keys
    assert key.scopes == {Scope.ADMIN} != ALL_SCOPES
    (line,) = printed.out.splitlines()
    assert line.startswith(f"rk_{key.id}")
    assert f"client {known.id}" in printed.err
    assert line not in printed.err


def test_a_client_is_made_while_redis_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    server = session_postgres(free_port())
    database = server.make_database()
    nobody = f"redis://{LOOPBACK}:{free_port()}/0"
    assert make(settings_of(redis_client=nobody, database_url=database)) == 0
    assert capsys.readouterr().out.startswith("rk_")
    assert server.sql(database, "SELECT name, email, operator FROM clients").split() == [
        "till|till@example.com|t"
    ]


@pytest.mark.parametrize(
    ("name", "email", "said"),
    [
        ("", "ops@example.com", "name: "),
        ("till", "nobody", "email: is no address such as ops@example.com"),
    ],
)
def test_an_invalid_client_is_named_before_any_store_is_asked(
    capsys: pytest.CaptureFixture[str], name: str, email: str, said: str
) -> None:
    assert make(settings_of(database_url=""), name, email) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"no client was made: {said}")


def test_without_a_database_the_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        make(settings_of(database_url=""))
    assert refused.value.code == 2
    assert "DATABASE_URL" in capsys.readouterr().err


def test_a_database_that_is_away_is_named_without_its_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"postgresql://somebody:hunter2@{LOOPBACK}:{free_port()}/none"
    assert make(settings_of(database_url=url)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"@{LOOPBACK}" in printed.err
    assert "hunter2" not in printed.err
