"""Who is let in by which credentials, with a directory of clients from a real Valkey."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import pytest
from redis.asyncio import Redis

from common.auth.api_keys import NewKey, new_key
from common.auth.authenticator import Authenticator, mode_notes
from common.auth.client_directory import Directory, DirectoryWriter
from common.auth.client_records import ClientRecord, KeyRecord, Scope, SecretRecord
from common.auth.principal import OPEN, Principal
from common.auth.tickets import TICKET_SCOPES, Grant
from common.config.settings import AuthMode, Settings
from common.model.problems import Problem
from tests.support.processes.stack import GLOBAL_KEYS

LEEWAY_S = 10.0
SECRET = "s" * 64
KEY, ADMIN, EXPIRED, SHORT, READER = (new_key() for _ in range(5))
Make = Callable[..., Awaitable[Authenticator]]


def record(
    an_id: str,
    *keys: NewKey,
    scopes: frozenset[Scope] = TICKET_SCOPES,
    expires_s: float = 0,
    **more: Any,
) -> ClientRecord:
    held = [KeyRecord(key.id, key.digest, scopes, int(expires_s * 1000)) for key in keys]
    fields: dict[str, Any] = {
        "version": 1,
        "secrets": (SecretRecord(SECRET),),
        "keys": tuple(held),
    } | more
    return ClientRecord(an_id, an_id, **fields)


def token(client: str = "shop", key: str = SECRET, **more: Any) -> str:
    claims = {"iss": client, "sub": "ann", "exp": int(time.time()) + 600, **more}
    return jwt.encode(claims, key, algorithm="HS256")


@pytest.fixture
def make(redis: Redis) -> Make:
    async def authenticator(
        *records: ClientRecord, mode: AuthMode = AuthMode.REQUIRED
    ) -> Authenticator:
        await DirectoryWriter(redis, GLOBAL_KEYS).write(records)
        directory = Directory(redis, GLOBAL_KEYS)
        await directory.refresh()
        return Authenticator(directory, mode, LEEWAY_S)

    return authenticator


def refusal(call: Callable[..., object], *arguments: object) -> Problem:
    with pytest.raises(Problem) as refused:
        call(*arguments)
    return refused.value


@pytest.mark.parametrize(
    "given",
    [
        (None, KEY.text),
        (f"Bearer {KEY.text}", None),
        (f"bearer {KEY.text}", None),
        (f"BEARER   {KEY.text} ", None),
    ],
)
async def test_a_key_is_its_client_in_either_header(
    make: Make, given: tuple[str | None, str | None]
) -> None:
    one = await make(record("shop", KEY))
    expected = Principal("shop", TICKET_SCOPES, key=KEY.id)
    assert one.of_headers(*given) == expected


async def test_a_token_is_its_user(make: Make) -> None:
    one = await make(record("shop"))
    found = one.of_headers(f"Bearer {token(rooms=['1', 'team-*'])}", None)
    assert (found.client, found.user, found.scopes, found.key) == ("shop", "ann", frozenset(), "")
    assert [found.rooms.allow(room) for room in ("1", "team-a", "2")] == [True, True, False]


async def test_without_credentials_only_an_open_mode_lets_in(make: Make) -> None:
    required, is_open = await make(), await make(mode=AuthMode.OPEN)
    problem = refusal(required.of_headers, None, None)
    assert is_open.of_headers(None, None) is OPEN
    assert (problem.status, problem.code) == (401, "unauthorized")
    assert problem.response_headers()["WWW-Authenticate"].startswith("Bearer ")


OTHER = new_key()
FORGED = KEY.text[:-10] + "0123456789"
WRONG = [
    pytest.param((None, OTHER.text), id="unknown"),
    pytest.param((None, FORGED), id="forged"),
    pytest.param((None, KEY.id), id="only its id"),
    pytest.param((None, ""), id="empty"),
    pytest.param((None, "rk_\udcff" + KEY.text[4:]), id="odd bytes"),
    pytest.param((None, EXPIRED.text), id="expired"),
    pytest.param(("Bearer ", None), id="nothing"),
    pytest.param((f"Bearer {token(key='x' * 64)}", None), id="signed by somebody else"),
    pytest.param((f"Bearer {token('bank')}", None), id="of nobody"),
    pytest.param(("Bearer a.b.c", None), id="no token"),
]


@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize("mode", AuthMode)
async def test_wrong_credentials_are_refused_in_one_way_in_every_mode(
    make: Make, given: tuple[str | None, str | None], mode: AuthMode
) -> None:
    one = await make(record("shop", KEY), record("old", EXPIRED, expires_s=1), mode=mode)
    problem = refusal(one.of_headers, *given)
    assert problem.status == 401
    # A text of its own would tell an attacker what exists.
    assert problem.detail == "these credentials are not accepted"


@pytest.mark.parametrize(
    "given",
    [(f"Bearer {KEY.text}", KEY.text), ("Basic YTpi", None), (KEY.text, None), ("", None)],
)
async def test_a_header_that_is_not_as_agreed_is_refused(
    make: Make, given: tuple[str | None, str | None]
) -> None:
    one = await make(record("shop", KEY), mode=AuthMode.OPEN)
    assert refusal(one.of_headers, *given).status == 401


async def test_who_signed_a_token_is_told_what_is_wrong_with_it(make: Make) -> None:
    one = await make(record("shop"))
    problem = refusal(one.of_token, token(rooms="\ud800"))
    assert problem.status == 401
    assert problem.detail.startswith("the token is not accepted: ")
    assert problem.detail.isascii()


async def test_a_disabled_client_has_neither_keys_nor_users(make: Make) -> None:
    one = await make(record("shop", KEY, disabled=True))
    assert refusal(one.of_headers, None, KEY.text).status == 401
    assert refusal(one.of_token, token()).status == 401


async def test_nobody_is_let_in_while_what_was_revoked_is_unknown(redis: Redis) -> None:
    one = Authenticator(Directory(redis, GLOBAL_KEYS), AuthMode.OPEN, LEEWAY_S)
    for given in ((None, KEY.text), (f"Bearer {token()}", None)):
        problem = refusal(one.of_headers, *given)
        assert (problem.status, problem.code) == (503, "credentials-unknown")
        assert problem.retry_after_s
    # There is nothing to revoke.
    assert one.of_headers(None, None) is OPEN


async def test_an_operator_needs_the_scope_admin_and_an_operator_s_client(make: Make) -> None:
    admin = frozenset({Scope.ADMIN})
    one = await make(
        record("ops", ADMIN, scopes=admin, operator=True),
        record("reading", READER, scopes=frozenset({Scope.READ}), operator=True),
        record("shop", KEY, scopes=admin),
    )
    assert one.operator_of(None, ADMIN.text).client == "ops"
    for key in (READER, KEY):
        assert refusal(one.operator_of, None, key.text).status == 403
    assert refusal(one.operator_of, f"Bearer {token()}", None).status == 403
    assert refusal(one.operator_of, None, OTHER.text).status == 401


async def test_a_ticket_is_good_while_its_token_and_its_key_are(make: Make) -> None:
    one = await make(record("shop", KEY))
    assert one.of_grant(Grant(token())).key == ""
    found = one.of_grant(Grant(token(), KEY.id))
    assert (found.user, found.key, found.scopes) == ("ann", KEY.id, frozenset())
    assert refusal(one.of_grant, Grant("a.b.c", KEY.id)).status == 401
    assert refusal(one.of_grant, Grant(token(), OTHER.id)).status == 401


@pytest.mark.parametrize(
    "holder",
    [
        pytest.param(record("bank", KEY), id="key of another client"),
        pytest.param(record("shop", KEY, scopes=frozenset({Scope.READ})), id="fewer scopes"),
        pytest.param(record("shop", KEY, expires_s=1), id="expired key"),
        pytest.param(record("shop", KEY, disabled=True), id="disabled client"),
    ],
)
async def test_a_ticket_ends_with_the_right_of_its_key(make: Make, holder: ClientRecord) -> None:
    one = await make(holder)
    assert one.still_good(Principal("shop", user="ann", key=KEY.id, expires_s=9e9)) is None


async def test_a_ticket_s_user_stays_no_longer_than_its_key(make: Make) -> None:
    ends_s = int(time.time()) + 100
    one = await make(record("shop", KEY, SHORT, expires_s=ends_s))
    for expires_s, expected in (
        (ends_s + 500.0, ends_s - LEEWAY_S),
        (ends_s - 50.0, ends_s - 50.0),
    ):
        found = one.still_good(Principal("shop", user="ann", key=KEY.id, expires_s=expires_s))
        assert found is not None
        assert found.expires_s == expected


@pytest.mark.parametrize(
    ("host", "level"), [("127.0.0.1", logging.INFO), ("0.0.0.0", logging.WARNING)]
)
def test_an_open_mode_is_noted_and_is_a_warning_where_others_can_connect(
    host: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = Settings(_env_file=None, auth_mode=AuthMode.OPEN, host=host)
    assert "authMode" in mode_notes(settings)
    assert [record.levelno for record in caplog.records] == [level]
    assert mode_notes(settings.model_copy(update={"auth_mode": AuthMode.REQUIRED})) == {}
    assert len(caplog.records) == 1
