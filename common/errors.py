"""Base of our exceptions, and the errors of Redis.

Each exception is defined beside what raises it. The whole tree:

    RoomcastError
    ├── CannotRunError: ends a process, and the operator reads why
    │   └── UnfitRedisError (common.redis.client)
    ├── Problem (common.model.problems): answered over HTTP, with a code
    ├── MessageError (ws_gateway.protocol.messages): answered on the socket, with a code
    ├── FrameError (ws_gateway.protocol.frames): closes the socket
    ├── BodyError (common.web.request_body), a ValueError
    ├── TokenError (common.auth.tokens)
    │   └── ClaimError (common.auth.tokens): the sender reads why
    ├── LinkLostError (common.redis.pipelined_connection), one of redis-py's, too
    ├── UnknownVerdictError (common.jobs.accept_script)
    ├── DatabaseAwayError (history.database)
    ├── OutcomeUnknownError (server.notify.accept_batcher)
    ├── OverloadedError (server.notify.accept_batcher)
    ├── RefusedByRedisError (server.notify.accept_batcher)
    ├── TooManyWaitError (server.access.window_counter)
    ├── InvalidRequestError (kafka_bridge.ingest.requests): never to be sent
    ├── NoRoomError (kafka_bridge.ingest.job_queue): try again later
    ├── NeverFitsError (kafka_bridge.ingest.job_queue)
    ├── RefusedByBrokersError (kafka_bridge.brokers)
    ├── NotWrittenError (kafka_bridge.mirror.producer)
    ├── LeftOutError (kafka_bridge.messages.cloud_events), a ValueError
    ├── ArchiveError (kafka_bridge.restore.topic_reader)
    ├── RestoreRefusedError (kafka_bridge.restore.command)
    ├── SecretFileError (common.config.secret_files)
    └── UnfitPathError (deploy.local.supervision.supervisord)

The reference client in `sdk/` has its own, and so has what `make clean` imports
(`deploy.local.supervision.running_stacks`): they are used without the rest.
"""

from typing import Final

from redis.exceptions import RedisError


class RoomcastError(Exception):
    """Base of all exceptions that Roomcast raises itself."""


class CannotRunError(RoomcastError):
    """This process can't do its work here; the text tells the operator why."""


REDIS_ERRORS: Final = (RedisError, OSError)
"""Raised by a call that Redis refused, or whose outcome is unknown. TimeoutError is an OSError."""
