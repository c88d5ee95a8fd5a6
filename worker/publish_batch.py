"""From waiting jobs to publications. Pure: no Redis, no clock of its own."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from common.events.payloads import Expired, PublishedExtra, PublishedFrame, encode
from common.model.channels import channel_of, scoped
from common.model.job import Job, decode_job, weight_of
from common.model.shared_content import content_of, digest_of, place_in

_NULL: Final = msgspec.Raw(b"null")
_OPEN_END: Final = len(b'"}')
Entry = tuple[str, int, bytes, bytes]
"""Scoped channel, accepted (Unix ms), head, extra: see `common/redis/lua/publish/publish.lib.lua`.

In front of the extra may be a reference to a shared content, `@<digest>:<place> `.
"""
_ENTRY_WORDS: Final = 4
_FRAME_BYTES: Final = 256
"""About what a head has besides its content."""


def entry_at_once(text: bytes) -> Entry | None:
    """Entry of a job for one target, to be published without having waited.

    Args:
        text: as `encode_job` writes it.

    Returns:
        None if it has several targets, or may have expired: then it has to wait in its list.
    """
    job = decode_job(text)
    if job.expires_ms is not None or (job.targets is not None and len(job.targets) != 1):
        return None
    return next(_entries(job))


def _entries(job: Job, digest: str = "") -> Iterator[Entry]:
    """Entries of a job; with a digest, without the content that has it."""
    extra = encode(PublishedExtra(job.email)) if job.email else b""
    frame = PublishedFrame(
        job.type, job.id, job.user_id, None, job.message, job.data,
        job.priority, job.created_at, "",
    )  # fmt: skip
    if digest:
        frame.message = frame.data = _NULL
    for target in (None,) if job.targets is None else job.targets:
        frame.target = target
        frame.channel = channel = channel_of(job.type, target)
        head = encode(frame)[:-_OPEN_END]
        refers = b"@%b:%d " % (digest.encode(), place_in(head)) if digest else b""
        yield scoped(channel, job.client), job.created_ms, head, refers + extra


@dataclass(slots=True)
class PublishBatch:
    """Arguments of `common/redis/lua/publish/publish.lua` for some turns, and what they hold.

    `entries` counts publications and expired jobs, `jobs` the jobs, `size` the bytes; `oldest_ms`
    is the Unix time (ms) at which the oldest job was accepted. `published_by` and `expired_by` are
    publications and expired jobs by client. `contents` are those that are shared, by digest.
    `read_bytes` are those of the jobs done, as they waited; `left` tells that some that were read
    are not among them.
    """

    args: list[str | bytes | int] = field(default_factory=list)
    entries: int = 0
    expired: int = 0
    dead: int = 0
    jobs: int = 0
    size: int = 0
    read_bytes: int = 0
    left: bool = False
    oldest_ms: int = sys.maxsize
    published_by: Counter[str] = field(default_factory=Counter)
    expired_by: Counter[str] = field(default_factory=Counter)
    contents: dict[str, bytes] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)

    def content_args(self) -> list[str | bytes | int]:
        """Return how many contents are shared, then digest and content of each."""
        found: list[str | bytes | int] = [len(self.contents)]
        for pair in self.contents.items():
            found += pair
        return found


class BatchBuilder:
    """Adds turn after turn to one batch, within bounds.

    A turn that finds the batch full has its share all the same, so that a large job in front of it
    costs it no round: turns that are given up with nothing done go behind all others.

    Args:
        max_entries: publications in one script call.
        max_bytes: their bytes, about.
        max_turns: turns among which a second batch of that size is shared out; 0: there is none.
    """

    def __init__(self, max_entries: int, max_bytes: int, max_turns: int = 0) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._share_entries = max_entries // max_turns if max_turns else 0
        self._share_bytes = max_bytes // max_turns if max_turns else 0
        self.batch = PublishBatch()

    def add_turn(self, partition: bytes, jobs: list[bytes], now_ms: int) -> None:
        """Add a turn with the jobs that were read, oldest first.

        When the batch is full, what is past the turn's share stays in its list: the turn is given
        up either way, and is made ready again by the script. At least one job is done by a batch,
        however large.
        What is no job (somebody wrote into the list) becomes a dead letter.
        """
        batch = self.batch
        done, entries, weight = 0, 0, 0
        size_before = batch.size
        clients: Counter[str] = Counter()
        args: list[str | bytes | int] = []
        for text in jobs:
            full = batch.entries >= self._max_entries or batch.size >= self._max_bytes
            full = full and batch.jobs > 0
            if full and len(text) > self._share_bytes:
                break
            try:
                job = decode_job(text)
            except msgspec.MsgspecError as error:
                if full and done:
                    break
                args += ("", "dead", text, f"not a job: {error}")
                entries += 1
                batch.dead += 1
            else:
                if full and not self._fits_share(job, entries, batch.size - size_before):
                    break
                entries += self._add_job(job, args, now_ms)
                weight += weight_of(job)
                clients[job.client] += 1
            done += 1
            batch.jobs += 1
            batch.read_bytes += len(text)
        batch.left |= done < len(jobs)
        batch.args += (partition, done, weight, len(clients))
        for pair in clients.items():
            batch.args += pair
        batch.args += (entries, *args)

    def _fits_share(self, job: Job, entries: int, size: int) -> bool:
        """Return whether a job still fits into the share of its turn."""
        targets = 1 if job.targets is None else len(job.targets)
        grows = targets * (len(bytes(job.message)) + len(bytes(job.data)) + _FRAME_BYTES)
        return entries + targets <= self._share_entries and size + grows <= self._share_bytes

    def _add_job(self, job: Job, args: list[str | bytes | int], now_ms: int) -> int:
        batch = self.batch
        batch.ids.append(job.id)
        batch.oldest_ms = min(batch.oldest_ms, job.created_ms)
        before = len(args)
        if job.expires_ms is not None and job.expires_ms < now_ms:
            story = encode(
                Expired(
                    id=job.id, user_id=job.user_id, priority=job.priority, created_at=job.created_at
                )
            )
            for target in [None] if job.targets is None else job.targets:
                args += (scoped(channel_of(job.type, target), job.client), "", story, "")
            batch.expired += 1
            batch.expired_by[job.client] += 1
        else:
            digest, size = self._share(job) if job.shared else ("", 0)
            for entry in _entries(job, digest):
                batch.size += len(entry[2]) + size
                args += entry
            batch.published_by[job.client] += (len(args) - before) // _ENTRY_WORDS
        entries = (len(args) - before) // _ENTRY_WORDS
        batch.entries += entries
        return entries

    def _share(self, job: Job) -> tuple[str, int]:
        """Digest and size of a job's content, which goes with the batch once."""
        content = content_of(bytes(job.message), bytes(job.data))
        digest = digest_of(content)
        self.batch.contents[digest] = content
        return digest, len(content)
