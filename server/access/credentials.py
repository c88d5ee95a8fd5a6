"""Authentication of requests, from their headers and addresses."""

import asyncio
import math
import time
from collections.abc import Sequence
from http import HTTPStatus

from common.auth.authenticator import Authenticator
from common.auth.failed_attempts import TOO_MANY_FAILURES, FailedAttempts
from common.auth.principal import Principal
from common.config.networks import Network
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.web.peer_address import peer_address


class CredentialCheck:
    """Authenticator of requests that refuses addresses with too many failures.

    Args:
        authenticator: knows the credentials.
        failed_per_minute: failures that an address has in a minute; 0: any number. In open mode
            nothing is counted.
        proxies: whose `X-Forwarded-For` is trusted.
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
        """Authenticate the sender of a request.

        Args:
            transport: of its connection; None if that is gone.
            authorization: value of that header, if it is there.
            api_key: value of `x-api-key`.
            forwarded_for: value of `X-Forwarded-For`.

        Raises:
            Problem: 429 after too many failures, whatever the credentials are; or as
                `Authenticator.of_headers`.
        """
        if self._attempts.any_recent and transport is not None:
            wait_s = self._attempts.wait_s(
                peer_address(transport, forwarded_for, self._proxies), time.monotonic()
            )
            if wait_s:
                raise Problem(
                    ProblemCode.TOO_MANY_FAILURES,
                    TOO_MANY_FAILURES,
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
