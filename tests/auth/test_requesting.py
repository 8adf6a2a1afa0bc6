"""Token requests: what every grant sends alike, and what may come of it."""

from __future__ import annotations

import base64
from io import StringIO
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.auth.talk import ISSUER, Played, said, tokens
from tests.spec.marking import requirement

from interlock.auth import dpop
from interlock.auth.jwt import SigningKey, verify
from interlock.auth.metadata import ID_JAG, ClientAuth, Registered
from interlock.auth.requesting import TOKEN_LIMIT, Counter, Tokens, basic, shown, usable_scopes
from interlock.auth.steps import Answer, Fetch, Step
from interlock.errors import AuthorizationFailed

TOKEN = f"{ISSUER}/token"
NOW = 1_000_000.0
FORM = {"grant_type": "refresh_token", "refresh_token": "refresh-token-1", "resource": "r"}


def counter(client: Registered | None = None, method: ClientAuth = "none", **more: Any) -> Counter:
    return Counter(ISSUER, TOKEN, client or Registered("client"), method, clock=lambda: NOW, **more)


def form(step: Step) -> dict[str, str]:
    assert isinstance(step, Fetch)
    assert (step.method, step.headers["content-type"]) == (
        "POST",
        "application/x-www-form-urlencoded",
    )
    fields = parse_qs((step.body or b"").decode(), keep_blank_values=True, strict_parsing=True)
    assert all(len(values) == 1 for values in fields.values())
    return {name: values[0] for name, values in fields.items()}


def headers(step: Step) -> dict[str, str]:
    assert isinstance(step, Fetch)
    return dict(step.headers)


@requirement("CR-05")
def test_a_client_without_a_secret_says_its_name():
    played = Played(tokens())
    found = played.of(counter().request({**FORM, "scope": None}))
    assert form(played.steps[0]) == {**FORM, "client_id": "client"}
    assert "authorization" not in headers(played.steps[0])
    assert found == Tokens("access-1", "Bearer", NOW + 3600)


@requirement("CR-05")
def test_a_secret_in_the_header_is_encoded_as_forms_are():
    """RFC 6749 § 2.3.1."""
    played = Played(tokens())
    played.of(counter(Registered("a:b", "ü c%"), "client_secret_basic").request(FORM))
    word = headers(played.steps[0])["authorization"].removeprefix("Basic ")
    assert base64.b64decode(word) == b"a%3Ab:%C3%BC+c%25"
    assert basic("a:b", "ü c%") == f"Basic {word}"
    assert "client_secret" not in form(played.steps[0])


@requirement("CR-05")
def test_a_secret_in_the_body_is_in_no_header():
    played = Played(tokens())
    played.of(counter(Registered("a", "secret"), "client_secret_post").request(FORM))
    assert form(played.steps[0]) == {**FORM, "client_id": "a", "client_secret": "secret"}
    assert "authorization" not in headers(played.steps[0])


@requirement("CR-05", "XC-02")
def test_a_key_signs_who_we_are_for_this_issuer_and_this_moment():
    """RFC 7523 § 3."""
    key = SigningKey.generate()
    played = Played(tokens())
    played.of(counter(Registered("a"), "private_key_jwt", key=key).request(FORM))
    fields = form(played.steps[0])
    assert fields["client_assertion_type"].endswith(":jwt-bearer")
    claims = verify(fields["client_assertion"], [key.public]).claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("a", "a", ISSUER)
    assert claims["iat"] == NOW
    assert NOW < claims["exp"] <= NOW + 300
    again = Played(tokens())
    again.of(counter(Registered("a"), "private_key_jwt", key=key).request(FORM))
    other = verify(form(again.steps[0])["client_assertion"], [key.public]).claims
    assert other["jti"] != claims["jti"]


def test_who_has_no_key_cannot_sign():
    with pytest.raises(AuthorizationFailed, match="there is no key"):
        Played().of(counter(Registered("a"), "private_key_jwt").request(FORM))


