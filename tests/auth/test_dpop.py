"""Proofs that a key is held: for one request, one token, one moment (RFC 9449)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from interlock.auth.dpop import (
    ALGORITHMS,
    TYPE,
    WINDOW,
    bound_to,
    check,
    prove,
    token_hash,
    usable_nonce,
)
from interlock.auth.jwt import BadToken, SigningKey, Token, letters, peek

URL = "https://a.example/mcp"
KEY = SigningKey.generate()
NOW = 1_000_000.0
PROOF = prove(KEY, "POST", URL, now=NOW, token="token")


def signed(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token whose header may be anything, which no library writes."""
    number = int.from_bytes(base64.urlsafe_b64decode(KEY.to_jwk()["d"] + "=="), "big")
    text = ".".join(letters(json.dumps(each).encode()) for each in (header, claims))
    private = ec.derive_private_key(number, ec.SECP256R1())
    pair = decode_dss_signature(private.sign(text.encode(), ec.ECDSA(SHA256())))
    return f"{text}.{letters(b''.join(each.to_bytes(32, 'big') for each in pair))}"


def made(header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A proof of which some parts are not as they should be; `...` leaves one out."""
    said = {"jti": "1", "htm": "POST", "htu": URL, "iat": NOW, **claims}
    public = {name: value for name, value in KEY.public.items() if name in ("kty", "crv", "x", "y")}
    shown = {"typ": TYPE, "alg": "ES256", "jwk": public, **(header or {})}
    parts = [
        {name: value for name, value in part.items() if value is not ...} for part in (shown, said)
    ]
    return signed(*parts)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_proof_holds_for_its_request(algorithm: str):
    key = SigningKey.generate(algorithm)
    proof = prove(key, "GET", f"{URL}?a=b#c", now=NOW, token="token", nonce="nonce")
    found = check(proof, "GET", f"{URL}?other", now=NOW + 10, token="token")
    assert (found.thumbprint, found.nonce, found.issued_at) == (key.thumbprint, "nonce", NOW)


def test_a_proof_gives_no_private_key_away():
    jwk = peek(PROOF).header["jwk"]
    assert set(jwk) == {"kty", "crv", "x", "y"}


def test_each_proof_is_another():
    proofs = {prove(KEY, "POST", URL, now=NOW) for _ in range(50)}
    assert len({peek(proof).text("jti") for proof in proofs}) == 50


@pytest.mark.parametrize(
    ("proof", "complaint"),
    [
        (made(htm="GET"), "method"),
        (made(htm="post"), "method"),
        (made(htm=...), "method"),
        (made(htu="https://b.example/mcp"), "URL"),
        (made(htu="http://a.example/mcp"), "URL"),
        (made(htu="https://a.example:8443/mcp"), "URL"),
        (made(htu="https://a.example/mcp/"), "URL"),
        (made(htu="https://a.example/MCP"), "URL"),
        (made(htu=f"{URL}?a=b"), "URL"),
        (made(htu=f"{URL}#a"), "URL"),
        (made(htu="https://user@a.example/mcp"), "URL"),
        (made(htu="https://[a/mcp"), "URL"),
        (made(htu="/mcp"), "URL"),
        (made(htu=...), "URL"),
        (made(htu=[URL]), "URL"),
        (made(iat=NOW - WINDOW - 1), "just now"),
        (made(iat=NOW + WINDOW + 1), "just now"),
        (made(iat=10**400), "just now"),
        (made(iat=str(NOW)), "just now"),
        (made(iat=...), "just now"),
        (made(jti=...), "id"),
        (made(jti=""), "id"),
        (made(jti=7), "id"),
        (made(jti="a" * 257), "id"),
        (made(ath=...), "another access token"),
        (made(ath=token_hash("other")), "another access token"),
        (made({"typ": "JWT"}), "typ"),
        (made({"typ": ...}), "typ"),
        (made({"jwk": None}), "brings no key"),
        (made({"jwk": ...}), "brings no key"),
        (made({"jwk": "key"}), "brings no key"),
        (made({"jwk": KEY.to_jwk()}), "gives its private key away"),
        (made({"jwk": {"kty": "oct", "k": "AAAA"}}), "gives its private key away"),
        (made({"jwk": {"kty": "oct"}}), "No key"),
        (made({"jwk": {}}), "No key"),
        (made({"jwk": {**KEY.public, "x": 7}}), "signature"),
        (made({"jwk": SigningKey.generate().public}), "signature"),
    ],
)
def test_what_proves_something_else_proves_nothing(proof: str, complaint: str):
    with pytest.raises(BadToken, match=complaint):
        check(proof, "POST", URL, now=NOW, token="token" if complaint.endswith("token") else None)


@pytest.mark.parametrize(
    "htu", ["HTTPS://A.EXAMPLE/mcp", "https://a.example:443/mcp", "https://a.example/mcp"]
)
def test_a_url_is_the_same_however_it_is_written(htu: str):
    """RFC 9449 § 4.3: after normalisation of scheme, host and default port."""
    assert check(made(htu=htu), "POST", URL, now=NOW)


@given(st.integers(0, len(PROOF) - 1), st.characters())
def test_no_letter_of_a_proof_can_be_changed(place: int, letter: str):
    changed = PROOF[:place] + letter + PROOF[place + 1 :]
    if changed != PROOF:
        with pytest.raises(BadToken):
            check(changed, "POST", URL, now=NOW, token="token")


@given(st.text())
def test_no_text_is_taken_for_a_proof(text: str):
    with pytest.raises(BadToken):
        check(text, "POST", URL, now=NOW)


@given(
    st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d"]), st.text() | st.none())
)
def test_no_key_in_a_proof_makes_anything_but_a_bad_token(jwk: dict[str, Any]):
    with pytest.raises(BadToken):
        check(made({"jwk": jwk}), "POST", URL, now=NOW)


@pytest.mark.parametrize("token", ["other", "", "tokén"])
def test_a_proof_is_for_one_token(token: str):
    with pytest.raises(BadToken, match="access token"):
        check(PROOF, "POST", URL, now=NOW, token=token)


def test_who_takes_few_algorithms_takes_no_others():
    with pytest.raises(BadToken, match="expected EdDSA"):
        check(PROOF, "POST", URL, now=NOW, algorithms=("EdDSA",))


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"cnf": {"jkt": "abc"}}, "abc"),
        ({"cnf": {"jkt": 7}}, None),
        ({"cnf": {}}, None),
        ({"cnf": "abc"}, None),
        ({}, None),
    ],
)
def test_a_token_says_which_key_it_is_bound_to(claims: dict[str, Any], expected: str | None):
    assert bound_to(Token({}, claims)) == expected


def test_a_nonce_is_of_the_letters_it_can_have():
    """RFC 9449 § 8.1."""
    assert usable_nonce("eyJ7S_zG.eyJH0-Z") == "eyJ7S_zG.eyJH0-Z"
    for value in (None, "", "a b", 'a"b', "a\\b", "é", "\udcff", "a\r\nb", "a" * 513):
        assert usable_nonce(value) is None
