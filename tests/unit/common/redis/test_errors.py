import asyncio

import pytest
from redis import exceptions

from common.redis.errors import REDIS_ERRORS


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError,
        asyncio.TimeoutError,
        ConnectionResetError,
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        exceptions.ResponseError,
        exceptions.NoScriptError,
    ],
)
def test_everything_that_a_call_to_redis_may_raise_is_caught(error: type[Exception]) -> None:
    assert issubclass(error, REDIS_ERRORS)