@requirement("XD-01")
def test_tokens_are_bound_by_a_proof():
    proof = SigningKey.generate()
    played = Played(tokens(token_type="dpop"))
    found = played.of(counter(proof=proof).request(FORM))
    checked = dpop.check(headers(played.steps[0])["dpop"], "POST", TOKEN, now=NOW)
    assert (checked.thumbprint, checked.nonce) == (proof.thumbprint, None)
    assert found.token_type == "DPoP"


def wants_nonce(nonce: str = "n-1", status: int = 400) -> Answer:
    return said({"error": "use_dpop_nonce"}, status, dpop_nonce=nonce)


@requirement("XD-02")
@pytest.mark.parametrize("status", [400, 401])
def test_a_nonce_that_is_wanted_is_given_in_another_proof(status: int):
    """RFC 9449 § 8."""
    proof, nonces = SigningKey.generate(), dict[str, str]()
    played = Played(wants_nonce(status=status), tokens(token_type="DPoP"))
    played.of(counter(proof=proof, nonces=nonces).request(FORM))
    first, second = (
        dpop.check(headers(step)["dpop"], "POST", TOKEN, now=NOW) for step in played.steps
    )
    assert (first.nonce, second.nonce) == (None, "n-1")
    assert first.id != second.id
    assert nonces == {ISSUER: "n-1"}


@requirement("XD-02")
def test_the_newest_nonce_is_used_the_next_time():
    proof, nonces = SigningKey.generate(), dict[str, str]()
    bound = said({"access_token": "a", "token_type": "DPoP"}, dpop_nonce="n-2")
    Played(bound).of(counter(proof=proof, nonces=nonces).request(FORM))
    two = Played(tokens(token_type="DPoP"))
    two.of(counter(proof=proof, nonces=nonces).request(FORM))
    assert dpop.check(headers(two.steps[0])["dpop"], "POST", TOKEN, now=NOW).nonce == "n-2"


@requirement("XD-02")
def test_a_server_that_always_wants_another_nonce_is_asked_twice():
    played = Played(wants_nonce("n-1"), wants_nonce("n-2"))
    with pytest.raises(AuthorizationFailed, match="use_dpop_nonce"):
        played.of(counter(proof=SigningKey.generate()).request(FORM))


@pytest.mark.parametrize("nonce", ["", "a b", "ä", "\udcff", "a\r\nb", "n" * 5000])
def test_what_is_no_nonce_is_given_to_nobody(nonce: str):
    nonces: dict[str, str] = {}
    with pytest.raises(AuthorizationFailed):
        Played(wants_nonce(nonce)).of(
            counter(proof=SigningKey.generate(), nonces=nonces).request(FORM)
        )
    assert nonces == {}


def test_who_shows_no_proof_is_asked_for_no_nonce():
    with pytest.raises(AuthorizationFailed, match="use_dpop_nonce"):
        Played(wants_nonce()).of(counter().request(FORM))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (60, NOW + 60),
        (60.5, NOW + 60.5),
        ("60", NOW + 60),
        (0, NOW),
        (-5, NOW),
        (10**400, NOW + 315_360_000),
        (1e300, NOW + 315_360_000),
        (None, None),
        (True, None),
        ("²", None),
        ("9" * 5000, None),
        ("soon", None),
        ("", None),
        ([60], None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_token_has_its_time(given: Any, expected: float | None):
    found = Played(tokens(expires_in=given)).of(counter().request(FORM))
    assert found.expires_at == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a b", ("a", "b")),
        ("a a  b ", ("a", "b")),
        ("", ()),
        (None, None),
        (["a"], None),
        (7, None),
        ('a "b" c\\ ü \x1b[2J', ("a",)),
    ],
)
def test_scopes_are_what_was_granted(given: Any, expected: tuple[str, ...] | None):
    assert Played(tokens(scope=given)).of(counter().request(FORM)).scopes == expected


