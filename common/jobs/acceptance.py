"""Acceptances: all jobs of a request, or none, as the acceptance script takes them."""

from collections.abc import Sequence
from typing import NamedTuple

from common.model.channels import DEFAULT_CLIENT
from common.model.problems import Problem


class Acceptance(NamedTuple):
    """What is asked of the acceptance script: all of these jobs, or none.

    `key` is the idempotency key in its scope (empty: none), `fingerprint` tells whether a repeat is
    the same request, `answer` is what a repeat is answered with: the ids, separated by commas.
    `refusal` is why it can't be queued any more: it has no jobs then, and is asked only to find
    out whether it is a repeat of what was queued in time.
    `weights` are what Redis will hold of each job once it is published, in bytes (`weight_of`).
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
        """Arguments of one request, as `common/redis/lua/queue/accept.lib.lua` reads them."""
        out: list[str | bytes | int] = [
            self.key,
            self.fingerprint,
            self.answer,
            self.client,
            self.lane_max,
            len(self.jobs),
        ]
        for index, job in enumerate(self.jobs):
            out += job
            out.append(self.weights[index] if self.weights else 0)
        return out

    @property
    def size(self) -> int:
        """Bytes of its jobs."""
        return sum(len(text) for _, _, text in self.jobs)
