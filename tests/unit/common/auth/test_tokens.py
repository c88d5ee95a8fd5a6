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
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from common.auth import tokens
from common.auth.client_records import ClientRecord, SecretRecord
from common.auth.principal import EVERY_ROOM
from common.auth.tokens import (
    LATEST_S,
    ROOMS_MAX,
    TOKEN_MAX_CHARACTERS,
    ClaimError,
    TokenError,
    TokenReader,
    public_key,
    rooms_of,
    sign,
)
from tests.support.examples import count

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


ODD_TIMES = {
    "true": "must be",
    "false": "must be",
    "null": "is missing",
    '"1795252000"': "must be",
    "[]": "must be",
    "{}": "must be",
    "-1": "before 1970",
    "-1" + "0" * 400: "before 1970",
    "-1e400": "before 1970",
    "1.5": "expired",
    "0": "expired",
    "1e400": "past the year 9999",
    "1e15": "past the year 9999",
    "1" + "0" * 300: "past the year 9999",
    "1" + "0" * 400: "past the year 9999",
    str(LATEST_S + 1): "past the year 9999",
    "1795792782000": "milliseconds",
}
"""Times as they are written in a token, and what is said of one as `exp`."""


def raw(text: str, header: str = '{"alg":"HS256"}') -> str:
    """A token with these very bytes."""
    parts = [
        base64.urlsafe_b64encode(part.encode("utf-8", "surrogatepass")).rstrip(b"=")
        for part in (header, text)
    ]
    signature = hmac.new(SECRET.encode(), b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


@pytest.mark.parametrize("odd", list(ODD_TIMES))
def test_an_odd_exp_is_refused_with_a_reason_that_helps(odd: str) -> None:
    with pytest.raises(ClaimError, match=ODD_TIMES[odd]):
        READER.read(raw(f'{{"iss":"c1","sub":"ann","exp":{odd}}}'))


@pytest.mark.parametrize("name", ["nbf", "iat"])
@pytest.mark.parametrize("odd", [one for one in ODD_TIMES if one not in ("null", "0", "1.5")])
def test_so_is_an_odd_nbf_or_iat(name: str, odd: str) -> None:
    with pytest.raises(ClaimError, match=f"^{name} "):
        READER.read(raw(f'{{"iss":"c1","sub":"ann","exp":{LATEST_S},"{name}":{odd}}}'))


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "-Infinity", "1" * 5_000])
def test_what_is_no_json_is_no_token(odd: str) -> None:
    with pytest.raises(TokenError, match="not a JWT"):
        READER.read(raw(f'{{"iss":"c1","sub":"ann","exp":{odd}}}'))


def test_the_last_second_there_is_is_a_time() -> None:
    assert READER.read(raw(f'{{"iss":"c1","sub":"ann","exp":{LATEST_S}}}')).expires_s == LATEST_S


@pytest.mark.parametrize("leeway_s", [0, 30])
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_clocks_may_differ_by_the_leeway_and_no_more(name: str, leeway_s: int) -> None:
    reader = TokenReader({"c1": CLIENT}.get, leeway_s)
    # Towards what is refused: a time that has passed of `exp`, one to come of the others.
    sign_of_it = -1 if name == "exp" else 1
    reader.read(jwt.encode(claims(**{name: time.time() + sign_of_it * (leeway_s - 5)}), SECRET))
    with pytest.raises(ClaimError):
        reader.read(jwt.encode(claims(**{name: time.time() + sign_of_it * (leeway_s + 5)}), SECRET))


def test_a_name_that_is_there_twice_is_refused() -> None:
    for twice in (
        '{"iss":"c1","sub":"ann","sub":"bob","exp":9999999999}',
        '{"iss":"c1","sub":"ann","exp":1,"exp":9999999999}',
        '{"iss":"c2","iss":"c1","sub":"ann","exp":9999999999}',
    ):
        with pytest.raises(TokenError, match="twice"):
            READER.read(raw(twice))


