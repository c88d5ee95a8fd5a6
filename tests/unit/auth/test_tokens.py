"""User tokens: who they are about, and every way in which one is wrong."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from common.auth.principal import EVERY_ROOM
from common.auth.records import ClientRecord, SecretRecord
from common.auth.tokens import ROOMS_MAX, TokenError, TokenReader, public_key, rooms_of, sign

SECRET = "s" * 64
RSA = rsa.generate_private_key(65537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
RSA_JWK = {**json.loads(RSAAlgorithm.to_jwk(RSA.public_key())), "kid": "rsa"}
ED_JWK = {**json.loads(OKPAlgorithm.to_jwk(ED.public_key())), "kid": "ed"}
RSA_PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
CLIENT = ClientRecord("c1", "one", 1, secrets=(SecretRecord(SECRET),), jwks=(RSA_JWK, ED_JWK))
OTHER = ClientRecord("c2", "two", 2, secrets=(SecretRecord("t" * 64),))
READER = TokenReader({"c1": CLIENT, "c2": OTHER}.get)


def claims(**more: Any) -> dict[str, Any]:
    found = {"iss": "c1", "sub": "ann", "exp": time.time() + 86_400, **more}
    return {name: value for name, value in found.items() if value is not None}


def token(key: Any = SECRET, alg: str = "HS256", headers: Any = None, **more: Any) -> str:
    return jwt.encode(claims(**more), key, algorithm=alg, headers=headers)


def by_hand(header: Any, body: Any, key: bytes = SECRET.encode()) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, body)
    ]
    signature = hmac.new(key, b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


@pytest.mark.parametrize(
    "text",
    [
        token(rooms=["1", "team-*"]),
        token(RSA, "RS256", {"kid": "rsa"}, rooms=["1", "team-*"]),
        token(ED, "EdDSA", {"kid": "ed"}, rooms=["1", "team-*"]),
        sign(CLIENT, "ann", ["1", "team-*"], 86_400)[0],
    ],
)
def test_a_good_token_says_who_it_is_about(text: str) -> None:
    principal = READER.read(text)
    assert (principal.client, principal.user, principal.scopes) == ("c1", "ann", frozenset())
    assert principal.expires_s is not None
    assert abs(principal.expires_s - time.time() - 86_400) < 7_200
    assert [principal.rooms.allow(room) for room in ("1", "2", "team-7", "team", "team-")] == [
        True, False, True, False, True,
    ]  # fmt: skip


def test_a_token_without_rooms_allows_none_and_a_star_allows_all() -> None:
    assert not READER.read(token()).rooms.allow("1")
    assert READER.read(token(rooms=["*"])).rooms.allow("anything")
    assert EVERY_ROOM.allow("anything")


def test_an_older_secret_is_good_until_it_expires() -> None:
    now_ms = int(time.time() * 1000)
    for expires_ms, good in ((now_ms + 60_000, True), (now_ms - 1, False)):
        secrets = (SecretRecord("n" * 64), SecretRecord(SECRET, expires_ms))
        reader = TokenReader({"c1": ClientRecord("c1", "one", 3, secrets=secrets)}.get)
        if good:
            assert reader.read(token()).user == "ann"
        else:
            with pytest.raises(TokenError):
                reader.read(token())


BAD = {
    "expired": token(exp=time.time() - 1),
    "without expiry": token(exp=None),
    "not valid yet": token(nbf=time.time() + 86_400),
    "without a user": token(sub=None),
    "user is no text": by_hand({"alg": "HS256"}, claims(sub=7)),
    "user is not printable": token(sub="a\nb"),
    "user is empty": token(sub=""),
    "without a client": token(iss=None),
    "client is no text": by_hand({"alg": "HS256"}, claims(iss=["c1"])),
    "unknown client": token(iss="c9"),
    "another client's secret": token("t" * 64),
    "for another client with ours": token(iss="c2"),
    "no algorithm": jwt.encode(claims(), "", algorithm="none"),
    "no algorithm, other case": by_hand({"alg": "nOnE"}, claims()),
    "another algorithm with the secret": token(alg="HS512"),
    "the public key as a secret": by_hand({"alg": "HS256", "kid": "rsa"}, claims(), RSA_PEM),
    "the JWK as a secret": by_hand(
        {"alg": "HS256", "kid": "rsa"}, claims(), json.dumps(RSA_JWK).encode()
    ),
    "RSA key under another name": token(RSA, "RS256", {"kid": "ed"}),
    "RSA with another padding": token(RSA, "PS256", {"kid": "rsa"}),
    "unknown key": token(RSA, "RS256", {"kid": "other"}),
    "no key named of two": token(RSA, "RS256"),
    "a stranger's RSA key": token(rsa.generate_private_key(65537, 2048), "RS256", {"kid": "rsa"}),
    "its own key brought along": token(
        rsa.generate_private_key(65537, 2048), "RS256", {"jwk": RSA_JWK, "kid": "x"}
    ),
    "critical extension": by_hand({"alg": "HS256", "crit": ["exp"], "exp": 1}, claims()),
    "rooms are no list": token(rooms="1"),
    "too many rooms": token(rooms=[f"{n}" for n in range(ROOMS_MAX + 1)]),
    "room is no text": token(rooms=[{}]),
    "endless expiry": by_hand({"alg": "HS256"}, claims(exp=1e400)),
    "expiry is text": by_hand({"alg": "HS256"}, claims(exp="later")),
    "too long": token(x="y" * 9_000),
    "not a token": "rubbish",
    "half a token": token()[:-20],
    "empty": "",
    "not ASCII": "é.é.é",
    "body is a list": by_hand({"alg": "HS256"}, []),
    "header is a list": by_hand([], claims()),
}


@pytest.mark.parametrize("text", list(BAD.values()), ids=list(BAD))
def test_a_bad_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        READER.read(text)


def test_every_changed_character_of_a_token_is_seen() -> None:
    text = token()
    for at in range(len(text)):
        changed = "A" if text[at] != "A" else "Q"
        # The last character of base64 carries bits that mean nothing.
        if at == len(text) - 1 or text[at] == ".":
            continue
        with pytest.raises(TokenError):
            READER.read(text[:at] + changed + text[at + 1 :])


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "c2VjcmV0"},
        {**RSA_JWK, "alg": "HS256"},
        {**RSA_JWK, "n": "AQAB"},
        {"kty": "RSA", "n": "!", "e": "AQAB"},
        {"kty": "OKP", "crv": "X25519", "x": ED_JWK["x"]},
        {"kty": "OKP", "crv": "Ed448", "x": ED_JWK["x"]},
        json.loads(OKPAlgorithm.to_jwk(ED)),
        json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key())),
    ],
)
def test_what_is_no_fit_public_key_is_refused(jwk: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        public_key(jwk)


def test_rooms_take_integers_as_ids_do() -> None:
    assert rooms_of([1, "2"]).names == {"1", "2"}
