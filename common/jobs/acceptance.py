"""Acceptances: the jobs of one request, queued all or none by the acceptance script."""

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

from common.model.channels import DEFAULT_CLIENT
from common.model.problems import Problem


class Acceptance(NamedTuple):
    """One request to the acceptance script: queue all of these jobs, or none.

    `key` is the idempotency key in its scope (empty: none), `fingerprint` tells whether a repeat is
    the same request, `answer` is the answer to a repeat: the ids, separated by commas.
    `refusal` is why it can't be queued any more: it then has no jobs, and only checks whether it
    repeats a request that was queued in time.
    `weights` are the bytes that each job will take in Redis once it is published (`weight_of`).
    `lane_max` bounds the waiting jobs of `client` in one lane; 0: only the lane does.
    `fan_out_bytes` are message and data times targets, of the notifications for several.
    """

    key: str
    fingerprint: str
    answer: str
    jobs: Sequence[tuple[str, int, bytes]]
    refusal: Problem | None = None
    weights: Sequence[int] = ()
    client: str = DEFAULT_CLIENT
    lane_max: int = 0
    fan_out_bytes: int = 0

    def arguments(self) -> list[str | bytes | int]:
        """Return the arguments that `common/redis/lua/queue/accept.lib.lua` reads."""
        out: list[str | bytes | int] = [
            self.key,
            self.fingerprint,
            self.answer,
            self.client,
            self.lane_max,
            len(self.jobs),
        ]
        for job, weight in zip(self.jobs, self.weights or repeat(0), strict=False):
            out += job
            out.append(weight)
        return out

    @property
    def size(self) -> int:
        """Total size of the jobs in bytes."""
        size = 0
        for _, _, text in self.jobs:
            size += len(text)
        return size
