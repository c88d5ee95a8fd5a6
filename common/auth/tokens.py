"""User tokens: JSON Web Tokens (RFC 7519) that identify a client application's user.

    {"iss": "<client id>", "sub": "<user id>", "exp": 1760000000, "rooms": ["1", "team-*"]}

`iss` names the client whose keys are used. A token with `HS256` is checked only with the client's
secrets, one with `RS256` or `EdDSA` with the public key that its `kid` names, and only by the
algorithm that this key is for: the token's `alg` selects among the client's keys but never how one
is used (RFC 8725, sections 3.1 and 3.2).
"""

import json
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NoReturn

import jwt
from jwt.utils import base64url_decode

from common.auth.client_records import ClientRecord
from common.auth.principal import Principal, Rooms
from common.errors import RoomcastError
from common.model.ids import identifier

TOKEN_MAX_CHARACTERS: Final = 8_192
ROOMS_MAX: Final = 1_000
"""Most rooms and prefixes that a token may name."""
SECRET_ALGORITHM: Final = "HS256"  # noqa: S105 - its name
LATEST_S: Final = 253_402_300_799
"""Last second of the year 9999, as a Unix time: the latest date that we can format."""
PARSED_KEYS_MAX: Final = 1_024
"""Most parsed public keys of either kind that are cached, of all clients together."""
_RSA_MIN_BITS: Final = 2_048
_RSA_MAX_BITS: Final = 4_096
_RSA_EXPONENT: Final = 65_537
_RSA_SIZE: Final = f"an RSA key has {_RSA_MIN_BITS} to {_RSA_MAX_BITS} bits"
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}", re.ASCII)
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
"""RFC 7515, section 7.1; decoders skip other characters, so one token would have many texts."""
_JWS: Final = jwt.PyJWS()


class TokenError(RoomcastError):
    """A token is not accepted. The reason is for the log only; the sender does not see it."""


class ClaimError(TokenError):
    """A token's claims are not accepted, though a key of its client signed them.

    The sender sees the reason, too: nobody could have guessed this token.
    """


_SECRET_MEMBERS: Final = ("k", "d", "p", "q", "dp", "dq", "qi", "oth")
_PUBLIC_MEMBERS: Final = {
    "RSA": ("kty", "kid", "use", "alg", "n", "e"),
    "OKP": ("kty", "kid", "use", "alg", "crv", "x"),
}


def public_key(jwk: dict[str, Any]) -> tuple[str, Any]:
    """Return the algorithm and the key of a JWK.

    Every token that a key signs is checked on the event loop that all clients share, so only keys
    with quick checks are taken: RSA with the usual exponent, and Ed25519.

    Raises:
        ValueError: it is no public RSA key of 2,048 to 4,096 bits, nor one of Ed25519.
    """
    kinds = {"RSA": "RS256", "OKP": "EdDSA"}
    kty = jwk.get("kty")
    algorithm = kinds.get(kty) if isinstance(kty, str) else None
    if algorithm is None:
        raise ValueError("a key is of kty RSA (for RS256) or OKP (for EdDSA with Ed25519)")
    if any(name in jwk for name in _SECRET_MEMBERS):
        raise ValueError("this is a private key; send the public one")
    if jwk.get("alg") not in (None, algorithm):
        raise ValueError(f"a key of kty {kty} is for alg {algorithm}")
    if jwk.get("use") not in (None, "sig"):
        raise ValueError("a key is for signatures: use must be sig")
    if algorithm == "EdDSA":
        if jwk.get("crv") != "Ed25519":
            raise ValueError("of OKP only crv Ed25519 is taken")
        return algorithm, _ed25519(_base64(jwk, "x"))
    return algorithm, _rsa(_base64(jwk, "n"), _base64(jwk, "e"))


def public_members(jwk: dict[str, Any]) -> dict[str, Any]:
    """Return the used members of a JWK that `public_key` took; others mean nothing here."""
    return {name: jwk[name] for name in _PUBLIC_MEMBERS[jwk["kty"]] if jwk.get(name) is not None}


def _base64(jwk: dict[str, Any], name: str) -> str:
    value = jwk.get(name)
    if not isinstance(value, str) or not _BASE64URL.fullmatch(value):
        raise ValueError(f"not a JWK: {name} must be base64url text")
    # Before it is parsed: converting a megabyte to a number takes a while.
    if len(value) > _RSA_MAX_BITS // 6 + 2:
        raise ValueError(f"{name} is too long: {_RSA_SIZE}")
    return value