def test_scopes_are_not_without_number():
    many = " ".join(f"s{number}" for number in range(5000))
    found = Played(tokens(scope=many)).of(counter().request(FORM))
    assert found.scopes == tuple(f"s{number}" for number in range(100))
    assert usable_scopes(["a" * 257, "b"]) == ("b",)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"access_token": None}, "no access token"),
        ({"access_token": ""}, "no access token"),
        ({"access_token": 7}, "no access token"),
        ({"access_token": ["a"]}, "no access token"),
        ({"access_token": "a b"}, "no access token"),
        ({"access_token": "a\r\nX-Evil: 1"}, "no access token"),
        ({"access_token": "a\n"}, "no access token"),
        ({"access_token": "ä"}, "no access token"),
        ({"access_token": "a\x00"}, "no access token"),
        ({"access_token": "a" * (TOKEN_LIMIT + 1)}, "no access token"),
        ({"access_token": "a" * 1_000_000}, "no access token"),
        ({"refresh_token": ""}, "a refresh token that cannot"),
        ({"refresh_token": "a\r\nb"}, "a refresh token that cannot"),
        ({"refresh_token": 7}, "a refresh token that cannot"),
        ({"token_type": None}, "of a type that is not known"),
        ({"token_type": "mac"}, "of a type that is not known"),
        ({"token_type": "N_A"}, "of a type that is not known"),
        ({"token_type": ["Bearer"]}, "of a type that is not known"),
        ({"token_type": "DPoP"}, "a key that was never shown"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_token_that_cannot_be_sent_is_none(more: dict[str, Any], words: str):
    with pytest.raises(AuthorizationFailed, match=words):
        Played(tokens(**more)).of(counter().request(FORM))


def test_a_token_that_was_to_be_bound_is_bound():
    with pytest.raises(AuthorizationFailed, match="not bound to our key"):
        Played(tokens(token_type="Bearer")).of(counter(proof=SigningKey.generate()).request(FORM))


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer"])
def test_the_type_of_a_token_is_a_word_of_any_case(kind: str):
    assert Played(tokens(token_type=kind)).of(counter().request(FORM)).token_type == "Bearer"


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"<html>", b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"]
)
def test_an_answer_that_is_no_object_gives_nothing(body: bytes):
    with pytest.raises(AuthorizationFailed, match="no access token"):
        Played(Answer(200, {}, body)).of(counter().request(FORM))


@pytest.mark.parametrize(
    "given", [None, "urn:ietf:params:oauth:token-type:id_token", ["x"], ID_JAG + " "]
)
def test_something_else_than_was_asked_for_is_not_taken(given: Any):
    answer = tokens(issued_token_type=given, token_type="N_A")
    with pytest.raises(AuthorizationFailed, match=r"something else than the urn.*id-jag"):
        Played(answer).of(counter().request(FORM, issued=ID_JAG))


def test_an_assertion_has_no_type_of_token():
    """RFC 8693 § 2.2.1."""
    answer = tokens(issued_token_type=ID_JAG, token_type="N_A", access_token="assertion")
    assert Played(answer).of(counter().request(FORM, issued=ID_JAG)).access_token == "assertion"


def test_who_cannot_be_reached_is_named():
    with pytest.raises(AuthorizationFailed, match="/token cannot be reached: broke off"):
        Played(Answer(0, {}, b"broke off")).of(counter().request(FORM))


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 404, 500])
def test_only_200_gives_tokens(status: int):
    answer = tokens()
    answer = Answer(status, {"location": "https://evil.example/"}, answer.body)
    with pytest.raises(AuthorizationFailed, match=f"HTTP {status}"):
        Played(answer).of(counter().request(FORM))


def test_an_error_has_a_word_and_says_why():
    answer = said({"error": "invalid_grant", "error_description": "It was used."}, 400)
    with pytest.raises(AuthorizationFailed, match="invalid_grant: It was used") as refused:
        Played(answer).of(counter().request(FORM))
    assert refused.value.error == "invalid_grant"