def signed(header: bytes, body: bytes) -> str:
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, body)]
    signature = hmac.new(SECRET.encode(), b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"none","alg":"HS256"}', b'{"alg":"HS256","kid":"a","kid":"b"}', b"[]",
        b'{"alg":"HS256","x":NaN}', b'\xef\xbb\xbf{"alg":"HS256"}',
    ],
)  # fmt: skip
def test_a_header_that_others_may_read_in_another_way_is_refused(header: bytes) -> None:
    body = json.dumps(claims()).encode()
    READER.read(signed(b'{"alg":"HS256"}', body))
    with pytest.raises(TokenError):
        READER.read(signed(header, body))


def test_claims_in_another_encoding_are_refused() -> None:
    body = json.dumps(claims())
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        with pytest.raises(TokenError):
            READER.read(signed(b'{"alg":"HS256"}', body.encode(encoding)))


def test_a_token_has_one_text() -> None:
    text = token()
    READER.read(text)
    head, body, signature = text.split(".")
    for other in (f"{text}=", f"{text}==", f"{text}!", f"{text}\n", f" {text}", f"{text}\u00e9",
                  f"{head}.{body}.{signature[:9]}*{signature[9:]}", f"{head}=.{body}.{signature}",
                  f"{head}.{body}..{signature}", f"{text}.", f"{head}.{body}."):  # fmt: skip
        with pytest.raises(TokenError):
            READER.read(other)


def test_nobody_but_the_client_s_own_user_is_told_a_reason() -> None:
    for text in (token("t" * 64, exp=1), token(iss="c9", exp=1), token(iss="c2", exp=1)):
        with pytest.raises(TokenError) as refused:
            READER.read(text)
        assert not isinstance(refused.value, ClaimError)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**320)
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20)
    | st.sampled_from(["c1", "c2", "ann", "HS256", "RS256", "EdDSA", "none", "rsa", "ed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
HEADER_NAMES = ("kid", "crit", "b64", "jku", "jwk", "x5c", "typ", "cty")
TIMES = JSON_VALUES | st.integers(-(10**12), 10**13) | st.floats(0, 1e13)


@settings(max_examples=count(300), deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "iss": st.just("c1") | JSON_VALUES,
            "sub": st.just("ann") | JSON_VALUES,
            "exp": st.just(9_999_999_999) | TIMES,
            "nbf": TIMES,
            "iat": TIMES,
            "rooms": JSON_VALUES,
            "aud": JSON_VALUES,
        },
    )
    | JSON_VALUES,
    st.fixed_dictionaries(
        {"alg": st.just("HS256") | JSON_VALUES},
        optional=dict.fromkeys(
            ("kid", "crit", "b64", "jku", "jwk", "x5c", "typ", "cty"), JSON_VALUES
        ),
    )
    | JSON_VALUES,
)
def test_whatever_a_token_says_it_is_read_or_refused(body: Any, header: Any) -> None:
    # A signature of the client's own: all of it is looked at.
    text = raw(json.dumps(body), json.dumps(header))
    try:
        principal = READER.read(text)
    except TokenError:
        return
    assert (principal.client, principal.user) == ("c1", body["sub"])
    assert principal.expires_s is not None
    assert time.time() - 60 < principal.expires_s <= LATEST_S