@lru_cache(maxsize=PARSED_KEYS_MAX)
def _rsa(modulus: str, exponent: str) -> Any:
    if int.from_bytes(base64url_decode(exponent), "big") != _RSA_EXPONENT:
        raise ValueError("the exponent e of an RSA key must be 65537 (AQAB)")
    bits = int.from_bytes(base64url_decode(modulus), "big").bit_length()
    if not _RSA_MIN_BITS <= bits <= _RSA_MAX_BITS:
        raise ValueError(f"this one has {bits} bits: {_RSA_SIZE}")
    return _parsed({"kty": "RSA", "n": modulus, "e": exponent}, "RS256")


@lru_cache(maxsize=PARSED_KEYS_MAX)
def _ed25519(point: str) -> Any:
    return _parsed({"kty": "OKP", "crv": "Ed25519", "x": point}, "EdDSA")


def _parsed(jwk: dict[str, str], algorithm: str) -> Any:
    try:
        return jwt.PyJWK(jwk, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"not a JWK: {error}") from None


def rooms_of(value: object) -> Rooms:
    """Read the `rooms` of a token or a request.

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
    """Reader of tokens.

    Args:
        find: a client that is not disabled, by its id.
        leeway_s: how far the token issuer's clock may differ from ours, in either
            direction (RFC 7519, sections 4.1.4 to 4.1.6).
    """

    def __init__(self, find: Callable[[str], ClientRecord | None], leeway_s: float = 0) -> None:
        self._find = find
        self._leeway_s = leeway_s

    def read(self, token: str) -> Principal:
        """Check a token and return its user.

        Raises:
            ClaimError: its signature is good, but it is not valid now, or a claim is malformed.
            TokenError: it is not accepted for another reason.
        """
        if len(token) > TOKEN_MAX_CHARACTERS:
            raise TokenError("too long")
        if not _COMPACT.fullmatch(token):
            raise TokenError("not a JWT: it must be three parts in base64url, without padding")
        try:
            found = _JWS.decode_complete(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise TokenError(f"not a JWT: {error}") from None
        header, claims = found["header"], _object(found["payload"])
        _object(base64url_decode(token.partition(".")[0]))
        issuer = claims.get("iss")
        client = self._find(issuer) if isinstance(issuer, str) else None
        if client is None:
            raise TokenError("no such client")
        if "crit" in header:
            raise TokenError("it has critical extensions")
        _verify(token, header, client)
        self._check_times(claims)
        if not isinstance(claims.get("sub"), str):
            raise ClaimError("sub must be the user's id, as text")
        try:
            user = identifier(claims["sub"])
        except ValueError:
            raise ClaimError("sub must be 1 to 128 printable characters") from None
        rooms = claims.get("rooms")
        try:
            allowed = rooms_of([] if rooms is None else rooms)
        except ValueError as error:
            raise ClaimError(str(error)) from None
        return Principal(client.id, user=user, rooms=allowed, expires_s=_seconds(claims, "exp"))

    def _check_times(self, claims: dict[str, Any]) -> None:
        if claims.get("exp") is None:
            raise ClaimError("exp is missing")
        now = time.time()
        expired_s = now - _seconds(claims, "exp")
        if expired_s >= self._leeway_s:
            raise ClaimError(f"the token expired {int(expired_s)} s ago")
        for name in ("nbf", "iat"):
            if claims.get(name) is None:
                continue
            early_s = _seconds(claims, name) - now
            if early_s > self._leeway_s:
                raise ClaimError(
                    f"{name} lies {int(early_s)} s ahead of this server's clock, which allows for "
                    f"{self._leeway_s:g} s"
                )


def _seconds(claims: dict[str, Any], name: str) -> float:
    """Return a claim that is a time, as a Unix time in seconds."""
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ClaimError(f"{name} must be a Unix time, a number of seconds")
    # Compared as it is: an integer may be too large for a float.
    if value > LATEST_S:
        raise ClaimError(f"{name} is past the year 9999: it must be in seconds, not milliseconds")
    if not value >= 0:
        raise ClaimError(f"{name} is before 1970: it must be a Unix time in seconds")
    return float(value)


def _object(text: bytes) -> dict[str, Any]:
    try:
        # As text: from bytes, json would accept other encodings and a byte order mark.
        value = json.loads(text.decode(), object_pairs_hook=_distinct, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise TokenError(f"not a JWT: {error}") from None
    if not isinstance(value, dict):
        raise TokenError("its header and its claims are objects")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two equal names, another reader of the token may take the other (RFC 7519, section 4).
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it has a name twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _verify(token: str, header: dict[str, Any], client: ClientRecord) -> None:
    """Make sure that a key of the client signed a token."""
    error: Exception = TokenError("no key of the client fits")
    try:
        for algorithm, key in _candidates(header, client):
            try:
                _JWS.decode_complete(token, key, algorithms=[algorithm])
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as refused:
                error = refused
            else:
                return
    except ValueError as unfit:
        # Registered before such keys were refused.
        error = unfit
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
    # If several fit, we don't find out the right one by trying all.
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
