"""Signed tokens: who made them is found out by the verifier's keys, whatever they say themselves."""

from __future__ import annotations

import base64
import json
from io import StringIO
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.spec.marking import requirement

from interlock.auth.jwt import (
    ASYMMETRIC,
    KEYS_AT_MOST,
    SIZE_LIMIT,
    BadToken,
    NoKey,
    SigningKey,
    Token,
    check_times,
    letters,
    peek,
    thumbprint,
    verify,
)

KEYS = {name: SigningKey.generate(name) for name in ASYMMETRIC}
KEY = KEYS["ES256"]
TOKEN = KEY.sign({"sub": "somebody", "exp": 1000})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
MEMBERS = ("kty", "crv", "x", "y", "n", "e", "d", "k", "alg", "use", "kid", "key_ops")


def part(value: Any) -> str:
    return letters(json.dumps(value).encode())


def unsigned(header: Any, claims: Any = None, signature: str = "AA") -> str:
    return f"{part(header)}.{part({} if claims is None else claims)}.{signature}"


def pem(password: bytes | None = None) -> str:
    key = generate_private_key(SECP256R1())
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_what_a_key_signed_verifies_with_its_public_half(algorithm: str):
    key = KEYS[algorithm]
    token = key.sign({"sub": "somebody"}, typ="at+jwt")
    found = verify(token, [key.public], types=("at+jwt",))
    assert found.claims == {"sub": "somebody"}
    assert found.header == {"alg": algorithm, "kid": key.kid, "typ": "at+jwt"}


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_key_is_the_same_after_it_was_kept(algorithm: str):
    key = KEYS[algorithm]
    again = SigningKey(key.to_jwk(), algorithm)
    assert again.public == key.public
    assert again.thumbprint == key.thumbprint
    assert verify(again.sign({}), [key.public]).claims == {}


def test_a_key_of_pem_signs():
    key = SigningKey.from_pem(pem(), "ES256")
    assert verify(key.sign({"a": 1}), [key.public]).claims == {"a": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "letters",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        pem(b"password"),
        generate_private_key(SECP256R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    ],
    ids=["nothing", "letters", "no key in it", "locked", "public"],
)
@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_pem_that_is_no_private_key_is_refused(text: str, algorithm: str):
    with pytest.raises(BadToken):
        SigningKey.from_pem(text, algorithm)


@pytest.mark.parametrize("algorithm", ["HS256", "none", "", "ES256K"])
def test_there_are_no_keys_for_other_algorithms(algorithm: str):
    with pytest.raises(BadToken, match="expected one of ES256"):
        SigningKey.generate(algorithm)
    with pytest.raises(BadToken, match="expected one of ES256"):
        SigningKey(KEY.to_jwk(), algorithm)


def test_the_public_half_says_nothing_private():
    for key in KEYS.values():
        secret = key.to_jwk()["d"]
        assert "d" not in key.public
        assert secret not in repr(key)


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_no_letter_of_a_token_can_be_changed(place: int, letter: str):
    """Not even those that stand for the same bytes: a token seen before must not look new."""
    changed = TOKEN[:place] + letter + TOKEN[place + 1 :]
    if changed != TOKEN:
        with pytest.raises(BadToken):
            verify(changed, [KEY.public])


@given(st.integers(0, len(TOKEN)), st.text(min_size=1, max_size=5))
def test_nothing_can_be_put_into_a_token(place: int, more: str):
    with pytest.raises(BadToken):
        verify(TOKEN[:place] + more + TOKEN[place:], [KEY.public])


@pytest.mark.parametrize("place", range(len(TOKEN)))
def test_a_token_cut_anywhere_does_not_verify(place: int):
    with pytest.raises(BadToken):
        verify(TOKEN[:place], [KEY.public])


@given(st.text())
def test_no_text_is_taken_for_a_token(text: str):
    with pytest.raises(BadToken):
        verify(text, [KEY.public])


