"""Grants as conversations: what goes out, in which order, and what ends them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.auth.talk import ISSUER, REDIRECT, SERVER, Played, came, described, said, tokens
from tests.spec.marking import requirement

from interlock.auth.discovery import Authority
from interlock.auth.flow import (
    client_credentials,
    id_jag,
    log_in,
    redeemable,
    refresh,
    vouched,
    wanted_scopes,
)
from interlock.auth.metadata import ID_JAG, Registered, read_server
from interlock.auth.registering import Standing
from interlock.auth.requesting import Counter, Tokens
from interlock.auth.steps import Fetch, Visit, Visited
from interlock.errors import AuthorizationFailed


def authority(offered: tuple[str, ...] | None = None, **more: Any) -> Authority:
    found = read_server(json.dumps(described(**more)).encode(), ISSUER, None)
    return Authority(SERVER, found, offered)


def counter() -> Counter:
    return Counter(ISSUER, f"{ISSUER}/token", Registered("client"), "none", clock=lambda: 0.0)


def query(url: str) -> dict[str, str]:
    fields = parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert all(len(values) == 1 for values in fields.values())
    return {name: values[0] for name, values in fields.items()}


def body(step: Any) -> dict[str, str]:
    assert isinstance(step, Fetch)
    return query(f"?{(step.body or b'').decode()}")


def back(**more: Any) -> Callable[[Visit], Visited]:
    """A browser that comes back with a code; *more* is said besides, or instead, or not (None)."""

    def visit(step: Visit) -> Visited:
        answer = {"code": "code-1", "state": query(step.url)["state"], **more}
        return came(**{name: value for name, value in answer.items() if value is not None})

    return visit


def login(played: Played, scopes: tuple[str, ...] = (), **more: Any) -> Tokens:
    standing = Standing(Registered("client"), "none")
    return played.of(log_in(authority(**more), standing, counter(), REDIRECT, scopes))


@requirement("CF-01", "CF-02")
def test_a_login_visits_a_page_and_redeems_what_it_brings():
    played = Played(back(), tokens())
    assert login(played, ("a", "b")).access_token == "access-1"
    visit, fetch = played.steps
    assert isinstance(visit, Visit)
    assert (visit.redirect_uri, visit.issuer, visit.scopes) == (REDIRECT, ISSUER, ("a", "b"))
    asked, sent = query(visit.url), body(fetch)
    assert visit.url.startswith(f"{ISSUER}/authorize?")
    assert asked | {"state": "", "code_challenge": ""} == {
        "response_type": "code",
        "client_id": "client",
        "redirect_uri": REDIRECT,
        "state": "",
        "code_challenge": "",
        "code_challenge_method": "S256",
        "resource": SERVER,
        "scope": "a b",
    }
    assert sent | {"code_verifier": ""} == {
        "grant_type": "authorization_code",
        "code": "code-1",
        "redirect_uri": REDIRECT,
        "code_verifier": "",
        "resource": SERVER,
        "client_id": "client",
    }
    digest = hashlib.sha256(sent["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
    assert 43 <= len(sent["code_verifier"]) <= 128
    assert sent["code_verifier"] not in visit.url


@requirement("CF-01", "CF-03")
def test_each_login_has_a_state_and_a_verifier_of_its_own():
    states: set[str] = set()
    verifiers: set[str] = set()
    for _ in range(20):
        played = Played(back(), tokens())
        login(played)
        states.add(query(played.urls[0])["state"])
        verifiers.add(body(played.steps[1])["code_verifier"])
    assert len(states) == len(verifiers) == 20
    assert min(len(state) for state in states) >= 43


def test_without_scopes_none_are_named():
    played = Played(back(), tokens())
    login(played)
    assert "scope" not in query(played.urls[0])


def test_a_refresh_token_is_given_for_consent_only():
    """OpenID Connect Core § 11."""
    played = Played(back(), tokens())
    login(played, ("a", "offline_access"))
    assert query(played.urls[0])["prompt"] == "consent"


def test_an_endpoint_keeps_its_own_query():
    """RFC 6749 § 3.1."""
    played = Played(back(), tokens())
    login(played, authorization_endpoint=f"{ISSUER}/authorize?tenant=a&b=")
    asked = query(played.urls[0])
    assert (asked["tenant"], asked["b"], asked["client_id"]) == ("a", "", "client")


@pytest.mark.parametrize(
    "own",
    [
        "state=theirs",
        "redirect_uri=https://evil.example/",
        "a=b&client_id=other",
        "%73tate=theirs",
        "resource=",
        "code_challenge_method=plain",
    ],
)
def test_an_endpoint_says_nothing_that_is_ours_to_say(own: str):
    with pytest.raises(AuthorizationFailed, match="for this login to say"):
        login(Played(), authorization_endpoint=f"{ISSUER}/authorize?{own}")


def test_without_a_page_nobody_logs_in():
    with pytest.raises(AuthorizationFailed, match="lets nobody log in"):
        login(Played(), authorization_endpoint=None)


@requirement("CF-01")
def test_without_pkce_nobody_leaves_for_a_login():
    with pytest.raises(AuthorizationFailed, match="PKCE"):
        login(Played(), code_challenge_methods_supported=["plain"])


@requirement("CF-03")
@pytest.mark.parametrize(
    "state",
    [None, "", "other", "é", "\udcff", ("x", "x")],
    ids=["none", "empty", "another", "not ASCII", "no text", "twice"],
)
def test_a_browser_that_comes_from_elsewhere_redeems_nothing(state: Any):
    played = Played(back(state=state))
    with pytest.raises(AuthorizationFailed, match="state"):
        login(played)
    assert len(played.steps) == 1


def test_the_right_state_twice_is_not_the_right_one():
    def visit(step: Visit) -> Visited:
        state = query(step.url)["state"]
        return came(code="code-1", state=(state, state))

    with pytest.raises(AuthorizationFailed, match="state more than once"):
        login(Played(visit))


@requirement("CF-04", "SEC-11")
@pytest.mark.parametrize(
    ("always", "iss", "taken"),
    [
        (True, ISSUER, True),
        (True, None, False),
        (None, ISSUER, True),
        (None, None, True),
        (False, None, True),
        (True, "", False),
        (None, "", False),
        (True, f"{ISSUER}/", False),
        (None, f"{ISSUER}/", False),
        (True, "https://AS.example", False),
        (True, "HTTPS://as.example", False),
        (True, "https://as.example:443", False),
        (True, "https://as.exampl%65", False),
        (True, "https://evil.example", False),
        (None, "https://evil.example", False),
        (True, (ISSUER, ISSUER), False),
        (True, (ISSUER, "https://evil.example"), False),
    ],
)
def test_an_answer_says_whose_it_is(always: bool | None, iss: Any, taken: bool):
    """RFC 9207 § 2.4, by the table of 2026-07-28 § Mix-Up Protection."""
    more: dict[str, Any] = {}
    if always is not None:
        more["authorization_response_iss_parameter_supported"] = always
    if taken:
        assert login(Played(back(iss=iss), tokens()), **more).access_token == "access-1"
        return
    played = Played(back(iss=iss))
    with pytest.raises(AuthorizationFailed, match="iss"):
        login(played, **more)
    assert len(played.steps) == 1


@requirement("CF-04", "SEC-11")
@pytest.mark.parametrize("iss", [None, "https://evil.example"])
def test_an_error_of_somebody_else_is_not_shown(iss: str | None):
    answer = back(code=None, error="access_denied", error_description="call 555-1234", iss=iss)
    with pytest.raises(AuthorizationFailed) as refused:
        login(Played(answer), authorization_response_iss_parameter_supported=True)
    assert "555" not in str(refused.value)
    assert refused.value.error is None


def test_an_error_of_a_login_that_is_not_ours_is_not_shown():
    answer = back(code=None, state="x", error="access_denied", error_description="call 555-1234")
    with pytest.raises(AuthorizationFailed, match="another login") as refused:
        login(Played(answer))
    assert "555" not in str(refused.value)


@pytest.mark.parametrize(
    ("more", "words", "error"),
    [
        (
            {"error": "access_denied"},
            "The login was refused at https://as.example$",
            "access_denied",
        ),
        (
            {"error": "invalid_scope", "error_description": "no \x1b]8;;x\x07such"},
            r"failed \(invalid_scope\) at https://as.example: no  \]8;;x such",
            "invalid_scope",
        ),
        ({"error": "a" * 500}, "failed", "a" * 64),
        ({"code": None}, "without a code", None),
        ({"code": ""}, "without a code", None),
        ({"code": ("a", "b")}, "code more than once", None),
        ({"error": ("a", "b")}, "error more than once", None),
        ({"error": "a", "error_description": ("b", "c")}, "more than once", None),
    ],
)
def test_a_login_that_comes_to_nothing_says_why(
    more: dict[str, Any], words: str, error: str | None
):
    played = Played(back(**more))
    with pytest.raises(AuthorizationFailed, match=words) as refused:
        login(played)
    assert refused.value.error == error
    assert len(played.steps) == 1


def test_an_error_beside_a_code_is_an_error():
    with pytest.raises(AuthorizationFailed, match="refused"):
        login(Played(back(error="access_denied")))


def test_the_state_is_not_shown():
    def visit(step: Visit) -> Visited:
        state = query(step.url)["state"]
        states.append(state)
        return came(state=state, error=state[:64], error_description=f"it was {state}")

    states: list[str] = []
    with pytest.raises(AuthorizationFailed) as refused:
        login(Played(visit))
    assert states[0] not in f"{refused.value} {refused.value.error}"


def test_a_code_is_not_shown_though_it_is_refused():
    def answer(step: Fetch) -> Any:
        sent = body(step)
        secrets.update({sent["code"], sent["code_verifier"]})
        text = f"{sent['code']} {sent['code_verifier']}"
        return said({"error": "invalid_grant", "error_description": text}, 400)

    secrets: set[str] = set()
    with pytest.raises(AuthorizationFailed, match="invalid_grant") as refused:
        login(Played(back(), answer))
    assert not [secret for secret in secrets if secret in str(refused.value)]


def test_a_code_is_whatever_the_browser_brought():
    metadata = authority().server
    assert redeemable(came(code="é\x00", state="s"), "s", metadata) == "é\x00"


@requirement("CF-05", "CF-08")
@pytest.mark.parametrize(
    ("offered", "challenged", "before", "told", "expected"),
    [
        (None, (), (), (), set[str]()),
        (("a", "b"), (), (), (), {"a", "b"}),
        (("a", "b"), ("c",), (), (), {"c"}),
        (("a", "b"), (), (), ("d",), {"d"}),
        (("a",), ("c",), ("b",), ("d",), {"b", "c", "d"}),
        (("a",), (), ("b",), (), {"a", "b"}),
        ((), (), (), (), set[str]()),
        (('a"', "b\\", "c d", "é", "", "f"), (), (), (), {"f"}),
    ],
)
def test_what_is_asked_for_is_what_was_challenged_for_and_what_we_had(
    offered: tuple[str, ...] | None,
    challenged: tuple[str, ...],
    before: tuple[str, ...],
    told: tuple[str, ...],
    expected: set[str],
):
    """2026-07-28 § Scope Selection Strategy, Scope Challenge Handling."""
    found = wanted_scopes(authority(offered), challenged=challenged, before=before, told=told)
    assert set(found) == expected
    assert len(found) == len(expected)


@requirement("CF-06")
def test_a_refresh_token_is_asked_for_where_there_is_a_scope_for_it():
    offers = authority(scopes_supported=["a", "offline_access"])
    assert wanted_scopes(offers, challenged=("a",)) == ("offline_access", "a")
    assert wanted_scopes(offers, challenged=("a",), lasting=False) == ("a",)
    assert wanted_scopes(authority(scopes_supported=["a"]), challenged=("a",)) == ("a",)


def test_scopes_are_not_without_number_and_those_that_were_told_stay():
    many = tuple(f"s{number}" for number in range(5000))
    found = wanted_scopes(authority(many), challenged=many, before=many, told=("mine",))
    assert len(found) == 100
    assert "mine" in found


@requirement("CF-02")
def test_a_refresh_names_the_resource():
    played = Played(tokens(refresh_token="r-2"))
    assert played.of(refresh(counter(), "r-1", SERVER)).refresh_token == "r-2"
    assert body(played.steps[0]) == {
        "grant_type": "refresh_token",
        "refresh_token": "r-1",
        "resource": SERVER,
        "client_id": "client",
    }


@requirement("CF-02", "XC-02")
def test_a_program_asks_in_its_own_name():
    played = Played(tokens())
    played.of(client_credentials(authority(), counter(), ("a", "b")))
    assert body(played.steps[0]) == {
        "grant_type": "client_credentials",
        "resource": SERVER,
        "scope": "a b",
        "client_id": "client",
    }


@requirement("CF-02", "XE-02")
def test_what_somebody_vouches_for_is_shown():
    played = Played(tokens())
    played.of(vouched(authority(), counter(), "assertion", ()))
    assert body(played.steps[0]) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": "assertion",
        "resource": SERVER,
        "client_id": "client",
    }


@requirement("XE-01")
def test_a_provider_is_asked_to_vouch_at_this_issuer_for_this_resource():
    """Extension enterprise-managed-authorization; RFC 8693 § 2.1."""
    provider = "https://idp.example/token"
    way = Counter(provider, provider, Registered("at-idp"), "none", clock=lambda: 0.0)
    played = Played(tokens(access_token="jag", token_type="N_A", issued_token_type=ID_JAG))
    assert played.of(id_jag(authority(), way, "id-token", ("a",))) == "jag"
    assert played.urls == [provider]
    assert body(played.steps[0]) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": ID_JAG,
        "subject_token": "id-token",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "audience": ISSUER,
        "resource": SERVER,
        "scope": "a",
        "client_id": "at-idp",
    }


def test_pages_and_what_they_bring_are_not_shown():
    visit = Visit(f"{ISSUER}/authorize?state=secret", REDIRECT, ISSUER)
    assert "secret" not in repr(visit) + repr(came(code="secret-1"))
