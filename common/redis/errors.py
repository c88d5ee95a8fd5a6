"""Errors of calls to Redis, which many modules handle alike."""

from typing import Final

from redis.exceptions import RedisError

REDIS_ERRORS: Final = (RedisError, OSError)
"""Raised by a call that Redis refused, or whose outcome is unknown. TimeoutError is an OSError."""
