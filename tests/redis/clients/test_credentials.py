"""Authentication of requests by their headers, which addresses can fail only so often."""

import asyncio
import ipaddress
from typing import Any

import pytest
from redis.asyncio import Redis

from common.auth.api_keys import NewKey, new_key
from common.auth.authenticator import Authenticator
from common.auth.client_directory import Directory, DirectoryWriter
from common.auth.client_records import ClientRecord, KeyRecord, Scope
from common.auth.principal import OPEN
from common.config.networks import Network
from common.config.settings import AuthMode
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from server.access.credentials import CredentialCheck
from tests.support.stores.job_queue import GLOBAL_KEYS

PROXY: Network = ipaddress.ip_network("10.0.0.0/8")
WRONG = new_key().text


class Peer(asyncio.BaseTransport):
    """A connection from an address."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 4711)})


ANN, BOB = Peer("192.0.2.1"), Peer("192.0.2.2")


@pytest.fixture
def key() -> NewKey:
    return new_key()


@pytest.fixture
async def directory(redis: Redis, key: NewKey) -> Directory:
    directory = Directory(redis, GLOBAL_KEYS)
    keys = (KeyRecord(key.id, key.digest, frozenset({Scope.READ})),)
    await DirectoryWriter(redis, GLOBAL_KEYS).write([ClientRecord("shop", "Shop", 1, keys=keys)])
    await directory.refresh()
    return directory


def check(
    directory: Directory, failures: int = 2, mode: AuthMode = AuthMode.REQUIRED
) -> CredentialCheck:
    return CredentialCheck(Authenticator(directory, mode, 0), failures, [PROXY])


def refusal(one: CredentialCheck, *request: Any) -> Problem:
    with pytest.raises(Problem) as refused:
        one.principal(*request)
    return refused.value


async def test_a_key_is_taken_from_either_header(directory: Directory, key: NewKey) -> None:
    one = check(directory)
    for request in ((ANN, None, key.text), (ANN, f"Bearer {key.text}", None)):
        found = one.principal(*request)
        assert (found.client, found.key) == ("shop", key.id)
        assert found.scopes == {Scope.READ}


async def test_after_too_many_failures_an_address_waits_even_with_the_right_key(
    directory: Directory, key: NewKey
) -> None:
    one = check(directory)
    for credentials in ((None, WRONG), (None, None)):
        assert refusal(one, ANN, *credentials).code is ProblemCode.UNAUTHORIZED
    refused = refusal(one, ANN, None, key.text)
    assert refused.code is ProblemCode.TOO_MANY_FAILURES
    assert refused.retry_after_s in range(30, 61)
    assert one.principal(BOB, None, key.text).client == "shop"


async def test_a_success_between_failures_does_not_make_them_forgotten(
    directory: Directory, key: NewKey
) -> None:
    one = check(directory)
    refusal(one, ANN, None, WRONG)
    assert one.principal(ANN, None, key.text).client == "shop"
    refusal(one, ANN, None, WRONG)
    assert refusal(one, ANN, None, key.text).code is ProblemCode.TOO_MANY_FAILURES


async def test_behind_a_trusted_proxy_the_failures_are_those_of_whom_it_names(
    directory: Directory, key: NewKey
) -> None:
    one, proxy = check(directory), Peer("10.1.2.3")
    for _ in range(2):
        refusal(one, proxy, None, WRONG, "192.0.2.1")
    assert one.principal(proxy, None, key.text, "192.0.2.2").client == "shop"
    assert refusal(one, proxy, None, key.text, "192.0.2.1").code is ProblemCode.TOO_MANY_FAILURES
    assert refusal(one, ANN, None, key.text).code is ProblemCode.TOO_MANY_FAILURES


async def test_who_is_no_proxy_can_not_blame_another_address(
    directory: Directory, key: NewKey
) -> None:
    one = check(directory)
    for _ in range(2):
        refusal(one, ANN, None, WRONG, "192.0.2.2")
    assert one.principal(BOB, None, key.text).client == "shop"
    assert refusal(one, ANN, None, key.text, "192.0.2.2").code is ProblemCode.TOO_MANY_FAILURES


async def test_failures_without_a_bound_or_a_connection_are_not_counted(
    directory: Directory, key: NewKey
) -> None:
    boundless, bounded = check(directory, failures=0), check(directory, failures=1)
    for _ in range(3):
        assert refusal(boundless, ANN, None, WRONG).code is ProblemCode.UNAUTHORIZED
        assert refusal(bounded, None, None, WRONG).code is ProblemCode.UNAUTHORIZED
    assert bounded.principal(ANN, None, key.text).client == "shop"


async def test_in_open_mode_nothing_is_counted_but_a_wrong_key_is_refused(
    directory: Directory,
) -> None:
    one = check(directory, failures=1, mode=AuthMode.OPEN)
    for _ in range(2):
        assert refusal(one, ANN, None, WRONG).code is ProblemCode.UNAUTHORIZED
    assert one.principal(ANN, None, None) is OPEN


async def test_credentials_that_can_not_be_checked_are_no_failure(
    redis: Redis, directory: Directory, key: NewKey
) -> None:
    unread = Directory(redis, GLOBAL_KEYS)
    one = check(unread, failures=1)
    for _ in range(2):
        assert refusal(one, ANN, None, key.text).code is ProblemCode.CREDENTIALS_UNKNOWN
    await unread.refresh()
    assert one.principal(ANN, None, key.text).client == "shop"
