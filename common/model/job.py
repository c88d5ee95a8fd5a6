"""Jobs: notifications as they wait in Redis.

A job is JSON, so that it can be read with any Redis client when debugging a queue.
"""

from typing import Final

import msgspec

from common.model.channels import DEFAULT_CLIENT


class Job(msgspec.Struct, rename="camel", omit_defaults=True):
    """One notification of a client application for targets whose channels share a partition.

    `shared` means that its content is kept once for all its targets
    (`common.model.shared_content`). `targets` is None for a broadcast. `created_at` is RFC 3339 in
    UTC, `created_ms` and `expires_ms` are Unix times in milliseconds.
    """

    id: str
    type: str
    user_id: str
    targets: list[str] | None
    message: msgspec.Raw
    data: msgspec.Raw
    priority: str
    created_at: str
    created_ms: int
    expires_ms: int | None = None
    email: str = ""
    client: str = DEFAULT_CLIENT
    shared: bool = False


KEPT_PER_TARGET_BYTES: Final = 1_000
"""Approximate bytes of a publication in Redis (log, event and position) besides its content."""


def weight_of(job: Job) -> int:
    """Estimate the most bytes that a job will take in Redis once it is published.

    It is computed when the job is accepted and again when it is published, so it must depend on
    nothing but the job.
    """
    targets = 1 if job.targets is None else len(job.targets)
    if job.shared:
        # The shared content takes no more than the job did.
        return targets * KEPT_PER_TARGET_BYTES
    size = len(bytes(job.message)) + len(bytes(job.data))
    # In the log and in the event.
    return targets * (2 * size + KEPT_PER_TARGET_BYTES)


_encoder: Final = msgspec.json.Encoder()
_job_decoder: Final = msgspec.json.Decoder(Job)
encode_job: Final = _encoder.encode
"""Job → JSON bytes."""


def decode_job(text: bytes) -> Job:
    """Decode a job from JSON bytes.

    Raises:
        msgspec.MsgspecError: it is not a job as `encode_job` writes it.
    """
    try:
        return _job_decoder.decode(text)
    except (UnicodeDecodeError, RecursionError) as error:
        # msgspec lets these two through; a job that somebody else wrote may cause either.
        raise msgspec.DecodeError(str(error)) from None
