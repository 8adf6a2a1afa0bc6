"""Finding out who gives out tokens for a server, from what it and its authorization server say."""

from __future__ import annotations

from typing import Any

import pytest
from tests.auth.talk import ISSUER, NOTHING, SERVER, Played, described, resource, said, server
from tests.spec.marking import requirement

from interlock.auth.challenge import Challenge
from interlock.auth.discovery import (
    SERVERS_AT_MOST,
    Authority,
    discover,
    find_server,
    require_pkce,
)
from interlock.auth.steps import Answer, Fetch
from interlock.errors import AuthorizationFailed

NAMED = "https://mcp.example/described"
KNOWN = "https://mcp.example/.well-known/oauth-protected-resource"
AS_KNOWN = f"{ISSUER}/.well-known/oauth-authorization-server"
OPENID = f"{ISSUER}/.well-known/openid-configuration"


def challenge(scheme: str = "bearer", **parameters: str) -> Challenge:
    return Challenge(scheme, parameters)


@requirement("CD-01")
def test_the_server_says_where_it_is_described():
    """2026-07-28 § Protected Resource Metadata Discovery Requirements."""
    played = Played(resource(scopes_supported=["a"]), server())
    found = played.of(discover(SERVER, [challenge(resource_metadata=NAMED)]))
    assert played.urls == [NAMED, AS_KNOWN]
    assert (found.resource, found.issuer, found.offered) == (SERVER, ISSUER, ("a",))
    assert not found.dpop
    assert not found.guessed


@requirement("CD-01")
def test_where_it_does_not_say_the_usual_places_are_looked_at_in_order():
    played = Played(NOTHING, resource(), server())
    found = played.of(discover(SERVER))
    assert played.urls == [f"{KNOWN}/mcp", KNOWN, AS_KNOWN]
    assert found.offered is None


@requirement("CD-01")
def test_a_place_that_it_named_in_vain_is_not_the_last():
    played = Played(NOTHING, resource(), server())
    played.of(discover(SERVER, [challenge(resource_metadata=NAMED)]))
    assert played.urls == [NAMED, f"{KNOWN}/mcp", AS_KNOWN]


def test_no_place_is_looked_at_twice():
    played = Played(NOTHING, NOTHING, NOTHING)
    played.of(discover(SERVER, [challenge(resource_metadata=KNOWN)]))
    assert played.urls[:2] == [KNOWN, f"{KNOWN}/mcp"]


@requirement("CD-01")
def test_of_several_challenges_the_first_that_names_a_place_counts():
    played = Played(resource(), server())
    played.of(
        discover(
            SERVER,
            [
                challenge("basic"),
                challenge("dpop", resource_metadata=NAMED),
                challenge(resource_metadata="https://other.example/"),
            ],
        )
    )
    assert played.urls[0] == NAMED


@pytest.mark.parametrize(
    ("challenges", "more", "expected"),
    [
        ([], {}, False),
        ([challenge()], {}, False),
        ([challenge("dpop")], {}, True),
        ([], {"dpop_signing_alg_values_supported": ["ES256"]}, True),
        ([], {"dpop_signing_alg_values_supported": []}, False),
        ([], {"dpop_bound_access_tokens_required": True}, True),
        ([], {"dpop_bound_access_tokens_required": False}, False),
    ],
)
def test_a_server_that_knows_proofs_is_told(
    challenges: list[Challenge], more: dict[str, Any], expected: bool
):
    found = Played(resource(**more), server()).of(discover(SERVER, challenges))
    assert found.dpop is expected


@requirement("CD-04")
def test_an_authorization_server_with_a_path_has_three_places():
    issuer = "https://as.example/tenant"
    played = Played(NOTHING, Answer(403), said(described(issuer=issuer)))
    assert played.of(find_server(issuer)).issuer == issuer
    assert played.urls == [
        f"{AS_KNOWN}/tenant",
        f"{OPENID}/tenant",
        f"{issuer}/.well-known/openid-configuration",
    ]


@requirement("CD-04")
def test_an_issuer_of_openid_is_found():
    played = Played(NOTHING, server())
    played.of(find_server(ISSUER))
    assert played.urls == [AS_KNOWN, OPENID]


def test_an_issuer_that_is_nowhere_described_is_named_with_where_it_was_looked_for():
    with pytest.raises(AuthorizationFailed, match="publishes no metadata; looked at") as refused:
        Played(NOTHING, NOTHING).of(find_server(ISSUER))
    assert AS_KNOWN in str(refused.value)
    assert OPENID in str(refused.value)


@requirement("CD-05")
def test_metadata_of_another_issuer_end_the_search():
    played = Played(server(issuer=f"{ISSUER}/"))
    with pytest.raises(AuthorizationFailed, match="it is not used"):
        played.of(find_server(ISSUER))
    assert played.urls == [AS_KNOWN]


@requirement("CD-02")
def test_metadata_of_another_resource_end_the_search():
    played = Played(resource(resource="https://other.example/mcp"))
    with pytest.raises(
        AuthorizationFailed, match=r"which is not https://mcp.example/mcp; no token"
    ):
        played.of(discover(SERVER))
    assert played.urls == [f"{KNOWN}/mcp"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(0, {}, b"Nothing answers at https://mcp.example"), "cannot be reached: Nothing"),
        (Answer(503), "HTTP 503; try again later"),
        (Answer(200, {}, b"<html>"), "is no protected resource metadata"),
    ],
)
def test_what_nobody_can_tell_at_the_moment_is_not_taken_for_missing(answer: Answer, words: str):
    """Else an outage would lead to guessed endpoints."""
    with pytest.raises(AuthorizationFailed, match=words):
        Played(answer).of(discover(SERVER))


