"""Failed attempts to authenticate: who fails too often waits before the next one is looked at.

It is counted in each process by itself, so that guessing costs no round trip: with N processes that
share a port an address has up to N times the attempts. A key has 256 random bits, so what this
bounds is the work that guessing makes, not the chance to guess right.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from common.address import Network, peer_address
from common.auth.authenticate import Authenticator
from common.auth.principal import Principal
from common.problems import Problem

WINDOW_S: Final = 60.0
ADDRESSES_MAX: Final = 10_000
"""Addresses that are remembered; of more, those that failed longest ago are forgotten."""


class FailedAttempts:
    """How often each address failed within its minute.

    Args:
        most: failures of an address in a minute; 0: any number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._failed: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether any address failed of late."""
        return bool(self._failed)

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._failed)

    def note(self, address: str, now: float) -> None:
        """Count a failure.

        Args:
            address: who failed.
            now: `time.monotonic()`.
        """
        if not self._most:
            return
        since, count = self._failed.pop(address, (now, 0))
        if now - since >= WINDOW_S:
            since, count = now, 0
        self._failed[address] = since, count + 1
        if len(self._failed) > ADDRESSES_MAX:
            self._failed.popitem(last=False)

    def wait_s(self, address: str, now: float) -> float:
        """Seconds until an address may try again; 0: it may now.

        Args:
            address: who tries.
            now: `time.monotonic()`.
        """
        if address not in self._failed:
            return 0.0
        since, count = self._failed[address]
        left = since + WINDOW_S - now
        if left <= 0:
            del self._failed[address]
            return 0.0
        return left if count >= self._most else 0.0


class Gate:
    """Tells who sends a request, unless its address failed too often.

    Args:
        authenticator: knows the credentials.
        failed_per_minute: failures that an address has in a minute; 0: any number. In open mode
            nothing is counted.
        proxies: whose `X-Forwarded-For` is believed.
    """

    def __init__(
        self, authenticator: Authenticator, failed_per_minute: int, proxies: Sequence[Network] = ()
    ) -> None:
        self._authenticator = authenticator
        self._proxies = proxies
        self._attempts = FailedAttempts(failed_per_minute if authenticator.required else 0)

    def principal(
        self,
        transport: asyncio.BaseTransport | None,
        authorization: str | None,
        api_key: str | None,
        forwarded_for: str | None = None,
    ) -> Principal:
        """Who sends a request.

        Args:
            transport: it came over; None if that is gone.
            authorization: value of that header, if it is there.
            api_key: value of `x-api-key`.
            forwarded_for: value of `X-Forwarded-For`.

        Raises:
            Problem: 429 after too many failures, whatever the credentials are; or as
                `Authenticator.of_headers`.
        """
        if self._attempts and transport is not None:
            wait_s = self._attempts.wait_s(
                peer_address(transport, forwarded_for, self._proxies), time.monotonic()
            )
            if wait_s:
                raise Problem(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    "too-many-failures",
                    "too many credentials from this address were not accepted",
                    retry_after_s=math.ceil(wait_s),
                )
        try:
            return self._authenticator.of_headers(authorization, api_key)
        except Problem as problem:
            if problem.status == HTTPStatus.UNAUTHORIZED and transport is not None:
                self._attempts.note(
                    peer_address(transport, forwarded_for, self._proxies), time.monotonic()
                )
            raise