@given(JSON, JSON, st.binary(max_size=80))
def test_no_header_makes_anything_but_a_bad_token(header: Any, claims: Any, signature: bytes):
    with pytest.raises(BadToken):
        verify(unsigned(header, claims, letters(signature)), [KEY.public])


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "jwk", "b64", "jku", "x5c"]), JSON))
def test_no_word_of_a_header_helps_a_wrong_signature(said: dict[str, Any]):
    with pytest.raises(BadToken):
        verify(unsigned({"alg": "ES256", **said}, {}, letters(bytes(64))), [KEY.public])


@given(st.sampled_from(ASYMMETRIC), st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=6))
def test_keys_that_make_no_sense_verify_nothing(algorithm: str, strange: dict[str, Any]):
    token = KEYS[algorithm].sign({})
    same = {**KEYS[algorithm].public, **strange}
    try:
        verify(token, [same])
    except BadToken:
        return
    own = KEYS[algorithm].public
    assert all(same[name] == own[name] for name in own if name not in ("alg", "use", "kid"))


@requirement("RS9-10")
@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "HS256"},
        {"alg": "es256"},
        {"alg": ["ES256"]},
        {"alg": None},
        {},
    ],
    ids=str,
)
def test_the_algorithm_is_the_verifiers_choice(header: dict[str, Any]):
    """RFC 8725 § 3.1."""
    with pytest.raises(BadToken, match="algorithm that is not taken"):
        verify(unsigned(header), [KEY.public])


def test_a_public_key_is_no_shared_secret():
    """RFC 8725 § 2.1: a token signed with HS256, its secret being the public key."""
    public = {"kty": "oct", "k": letters(json.dumps(KEY.public).encode())}
    with pytest.raises(BadToken):
        verify(unsigned({"alg": "HS256"}), [public, KEY.public], algorithms=("HS256", "ES256"))


def test_an_algorithm_that_was_not_asked_for_is_refused():
    with pytest.raises(BadToken, match="expected RS256"):
        verify(TOKEN, [KEY.public], algorithms=("RS256",))


def test_a_key_serves_the_algorithm_it_is_for():
    with pytest.raises(NoKey):
        verify(TOKEN, [{**KEY.public, "alg": "ES384"}])
    with pytest.raises(NoKey):
        verify(TOKEN, [{**KEY.public, "use": "enc"}])
    with pytest.raises(NoKey):
        verify(TOKEN, [KEYS["ES384"].public, KEYS["RS256"].public, KEYS["EdDSA"].public])


def test_another_key_of_the_same_kind_does_not_verify():
    other = SigningKey.generate()
    with pytest.raises(NoKey, match="No key"):
        verify(TOKEN, [other.public])
    with pytest.raises(BadToken, match="signature does not hold"):
        verify(TOKEN, [{**other.public, "kid": KEY.kid}])
    without = {name: value for name, value in KEY.public.items() if name != "kid"}
    assert verify(TOKEN, [other.public, without]).claims["sub"] == "somebody"


def test_only_so_many_keys_are_looked_at():
    others = [{"kty": "EC", "crv": "P-256"}] * KEYS_AT_MOST
    with pytest.raises(BadToken):
        verify(TOKEN, [*others, KEY.public])


def test_short_and_endless_rsa_keys_are_refused():
    modulus = letters(b"\xff" * 128)
    for n in (modulus, letters(b"\xff" * 2000)):
        with pytest.raises(BadToken):
            verify(KEYS["RS256"].sign({}), [{"kty": "RSA", "n": n, "e": "AQAB"}])


def test_a_key_in_the_header_is_not_believed():
    mine = SigningKey.generate()
    with pytest.raises(BadToken):
        verify(mine.sign({}, jwk=mine.public, kid=None), [KEY.public])


def test_extensions_that_must_be_understood_are_refused():
    """RFC 7515 § 4.1.11."""
    for crit in ([], ["exp"], None, "b64"):
        with pytest.raises(BadToken, match="must be understood"):
            peek(unsigned({"alg": "ES256", "crit": crit}))


def test_a_token_that_is_too_long_is_not_read():
    with pytest.raises(BadToken):
        peek(KEY.sign({"a": "a" * SIZE_LIMIT}))


