"""Authentication of requests by their headers, and of sockets by their tokens."""

import logging
import time
from dataclasses import replace
from typing import Final

from common.auth.api_keys import KEY_ID, PREFIX, is_key
from common.auth.client_directory import Directory
from common.auth.client_records import Scope
from common.auth.principal import OPEN, Principal
from common.auth.tickets import TICKET_SCOPES, Grant
from common.auth.tokens import ClaimError, TokenError, TokenReader
from common.config.networks import is_loopback
from common.config.settings import AuthMode, Settings
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem

log = logging.getLogger("roomcast.auth")

_BEARER: Final = "bearer "
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="roomcast"'}
_RETRY_AFTER_S: Final = 1
MISSING: Final = (
    "credentials are missing: send an API key as `x-api-key: rk_...`, "
    "or a key or user token as `Authorization: Bearer ...`"
)
"""Detail of the 401 for a request without credentials, wherever it comes in."""
UNIDENTIFIED: Final = (
    "credentials are missing: send a user token as `Authorization: Bearer ...`, "
    'or on a socket as "token" in the registration'
)
"""The same for a socket or an event stream, which an API key does not open."""


def mode_notes(settings: Settings) -> dict[str, str]:
    """Log an open mode, and return the note about it for `/readyz`."""
    if settings.auth_mode is AuthMode.REQUIRED:
        return {}
    # On a developer's own machine nobody else can connect.
    level = logging.INFO if is_loopback(settings.host) else logging.WARNING
    log.log(level, "AUTH_MODE=open: everybody may do everything here; for development only")
    return {"authMode": "open: everybody may do everything here"}


def unauthorized(detail: str) -> Problem:
    """Make the refusal of wrong or missing credentials."""
    return Problem(ProblemCode.UNAUTHORIZED, detail, headers=_CHALLENGE)


def _refused() -> Problem:
    # The same text for every fault: an attacker does not learn what exists.
    return unauthorized("these credentials are not accepted")


class Authenticator:
    """Authenticator of requests and sockets.

    In open mode nobody needs credentials, but any that are given must be right.

    Args:
        directory: the clients.
        mode: whether credentials are required.
        token_leeway_s: how far the token issuer's clock may differ from ours.
    """

    def __init__(self, directory: Directory, mode: AuthMode, token_leeway_s: float) -> None:
        self._directory = directory
        self._tokens = TokenReader(directory.client, token_leeway_s)
        self._token_leeway_s = token_leeway_s
        self.required = mode is AuthMode.REQUIRED

    def of_headers(self, authorization: str | None, api_key: str | None) -> Principal:
        """Authenticate the sender of a request.

        Args:
            authorization: value of that header, if it is there.
            api_key: value of `x-api-key`.

        Raises:
            Problem: 401; 503 while it can't be known whether the credentials were revoked.
        """
        if authorization is None and api_key is None:
            if self.required:
                raise unauthorized(MISSING)
            return OPEN
        if authorization is not None and api_key is not None:
            raise unauthorized("credentials are there twice")
        if api_key is not None:
            return self._by_key(api_key)
        assert authorization is not None
        if authorization[: len(_BEARER)].lower() != _BEARER:
            raise unauthorized("Authorization must be Bearer, with an API key or a token")
        credentials = authorization[len(_BEARER) :].strip(" ")
        return (
            self._by_key(credentials)
            if credentials.startswith(PREFIX)
            else self.of_token(credentials)
        )

    def operator_of(self, authorization: str | None, api_key: str | None) -> Principal:
        """Authenticate an operator with the scope `admin`; refuse everybody else.

        Raises:
            Problem: as `of_headers`, or 403.
        """
        principal = self.of_headers(authorization, api_key)
        if not principal.operator or Scope.ADMIN not in principal.scopes:
            raise Problem(ProblemCode.FORBIDDEN, "this is for operators")
        return principal

    def of_socket(self, token: str | None) -> Principal:
        """Authenticate the user of a socket or an event stream.

        Args:
            token: as it was shown; None: there is none.

        Raises:
            Problem: as `of_headers`.
        """
        if token is not None:
            return self.of_token(token)
        if self.required:
            raise unauthorized(UNIDENTIFIED)
        return OPEN

    def of_token(self, token: str) -> Principal:
        """Authenticate a user by a token.

        Raises:
            Problem: as `of_headers`.
        """
        self._be_fresh()
        try:
            return self._tokens.read(token)
        except TokenError as error:
            # It may quote invalid Unicode.
            reason = str(error)[:200].encode("ascii", "backslashreplace").decode()
            log.info("a token was refused", extra={"reason": reason})
            if isinstance(error, ClaimError):
                raise unauthorized(f"the token is not accepted: {reason}") from None
            raise _refused() from None

    def of_grant(self, grant: Grant) -> Principal:
        """Authenticate a user by a ticket: its token and its API key must still be valid.

        Raises:
            Problem: as `of_headers`.
        """
        principal = self.of_token(grant.token)
        if not grant.key:
            return principal
        found = self.still_good(replace(principal, key=grant.key))
        if found is None:
            raise _refused()
        return found

    def still_good(self, principal: Principal) -> Principal | None:
        """Limit a ticket's user to the life of its API key; None if the key is not valid now."""
        known = self._directory.key(principal.key)
        if (
            known is None
            or known.principal.client != principal.client
            or not known.principal.scopes >= TICKET_SCOPES
        ):
            return None
        if not known.expires_ms or principal.expires_s is None:
            return principal
        ends_s = known.expires_ms / 1000
        if ends_s <= time.time():
            return None
        # A key has no leeway, but every check of `expires_s` adds it.
        return replace(principal, expires_s=min(principal.expires_s, ends_s - self._token_leeway_s))

    def _by_key(self, text: str) -> Principal:
        self._be_fresh()
        # The checksum is for scanners; here the digest is enough.
        known = self._directory.key(text[KEY_ID])
        if known is None or not is_key(text, known.digest):
            raise _refused()
        if known.expires_ms and known.expires_ms <= time.time() * 1000:
            raise _refused()
        return known.principal

    def _be_fresh(self) -> None:
        if self._directory.is_stale:
            raise Problem(
                ProblemCode.CREDENTIALS_UNKNOWN,
                "Redis does not answer: credentials can't be checked now; repeat",
                retry_after_s=_RETRY_AFTER_S,
            )