@settings(max_examples=count(300), deadline=None)
@given(
    st.text(st.characters(codec=None), max_size=200)
    | st.text('{}[]":,.0123456789eE-+truefalsn', max_size=60).map(raw)
    | st.integers(1, 3_000).map(lambda deep: raw("[" * deep))
    | st.integers(1, 3_000).map(lambda deep: raw('{"iss":' * (deep // 2)))
    | st.integers(1, 3_000).map(lambda deep: raw("{}", "[" * deep))
    | st.integers(0, 3).map(lambda parts: "." * parts)
)
def test_whatever_is_shown_as_a_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        READER.read(text)


def test_the_deepest_and_the_longest_token_is_refused() -> None:
    deep = (TOKEN_MAX_CHARACTERS * 3 // 4 - 200) // 2
    for text in ("[" * deep, "[" * deep + "]" * deep, f'{{"exp":{"9" * deep}}}'):
        with pytest.raises(TokenError):
            READER.read(raw(text))


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


def rsa_jwk(bits: int, exponent: int = 65_537) -> dict[str, Any]:
    """A JWK of so many bits; nobody has its private half."""

    def text(number: int) -> str:
        raw_bytes = number.to_bytes((number.bit_length() + 7) // 8, "big")
        return base64.urlsafe_b64encode(raw_bytes).rstrip(b"=").decode()

    return {"kty": "RSA", "kid": "k", "n": text(1 << (bits - 1) | 1), "e": text(exponent)}


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        (rsa_jwk(1_024), "2048 to 4096 bits"),
        (rsa_jwk(2_047), "2048 to 4096 bits"),
        (rsa_jwk(4_097), "2048 to 4096 bits"),
        (rsa_jwk(16_384), "2048 to 4096 bits"),
        (rsa_jwk(4_000_000), "2048 to 4096 bits"),
        (rsa_jwk(2_048, 3), "65537"),
        (rsa_jwk(2_048, 65_539), "65537"),
        (rsa_jwk(3_072, 1 << 3_000 | 1), "65537"),
        ({**rsa_jwk(2_048), "e": "A" * 100_000}, "too long"),
        ({**rsa_jwk(2_048), "e": 65_537}, "base64url"),
        ({**rsa_jwk(2_048), "n": ["AQAB"]}, "base64url"),
        ({**rsa_jwk(2_048), "n": "AQ AB"}, "base64url"),
        ({**rsa_jwk(2_048), "n": None}, "base64url"),
        ({**rsa_jwk(2_048), "use": "enc"}, "sig"),
        ({**rsa_jwk(2_048), "alg": ["RS256"]}, "RS256"),
        ({**rsa_jwk(2_048), "p": "AQAB"}, "private"),
        ({"kty": ["RSA"]}, "kty"),
        ({"kty": {}}, "kty"),
        ({**ED_JWK, "crv": ["Ed25519"]}, "Ed25519"),
        ({**ED_JWK, "x": "AQAB"}, "not a JWK"),
        ({**ED_JWK, "x": "A" * 1_000_000}, "too long"),
        ({"kty": "EC", "crv": "P-521", "x": "AQAB", "y": "AQAB"}, "kty"),
    ],
)
def test_a_key_that_is_dear_or_odd_is_refused_with_the_reason(
    jwk: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        public_key(jwk)


@pytest.mark.parametrize("bits", [2_048, 3_072, 4_096])
def test_a_key_of_a_usual_size_is_taken(bits: int) -> None:
    assert public_key(rsa_jwk(bits))[0] == "RS256"


@settings(max_examples=count(200), deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["kty", "kid", "use", "alg", "n", "e", "crv", "x", "d", "k"]),
        JSON_VALUES | st.sampled_from(["RSA", "OKP", "Ed25519", "sig", "AQAB", RSA_JWK["n"]]),
    )
)
def test_whatever_is_registered_as_a_key_is_one_or_refused(jwk: dict[str, Any]) -> None:
    try:
        algorithm, key = public_key(jwk)
    except ValueError:
        return
    assert (algorithm, key.key_size) == ("RS256", 2_048)


def test_a_key_that_was_registered_when_any_was_taken_signs_nothing_now() -> None:
    weak = rsa.generate_private_key(3, 2_048)
    jwk = {**json.loads(RSAAlgorithm.to_jwk(weak.public_key())), "kid": "old"}
    reader = TokenReader({"c1": ClientRecord("c1", "one", 1, jwks=(jwk, RSA_JWK))}.get)
    with pytest.raises(TokenError, match="65537"):
        reader.read(token(weak, "RS256", {"kid": "old"}))
    assert reader.read(token(RSA, "RS256", {"kid": "rsa"})).user == "ann"


def test_a_key_is_parsed_once_and_no_more_are_kept_than_there_is_room_for() -> None:
    assert public_key(RSA_JWK)[1] is public_key(dict(RSA_JWK))[1]
    assert public_key(ED_JWK)[1] is public_key(dict(ED_JWK))[1]
    for cached in (tokens._rsa, tokens._ed25519):
        assert cached.cache_info().maxsize == tokens.PARSED_KEYS_MAX


def test_rooms_take_integers_as_ids_do() -> None:
    assert rooms_of([1, "2"]).names == {"1", "2"}
