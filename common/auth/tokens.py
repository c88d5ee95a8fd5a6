"""User tokens: JSON Web Tokens (RFC 7519) that say who a client application's user is.

    {"iss": "<client id>", "sub": "<user id>", "exp": 1760000000, "rooms": ["1", "team-*"]}

`iss` tells whose keys to look at. A token with `HS256` is checked with the client's secrets and
nothing else, one with `RS256` or `EdDSA` with the public key that its `kid` names, and only by the
algorithm that this key is for: what the token says of its algorithm chooses among the client's keys
but never how one is used (RFC 8725, sections 3.1 and 3.2).
"""

import time
from collections.abc import Callable
from typing import Any, Final

import jwt

from common.auth.principal import Principal, Rooms
from common.auth.records import ClientRecord
from common.identifiers import identifier

TOKEN_MAX_CHARACTERS: Final = 8_192
ROOMS_MAX: Final = 1_000
"""Rooms and prefixes that a token may name."""
SECRET_ALGORITHM: Final = "HS256"  # noqa: S105 - its name
_REQUIRED: Final = ["exp", "iss", "sub"]
_RSA_MIN_BITS: Final = 2_048


class TokenError(Exception):
    """A token is not accepted. The text is for the log: who sent it is told only that."""


def public_key(jwk: dict[str, Any]) -> tuple[str, Any]:
    """Algorithm and key of a JWK.

    Raises:
        ValueError: it is no public RSA key of at least 2,048 bits, nor one of Ed25519.
    """
    kinds = {"RSA": "RS256", "OKP": "EdDSA"}
    algorithm = kinds.get(str(jwk.get("kty")))
    if algorithm is None or jwk.get("alg", algorithm) != algorithm:
        raise ValueError("a key is of kty RSA (RS256) or OKP (EdDSA)")
    if algorithm == "EdDSA" and jwk.get("crv") != "Ed25519":
        raise ValueError("of OKP only Ed25519 is taken")
    if "d" in jwk:
        raise ValueError("this is a private key; send the public one")
    try:
        key = jwt.PyJWK(jwk, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"not a JWK: {error}") from None
    if algorithm == "RS256" and key.key_size < _RSA_MIN_BITS:
        raise ValueError(f"an RSA key has at least {_RSA_MIN_BITS} bits")
    return algorithm, key


def rooms_of(value: object) -> Rooms:
    """What a token's or a request's `rooms` allow.

    Raises:
        ValueError: it is no list of names and prefixes.
    """
    if not isinstance(value, list) or len(value) > ROOMS_MAX:
        raise ValueError(f"rooms must be a list of at most {ROOMS_MAX} names")
    names, prefixes = set(), []
    for one in value:
        text = identifier(one)
        if text.endswith("*"):
            prefixes.append(text[:-1])
        else:
            names.add(text)
    return Rooms(frozenset(names), tuple(prefixes))


class TokenReader:
    """Reads tokens.

    Args:
        find: a client that is not disabled, by its id.
    """

    def __init__(self, find: Callable[[str], ClientRecord | None]) -> None:
        self._find = find

    def read(self, token: str) -> Principal:
        """Whom a token is about.

        Raises:
            TokenError: it is not accepted, for whatever reason.
        """
        if len(token) > TOKEN_MAX_CHARACTERS:
            raise TokenError("too long")
        try:
            header = jwt.get_unverified_header(token)
            said = jwt.decode(token, options={"verify_signature": False, "verify_exp": False})
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise TokenError(f"not a JWT: {error}") from None
        client = self._find(said["iss"]) if isinstance(said.get("iss"), str) else None
        if client is None:
            raise TokenError("no such client")
        if "crit" in header:
            raise TokenError("it has critical extensions")
        claims = self._verified(token, header, client)
        try:
            user, rooms = identifier(claims["sub"]), rooms_of(claims.get("rooms", []))
        except ValueError as error:
            raise TokenError(str(error)) from None
        return Principal(client.id, user=user, rooms=rooms, expires_s=float(claims["exp"]))

    @staticmethod
    def _verified(token: str, header: dict[str, Any], client: ClientRecord) -> dict[str, Any]:
        error: Exception = TokenError("no key of the client fits")
        for algorithm, key in _candidates(header, client):
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    issuer=client.id,
                    options={"require": _REQUIRED, "verify_aud": False},
                )
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as refused:
                error = refused
        raise TokenError(str(error))


def _candidates(header: dict[str, Any], client: ClientRecord) -> list[tuple[str, Any]]:
    if header.get("alg") == SECRET_ALGORITHM:
        now_ms = time.time() * 1000
        return [
            (SECRET_ALGORITHM, secret.text)
            for secret in client.secrets
            if not secret.expires_ms or secret.expires_ms > now_ms
        ]
    kid = header.get("kid")
    fitting = [jwk for jwk in client.jwks if kid is None or jwk.get("kid") == kid]
    # Which of several to take is not to be found out by trying all.
    return [public_key(fitting[0])] if len(fitting) == 1 else []


def sign(client: ClientRecord, user: str, rooms: list[str], ttl_s: int) -> tuple[str, int]:
    """Make a token with the client's secret.

    Args:
        client: whose user it is about.
        user: who.
        rooms: names and prefixes of rooms.
        ttl_s: seconds until it expires.

    Returns:
        The token, and the Unix time (s) at which it expires.

    Raises:
        LookupError: the client has no secret.
    """
    if not client.secrets:
        raise LookupError("the client has no secret")
    now = int(time.time())
    claims = {"iss": client.id, "sub": user, "iat": now, "exp": now + ttl_s, "rooms": rooms}
    return jwt.encode(claims, client.secrets[0].text, algorithm=SECRET_ALGORITHM), now + ttl_s