@pytest.mark.parametrize(
    ("typ", "types", "taken"),
    [
        ("at+jwt", ("at+jwt",), True),
        ("AT+JWT", ("at+jwt",), True),
        ("application/at+jwt", ("at+jwt",), True),
        ("JWT", ("at+jwt",), False),
        ("dpop+jwt", ("at+jwt", "jwt", ""), False),
        (None, ("at+jwt",), False),
        (None, ("at+jwt", ""), True),
        (7, ("at+jwt", ""), False),
    ],
)
def test_a_token_is_what_it_is_presented_as(typ: object, types: tuple[str, ...], taken: bool):
    header = {"alg": "ES256", "typ": typ}
    token = KEY.sign({}, typ=typ) if typ != 7 else unsigned(header)  # No library writes that one.
    if taken:
        assert verify(token, [KEY.public], types=types)
    else:
        with pytest.raises(BadToken, match="typ"):
            verify(token, [KEY.public], types=types)


@requirement("RS9-10")
@pytest.mark.parametrize(
    ("claims", "complaint"),
    [
        ({"exp": 1060}, None),
        ({"exp": 940.5}, None),
        ({"exp": 940}, "expired"),
        ({}, "until when"),
        ({"exp": "1060"}, "until when"),
        ({"exp": True}, "until when"),
        ({"exp": None}, "until when"),
        ({"exp": 10**400}, "until when"),
        ({"exp": 1060, "nbf": 1060}, None),
        ({"exp": 1060, "nbf": 1061}, "not valid yet"),
        ({"exp": 1060, "nbf": "soon"}, "not valid yet"),
        ({"exp": 1060, "iat": 1061}, "from the future"),
        ({"exp": 1060, "iat": 10**400}, "from the future"),
        ({"exp": 1060, "iat": 1}, None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_token_has_its_time(claims: dict[str, Any], complaint: str | None):
    token = Token({}, claims)
    if complaint is None:
        check_times(token, 1000.0)
    else:
        with pytest.raises(BadToken, match=complaint):
            check_times(token, 1000.0)


def test_a_token_need_not_end_where_that_is_said():
    check_times(Token({}, {}), 1000.0, expires=False)
    with pytest.raises(BadToken, match="expired"):
        check_times(Token({}, {"exp": 1}), 1000.0, expires=False)
    with pytest.raises(BadToken, match="until when"):
        check_times(Token({}, {"exp": "never"}), 1000.0, expires=False)


def test_audiences_and_scopes_are_read_in_either_form():
    assert Token({}, {"aud": "a"}).audiences == ("a",)
    assert Token({}, {"aud": ["a", 1, "b"]}).audiences == ("a", "b")
    assert Token({}, {"aud": {"a": 1}}).audiences == ()
    assert Token({}, {}).audiences == ()
    assert Token({}, {"scope": "a b", "scp": ["c", 1]}).scopes == {"a", "b", "c"}
    assert Token({}, {"scope": {"a": 1}}).scopes == frozenset()


def test_a_thumbprint_is_that_of_the_specification():
    """RFC 7638 § 3.1."""
    key = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc"
        "_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FD"
        "W2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQF"
        "h6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    assert thumbprint(key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON))
def test_what_is_no_key_has_no_thumbprint(strange: dict[str, Any]):
    try:
        thumbprint(strange)
    except BadToken:
        return
    assert strange["kty"] in ("EC", "OKP", "RSA")


def test_padding_is_no_part_of_a_token():
    assert base64.urlsafe_b64encode(b"a").decode() == "YQ=="
    assert letters(b"a") == "YQ"
    head, claims, signature = TOKEN.split(".")
    with pytest.raises(BadToken):
        peek(f"{head}=.{claims}=.{signature}==")


def test_what_a_token_says_is_not_shown_by_accident():
    found = peek(TOKEN)
    out = StringIO()
    Console(file=out).print(found, [found])
    assert "somebody" not in out.getvalue() + repr(found)