@pytest.mark.parametrize("word", [7, ["invalid_grant"], "", "a b", "a" * 65, "ä", "a\n", None])
def test_a_word_that_is_none_is_not_passed_on(word: Any):
    with pytest.raises(AuthorizationFailed, match="HTTP 400") as refused:
        Played(said({"error": word}, 400)).of(counter().request(FORM))
    assert refused.value.error is None


@requirement("SEC-15")
def test_nothing_secret_is_shown_though_the_peer_says_it():
    key, proof = SigningKey.generate(), SigningKey.generate()
    client = Registered("client", "se cret+of/the=client")
    for method in ("client_secret_basic", "client_secret_post", "private_key_jwt"):
        secrets: list[str] = []

        def echo(step: Any, secrets: list[str] = secrets) -> Answer:
            fields = form(step)
            secrets += [
                fields["refresh_token"],
                fields.get("client_secret", ""),
                fields.get("client_assertion", ""),
                headers(step).get("authorization", "").removeprefix("Basic "),
                headers(step)["dpop"],
            ]
            said_back = " ".join(secrets[index] for index in (0, 4, 3, 2, 1))
            return said({"error": secrets[0], "error_description": said_back}, 400)

        way = counter(client, method, key=key, proof=proof)
        with pytest.raises(AuthorizationFailed) as refused:
            Played(echo).of(way.request(FORM))
        text = f"{refused.value} {refused.value.error} {refused.value!r}"
        assert not [secret for secret in secrets if secret and secret in text]
        assert refused.value.error is None


def test_a_secret_is_not_shown_in_the_letters_of_forms_either():
    assert shown("it was a%2Bb%2Fc%3D and a+b/c=", ["a+b/c="]) == "it was … and …"


def test_words_that_are_no_secret_stay():
    text = "refresh_token is over for https://mcp.example/mcp"
    with pytest.raises(AuthorizationFailed, match=text):
        Played(said({"error": "invalid_grant", "error_description": text}, 400)).of(
            counter().request({**FORM, "resource": "https://mcp.example/mcp"})
        )


@given(st.text())
def test_what_is_shown_moves_no_cursor(text: str):
    found = shown(text, [])
    assert found.isprintable()
    assert len(found) <= 200


def test_a_token_is_revoked_where_it_came_from():
    """RFC 7009 § 2.1."""
    played = Played(Answer(200))
    way = counter(Registered("a", "secret"), "client_secret_post", proof=SigningKey.generate())
    played.of(way.revoke(f"{ISSUER}/revoke", "refresh-token-1"))
    assert played.urls == [f"{ISSUER}/revoke"]
    assert form(played.steps[0]) == {
        "token": "refresh-token-1",
        "client_id": "a",
        "client_secret": "secret",
    }


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(0, {}, b"broke off"), "/revoke cannot be reached: broke off"),
        (Answer(503), "/revoke refused with HTTP 503"),
        (said({"error": "x", "error_description": "refresh-token-1 secret-2"}, 400), "x: … …$"),
    ],
)
def test_a_token_that_was_not_revoked_says_why(answer: Answer, words: str):
    way = counter(Registered("a", "secret-2"), "client_secret_post")
    with pytest.raises(AuthorizationFailed, match=words):
        Played(answer).of(way.revoke(f"{ISSUER}/revoke", "refresh-token-1"))


def test_tokens_are_not_shown():
    found = Tokens("access-token", refresh_token="refresh-token")
    out = StringIO()
    Console(file=out).print(found, [found])
    text = out.getvalue() + repr(found)
    assert "access-token" not in text
    assert "refresh-token" not in text
    step = Fetch("POST", "https://a.example/token?code=abc", {"authorization": "Basic x1"}, b"b1")
    Console(file=out).print(step, [Answer(200, {"a": "h1"}, b"b1")])
    text = out.getvalue() + repr(step)
    assert not [secret for secret in ("abc", "x1", "b1", "h1") if secret in text]
