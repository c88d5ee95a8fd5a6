"""Which URLs of stores are refused, and that nothing of a password is ever quoted."""

import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import parse_url

from common.config.store_urls import (
    DATABASE_SCHEMES,
    REDIS_SCHEMES,
    check_url,
    with_authority,
    without_password,
)
from tests.support.examples import examples


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "rediss://user:p%40ss@redis.example",
        "redis://[::1]:6379/0",
        "redis://:a@b@host:1/0",
        "unix:///run/valkey.sock?db=1",
    ],
)
def test_these_are_urls_of_redis(url: str) -> None:
    check_url(url, REDIS_SCHEMES)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres@postgres:5432/roomcast",
        "postgresql://u:p@one:5432,two:5433/db?sslmode=verify-full",
        "postgres:///db?host=/run/postgresql&user=me@here",
    ],
)
def test_these_are_urls_of_postgresql(url: str) -> None:
    check_url(url, DATABASE_SCHEMES)


@pytest.mark.parametrize("special", ["/", "#", "?", "[", "]", ":@x:y", "/@", "]["])
@pytest.mark.parametrize("password", ["hunter2", "1234"])
def test_a_password_that_is_not_encoded_is_not_quoted(password: str, special: str) -> None:
    url = f"redis://me:{password}{special}{password}@redis.example:6379/0"
    said = ""
    try:
        check_url(url, REDIS_SCHEMES)
    except ValueError as error:
        said = "".join(traceback.format_exception(error))
    else:
        # The library reads it as it was meant: the host, which errors name, is not the password.
        said = str(parse_url(url)["host"])
    assert said
    assert password not in said


@pytest.mark.parametrize("special", ["/", "#", "?"])
def test_a_host_that_may_be_a_user_is_refused(special: str) -> None:
    with pytest.raises(ValueError, match="percent-encoded"):
        check_url(f"redis://me:12{special}34@redis.example", REDIS_SCHEMES)


@pytest.mark.parametrize("url", ["", "http://there", "127.0.0.1:6379", "redis.example"])
def test_another_scheme_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with redis://, rediss://, unix://"):
        check_url(url, REDIS_SCHEMES)


@given(st.text(max_size=40))
@examples(200)
def test_what_is_accepted_the_library_can_read(rest: str) -> None:
    url = f"redis://{rest}"
    try:
        check_url(url, REDIS_SCHEMES)
    except ValueError:
        return
    parse_url(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:secret@there:1/0", "redis://***@there:1/0"),
        ("postgresql://there/db?password=secret&user=me", "postgresql://there/db"),
        ("redis://there/1", "redis://there/1"),
    ],
)
def test_what_may_be_shown_has_no_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize("path", ["/etc/ca.pem", "/with space/100%/ä&b=#.pem"])
@pytest.mark.parametrize("url", ["rediss://u:p@there:1/2", "rediss://there?db=2"])
def test_the_file_of_authorities_reaches_the_library(url: str, path: str) -> None:
    read: Any = parse_url(with_authority(url, path))
    assert (read["ssl_ca_certs"], read["db"]) == (path, 2)
    assert with_authority(url, "") == url
