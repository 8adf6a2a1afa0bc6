"""Who we are at an authorization server, and how we become it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.auth.talk import ISSUER, REDIRECT, Played, described, said
from tests.spec.marking import requirement

from interlock.auth.jwt import SigningKey
from interlock.auth.metadata import AuthorizationServer, Registered, read_server
from interlock.auth.registering import Identity, Standing, known, stand
from interlock.auth.steps import Answer, Fetch
from interlock.errors import AuthorizationFailed, ConfigError

DOCUMENT = "https://client.example/id.json"
NOW = 1000.0


def authority(**more: Any) -> AuthorizationServer:
    return read_server(json.dumps(described(**more)).encode(), ISSUER, ISSUER)


def standing(
    server: AuthorizationServer,
    identity: Identity,
    *answers: Answer,
    before: Registered | None = None,
    redirect_uri: str = REDIRECT,
) -> tuple[Standing, Played]:
    played = Played(*answers)
    return played.of(stand(server, identity, redirect_uri, before=before, now=NOW)), played


@requirement("CR-01")
def test_a_client_that_is_known_registers_nowhere():
    """2026-07-28 § Client Registration: pre-registered first."""
    identity = Identity(known=Registered("by-hand", "secret"), document=DOCUMENT)
    found, played = standing(authority(client_id_metadata_document_supported=True), identity)
    assert (found.client.client_id, found.method, found.fresh) == (
        "by-hand",
        "client_secret_basic",
        False,
    )
    assert played.steps == []


@requirement("CR-04")
def test_a_client_that_is_known_elsewhere_is_used_only_there():
    identity = Identity(known=Registered("by-hand", "secret"), issuer="https://other.example")
    with pytest.raises(
        AuthorizationFailed, match=r"registered at https://other.example, and"
    ) as no:
        standing(authority(), identity)
    assert "secret" not in str(no.value)


@requirement("CR-04")
@pytest.mark.parametrize("issuer", [f"{ISSUER}/", "https://AS.example", "https://as.example:443"])
def test_the_issuer_of_a_known_client_is_compared_letter_by_letter(issuer: str):
    with pytest.raises(AuthorizationFailed):
        known(authority(), Identity(known=Registered("by-hand"), issuer=issuer))


@requirement("CR-01", "CR-02")
def test_a_document_comes_before_a_registration():
    server = authority(client_id_metadata_document_supported=True)
    found, played = standing(server, Identity(document=DOCUMENT), before=Registered("old"))
    assert found == Standing(Registered(DOCUMENT), "none")
    assert played.steps == []


@requirement("CR-02")
def test_a_document_is_proved_with_its_key():
    server = authority(client_id_metadata_document_supported=True)
    found, _ = standing(server, Identity(document=DOCUMENT, key=SigningKey.generate()))
    assert found.method == "private_key_jwt"


@requirement("CR-01")
def test_a_document_that_nobody_reads_is_no_help():
    found, played = standing(
        authority(client_id_metadata_document_supported=False),
        Identity(document=DOCUMENT),
        said({"client_id": "registered"}, 201),
    )
    assert found.client.client_id == "registered"
    assert played.urls == [f"{ISSUER}/register"]


@requirement("CR-02")
@pytest.mark.parametrize(
    "document",
    [
        "http://client.example/id.json",
        "https://client.example",
        "https://client.example/",
        "https://client.example/id.json#a",
        "https://client.example/id.json#",
        "https://[client.example/id.json",
        "id.json",
        "",
    ],
)
def test_a_document_has_an_https_url_with_a_path(document: str):
    """draft-ietf-oauth-client-id-metadata-document § 3."""
    with pytest.raises(ConfigError, match="cannot be a client's id"):
        Identity(document=document)


@requirement("CR-03", "CF-06")
def test_a_registration_says_what_we_are():
    """RFC 7591 § 2; 2026-07-28 § Dynamic Client Registration: MUST say its application type."""
    server = authority(token_endpoint_auth_methods_supported=["none"])
    found, played = standing(server, Identity("Somebody"), said({"client_id": "new"}, 201))
    step = played.steps[0]
    assert isinstance(step, Fetch)
    assert step.method == "POST"
    assert json.loads(step.body or b"") == {
        "client_name": "Somebody",
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
        "software_id": "interlock",
    }
    assert found == Standing(
        Registered("new", token_endpoint_auth_method="none", redirect_uris=[REDIRECT]),
        "none",
        fresh=True,
    )


@requirement("CR-03")
@pytest.mark.parametrize(
    ("redirect_uri", "kind"),
    [
        ("http://127.0.0.1:1/callback", "native"),
        ("http://localhost:1/callback", "native"),
        ("example.app:/callback", "native"),
        ("https://app.example/callback", "web"),
        ("https://localhost/callback", "native"),
    ],
)
def test_what_kind_of_application_we_are_depends_on_where_a_browser_comes_back(
    redirect_uri: str, kind: str
):
    _, played = standing(
        authority(), Identity(), said({"client_id": "new"}, 201), redirect_uri=redirect_uri
    )
    step = played.steps[0]
    assert isinstance(step, Fetch)
    assert json.loads(step.body or b"")["application_type"] == kind


@requirement("CR-03", "CR-05")
@pytest.mark.parametrize(
    ("offered", "asked"),
    [
        (None, "client_secret_basic"),
        (["none", "client_secret_basic"], "none"),
        (["client_secret_basic"], "client_secret_basic"),
        (["private_key_jwt", "client_secret_post"], "client_secret_post"),
    ],
)
def test_we_prove_ourselves_as_the_server_takes_it(offered: list[str] | None, asked: str):
    more = {} if offered is None else {"token_endpoint_auth_methods_supported": offered}
    answer = said({"client_id": "new", "client_secret": "s"}, 201)
    found, played = standing(authority(**more), Identity(), answer)
    step = played.steps[0]
    assert isinstance(step, Fetch)
    assert json.loads(step.body or b"")["token_endpoint_auth_method"] == asked
    if asked != "none":
        assert found.method == asked


def test_the_way_that_a_registration_came_to_counts():
    answer = said(
        {"client_id": "n", "client_secret": "s", "token_endpoint_auth_method": "client_secret_post"}
    )
    found, _ = standing(authority(), Identity(), answer)
    assert found.method == "client_secret_post"


def test_a_server_that_takes_none_of_our_ways_is_told_apart():
    server = authority(token_endpoint_auth_methods_supported=["tls_client_auth"])
    with pytest.raises(AuthorizationFailed, match=r"takes none of the ways .* tls_client_auth"):
        standing(server, Identity())


@pytest.mark.parametrize(
    ("before", "again"),
    [
        (Registered("old", redirect_uris=[REDIRECT]), False),
        (Registered("old"), False),
        (Registered("old", redirect_uris=["http://127.0.0.1:1/other"]), True),
        (Registered("old", "s", NOW + 1), False),
        (Registered("old", "s", 0), False),
        (Registered("old", "s", NOW), True),
        (Registered("old", "s", NOW - 1), True),
    ],
)
def test_a_registration_lasts_until_its_secret_or_its_redirect_is_another(
    before: Registered, again: bool
):
    answers = [said({"client_id": "new"}, 201)] if again else []
    found, _ = standing(authority(), Identity(), *answers, before=before)
    assert found.client.client_id == ("new" if again else "old")
    assert found.fresh is again


@requirement("CR-01")
def test_who_registers_nobody_says_what_to_do():
    metadata = {name: value for name, value in described().items() if "registration" not in name}
    server = read_server(json.dumps(metadata).encode(), ISSUER, ISSUER)
    with pytest.raises(AuthorizationFailed, match="register one there by hand, with the") as no:
        standing(server, Identity())
    assert REDIRECT in str(no.value)


@requirement("CR-03")
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said({"error": "invalid_redirect_uri"}, 400), "refused with invalid_redirect_uri"),
        (
            said(
                {"error": "invalid_client_metadata", "error_description": "no \x1b[2Jnative"}, 400
            ),
            r"invalid_client_metadata: no  \[2Jnative",
        ),
        (Answer(403, {}, b"<html>"), "refused with HTTP 403"),
        (Answer(307, {"location": "https://evil.example/"}), "refused with HTTP 307"),
        (Answer(0, {}, b"Nothing answers"), "cannot be reached: Nothing answers"),
        (Answer(201, {}, b"[]"), "is no registered client"),
        (said({}, 201), "is no registered client"),
        (said({"client_id": None}, 201), "is no registered client"),
        (said({"client_id": ""}, 201), "a client id that cannot be used"),
        (said({"client_id": "a\r\nb"}, 201), "a client id that cannot be used"),
        (said({"client_id": "ä"}, 201), "a client id that cannot be used"),
        (said({"client_id": "a" * 100_000}, 201), "a client id that cannot be used"),
        (said({"client_id": "a", "client_secret": "b\n"}, 201), "a client secret that cannot"),
        (said({"client_id": "a", "client_secret": "b" * 9999}, 201), "a client secret that cannot"),
        (said({"client_id": "a", "redirect_uris": []}, 201), "for other redirect URIs"),
        (
            said({"client_id": "a", "redirect_uris": ["https://evil.example/"]}, 201),
            "for other redirect URIs",
        ),
    ],
)
def test_a_registration_that_comes_to_nothing_says_why(answer: Answer, words: str):
    with pytest.raises(AuthorizationFailed, match=words):
        standing(authority(), Identity(), answer)


def test_what_a_registration_was_refused_with_can_be_read_by_programs():
    with pytest.raises(AuthorizationFailed) as refused:
        standing(authority(), Identity(), said({"error": "invalid_redirect_uri"}, 400))
    assert refused.value.error == "invalid_redirect_uri"


def test_no_secret_is_shown():
    identity = Identity(known=Registered("by-hand", "secret-word"), key=SigningKey.generate())
    assert identity.key is not None
    shown = repr(identity) + repr(Standing(Registered("a", "secret-word"), "none"))
    assert "secret-word" not in shown
    assert identity.key.to_jwk()["d"] not in shown