def test_a_server_that_names_nobody_is_nobodys():
    with pytest.raises(AuthorizationFailed, match="names no authorization server; ask whoever"):
        Played(resource(authorization_servers=[])).of(discover(SERVER))


@requirement("CD-03")
def test_one_of_several_is_chosen():
    issuers = [f"https://as{number}.example" for number in range(1000)]
    offered: list[list[str]] = []

    def choose(some: Any) -> str:
        offered.append(list(some))
        return some[2]

    played = Played(resource(authorization_servers=issuers), said(described(issuer=issuers[2])))
    assert played.of(discover(SERVER, (), choose)).issuer == issuers[2]
    assert offered == [issuers[:SERVERS_AT_MOST]]


@requirement("CF-10")
@pytest.mark.parametrize(
    "issuer",
    [
        "http://as.example",
        "https://as.example?tenant=a",
        "https://as.example#a",
        "https://user@as.example",
        "https://",
        "https:///tenant",
        "https://[as.example",
        "https://as.example:port",
        "https://as.example:0",
        "https://as.example/\r\nhost: b",
        "https://as.example/ä",
        "https://as.example\\@evil.example",
        "as.example",
        "/tenant",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://127.0.0.1.evil.example",
        "",
    ],
)
def test_an_issuer_is_an_https_url(issuer: str):
    with pytest.raises(AuthorizationFailed, match="is no https URL"):
        Played(resource(authorization_servers=[issuer])).of(discover(SERVER))


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:9", "http://localhost:9", "http://[::1]:9"])
def test_an_issuer_on_this_machine_needs_no_tls(issuer: str):
    metadata = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
    assert Played(said(metadata)).of(find_server(issuer)).issuer == issuer


ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "registration_endpoint",
    "revocation_endpoint",
)


@requirement("CF-10", "CF-11")
@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize(
    "url",
    [
        "http://as.example/x",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://[as.example/x",
        "https://as.example/$(calc)\nx",
        "https://as.example/`calc`",
        "https://as.example/x#y",
        "https://u:p@as.example/x",
        "/x",
        "",
    ],
)
def test_endpoints_are_https_urls(name: str, url: str):
    with pytest.raises(AuthorizationFailed, match=f"The {name} of .* is no https URL"):
        Played(server(**{name: url})).of(find_server(ISSUER))


@requirement("CD-06")
def test_a_server_of_2025_is_its_own_authorization_server():
    """2025-03-26 § Authorization, Server Metadata Discovery."""
    root = "https://mcp.example"
    played = Played(NOTHING, NOTHING, said(described(issuer=root)))
    found = played.of(discover("https://mcp.example/mcp"))
    assert played.urls[-1] == f"{root}/.well-known/oauth-authorization-server"
    asked = played.steps[-1]
    assert isinstance(asked, Fetch)
    assert asked.headers["mcp-protocol-version"] == "2025-03-26"
    assert (found.issuer, found.resource, found.guessed) == (root, "https://mcp.example/mcp", False)


@requirement("CD-06")
def test_a_server_of_2025_without_metadata_has_its_endpoints_where_they_were():
    """2025-03-26 § Authorization, Fallbacks for Servers without Metadata Discovery."""
    found = Played(NOTHING, NOTHING, NOTHING).of(discover("https://mcp.example/v1/mcp"))
    assert found.guessed
    assert found.server.authorization_endpoint == "https://mcp.example/authorize"
    assert found.server.token_endpoint == "https://mcp.example/token"
    assert found.server.registration_endpoint == "https://mcp.example/register"


def test_nothing_is_guessed_without_tls():
    with pytest.raises(AuthorizationFailed, match="is no https URL"):
        Played(NOTHING, NOTHING, NOTHING).of(discover("http://mcp.example/mcp"))


def test_a_place_that_a_person_named_counts():
    place = "https://login.example/metadata"
    played = Played(resource(), server())
    found = played.of(discover(SERVER, metadata_url=place))
    assert played.urls == [f"{KNOWN}/mcp", place]
    assert (found.resource, found.issuer) == (SERVER, ISSUER)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NOTHING, "HTTP 404: no metadata there"),
        (Answer(500), "HTTP 500; try again"),
        (server(issuer="http://as.example"), "which is no https URL"),
        (server(token_endpoint="http://as.example/token"), "token_endpoint"),
    ],
)
def test_a_place_that_a_person_named_must_be_one(answer: Answer, words: str):
    with pytest.raises(AuthorizationFailed, match=words):
        Played(resource(), answer).of(discover(SERVER, metadata_url="https://login.example/m"))


@requirement("CF-01")
@pytest.mark.parametrize("methods", [None, [], ["plain"], ["s256"]])
def test_an_authorization_server_has_to_say_that_it_knows_pkce(methods: list[str] | None):
    """2026-07-28 § Authorization Code Protection: MUST refuse to proceed."""
    more = {} if methods is None else {"code_challenge_methods_supported": methods}
    metadata = {name: value for name, value in described().items() if "challenge" not in name}
    found = Played(said({**metadata, **more})).of(find_server(ISSUER))
    with pytest.raises(AuthorizationFailed, match="PKCE with S256; it is not safe"):
        require_pkce(Authority(SERVER, found))


def test_where_it_says_so_a_login_is_safe():
    found = Played(server(code_challenge_methods_supported=["plain", "S256"])).of(
        find_server(ISSUER)
    )
    require_pkce(Authority(SERVER, found))
