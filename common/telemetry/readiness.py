"""Readiness of a process, probed by trying to deliver, and shared between replicas."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from common.telemetry import outage
from common.telemetry.metrics import collect_replicas, export_build, is_summed

log = logging.getLogger("roomcast.readiness")

PROBE_INTERVAL_S: Final = 1.0
STARTING_INTERVAL_S: Final = 0.1
"""Between the probes of a process that has just started, so that it is sent work at once."""
PROBE_TIMEOUT_S: Final = 2.0
STALE_AFTER_S: Final = 5.0

_ready_at = Gauge(
    "roomcast_ready_at_seconds",
    "Unix time of the last probe that succeeded, of the replica that is worst off",
    multiprocess_mode="livemin",
)


class Readiness:
    """A probe, and its last result.

    Args:
        probe: returns None if the process delivers, or the reason why it doesn't. It may raise.
        notes: more for operators to see in `/readyz`, for instance a mode; it may change.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[str | None]], notes: dict[str, str] | None = None
    ) -> None:
        self._probe = probe
        self._notes = {} if notes is None else notes
        self._reason: str | None = "not probed yet"
        self._succeeded_at = 0.0
        self._began = time.monotonic()
        self._was_ready = False
        self._warned = False
        self._draining = False
        _ready_at.set(0)
        export_build()

    def drain(self) -> None:
        """Answer not ready from now on, and warn no more: whatever is lost is being left."""
        self._draining = True
        outage.leave()

    @property
    def is_starting(self) -> bool:
        """True if the process has just started and was never ready."""
        return not (self._was_ready or time.monotonic() - self._began > outage.START_S)

    async def check(self) -> None:
        """Probe once."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                reason = await self._probe()
        except TimeoutError:
            reason = f"the probe did not come back within {PROBE_TIMEOUT_S:g} s"
        except Exception as error:  # whatever it is, it is the answer
            reason = f"{type(error).__name__}: {error}"
        self._log(reason)
        self._reason = reason
        if reason is None:
            self._succeeded_at = time.time()
            _ready_at.set(self._succeeded_at)

    def _log(self, reason: str | None) -> None:
        if reason is None:
            if self._reason is not None:
                log.info("ready")
            self._was_ready, self._warned = True, False
            return
        # At a start, at a stop, and while a store is away, this is expected.
        expected = self._draining or outage.is_any_recent() or self.is_starting
        if reason != self._reason or not (expected or self._warned):
            level = logging.INFO if expected else logging.WARNING
            log.log(level, "not ready", extra={"reason": reason})
            self._warned = self._warned or not expected

    def status(self) -> tuple[bool, dict[str, str]]:
        """Return True if this process and its replicas deliver, and the body of `/readyz`."""
        if self._draining:
            return False, {"status": "draining", **self._notes}
        if self._reason is not None:
            return False, {"status": "not ready", "reason": self._reason, **self._notes}
        worst = _worst_replica() if is_summed() else self._succeeded_at
        if time.time() - worst > STALE_AFTER_S:
            return False, {
                "status": "not ready",
                "reason": "a replica's probe fails",
                **self._notes,
            }
        return True, {"status": "ready", **self._notes}


def _worst_replica() -> float:
    registry = CollectorRegistry()
    collect_replicas(registry)
    return registry.get_sample_value("roomcast_ready_at_seconds") or 0.0
