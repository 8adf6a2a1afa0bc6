from __future__ import annotations

from typing import Any

import pytest
from tests.auth.issuer.box import FILES, NOTES, URL, Box, Shelf, body, claims, error
from tests.spec.marking import requirement

from interlock.auth.issuer.assertions import JAG
from interlock.auth.issuer.settings import Trusted
from interlock.auth.jwt import SigningKey, Token
from interlock.auth.metadata import ASSERTION_TYPE, JWT_BEARER
from interlock.errors import ConfigError

IDP = "https://idp.example.net"
PLATFORM = "https://platform.example.net"
IDP_KEY = SigningKey.generate("RS256")
PLATFORM_KEY = SigningKey.generate("EdDSA")
JWKS = "https://platform.example.net/keys"

TRUSTED = (
    Trusted(issuer=IDP, keys=(IDP_KEY.public,), people=True),
    Trusted(issuer=PLATFORM, jwks_uri=JWKS, workloads={"job/backup": frozenset({"read"})}),
)


def box(**settings: Any) -> Box:
    shelf = Shelf({JWKS: {"keys": [PLATFORM_KEY.public]}})
    given: dict[str, Any] = {"trusted": TRUSTED, "fetcher": shelf, **settings}
    return Box(**given)


def jag(box: Box, key: SigningKey = IDP_KEY, typ: str = JAG, **changes: Any) -> str:
    usual = {"iss": IDP, "sub": "u-17", "client_id": "service", "resource": FILES, "scope": "read"}
    return box.assertion(key, typ, **{**usual, **changes})


def bringing(box: Box, assertion: str, **changes: str) -> dict[str, str]:
    """What the service sends with somebody's word."""
    return {
        "grant_type": JWT_BEARER,
        "assertion": assertion,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": box.assertion(),
        **changes,
    }


@requirement("XE-03")
async def test_an_identity_providers_word_lets_a_client_act_for_its_user():
    here = box()
    said = body(await here.token(bringing(here, jag(here), scope="read write")))
    token = claims(said)
    assert token.text("sub") == f"{IDP}#u-17"
    assert token.text("client_id") == "service"
    assert token.claims["aud"] == FILES
    assert token.scopes == {"read"}
    assert "refresh_token" not in said


@requirement("XE-03")
async def test_whom_it_means_is_for_the_operator_to_say():
    def known(token: Token) -> str | None:
        return {"u-17": "anna"}.get(token.text("sub") or "")

    trusted = Trusted(issuer=IDP, keys=(IDP_KEY.public,), people=True, subject=known)
    here = box(trusted=(trusted,))
    assert claims(body(await here.token(bringing(here, jag(here))))).text("sub") == "anna"
    stranger = bringing(here, jag(here, sub="u-18"))
    assert error(await here.token(stranger)) == "invalid_grant"


@requirement("XE-03")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"iss": "https://evil.example"}, "invalid_grant", id="unknown issuer"),
        pytest.param({"iss": PLATFORM}, "invalid_grant", id="an issuer for other things"),
        pytest.param({"key": PLATFORM_KEY}, "invalid_grant", id="another key"),
        pytest.param({"aud": "https://other.example"}, "invalid_grant", id="another server"),
        pytest.param({"aud": [URL, IDP]}, "invalid_grant", id="two servers"),
        pytest.param({"client_id": "web"}, "invalid_grant", id="another client"),
        pytest.param({"client_id": None}, "invalid_grant", id="no client"),
        pytest.param({"sub": None}, "invalid_grant", id="nobody"),
        pytest.param({"exp": None}, "invalid_grant", id="no end"),
        pytest.param({"exp": 1_799_999_000}, "invalid_grant", id="over"),
        pytest.param({"exp": 1_800_009_000}, "invalid_grant", id="for hours"),
        pytest.param({"iat": None}, "invalid_grant", id="no time"),
        pytest.param({"jti": None}, "invalid_grant", id="no id"),
        pytest.param({"typ": "JWT"}, "unauthorized_client", id="another type"),
        pytest.param({"typ": "at+jwt"}, "unauthorized_client", id="an access token"),
        pytest.param({"resource": "https://evil.example"}, "invalid_target", id="resource"),
        pytest.param({"resource": [FILES]}, "invalid_grant", id="a list of resources"),
        pytest.param({"scope": "admin"}, "invalid_scope", id="scopes that are not offered"),
    ],
)
async def test_a_word_that_does_not_hold_gives_nothing(changes: dict[str, Any], told: str):
    here = box()
    assert error(await here.token(bringing(here, jag(here, **changes)))) == told


@requirement("XE-03")
async def test_an_identity_providers_word_counts_once_and_for_its_resource():
    here = box()
    word = jag(here)
    other = bringing(here, word, resource=NOTES)
    assert error(await here.token(other)) == "invalid_target"
    assert (await here.token(bringing(here, word))).status == 200
    assert error(await here.token(bringing(here, word))) == "invalid_grant"


@requirement("XE-03")
async def test_an_identity_providers_word_is_of_no_use_without_the_clients_proof():
    here = box()
    form = {"grant_type": JWT_BEARER, "assertion": jag(here)}
    response = await here.token(form)
    assert (response.status, error(response)) == (401, "invalid_client")
    assert error(await here.token({**form, "client_id": "app"})) == "unauthorized_client"


def of_workload(here: Box, key: SigningKey = PLATFORM_KEY, **changes: Any) -> dict[str, str]:
    usual = {"iss": PLATFORM, "sub": "job/backup", "jti": None}
    assertion = here.assertion(key, **{**usual, **changes})
    return {"grant_type": JWT_BEARER, "assertion": assertion, "resource": FILES}


@requirement("XW-01")
async def test_a_workload_comes_with_its_platforms_word_alone_and_again_with_the_same():
    here = box()
    form = of_workload(here)
    first, again = [claims(body(await here.token(form))) for _ in range(2)]
    for token in (first, again):
        assert token.text("sub") == f"{PLATFORM}#job/backup"
        assert token.scopes == {"read"}
    # No token outlives the word that it was given for.
    assert again.number("exp") == int(here.clock()) + 60


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"sub": "job/other"}, "invalid_grant", id="another workload"),
        pytest.param({"aud": "https://other.example"}, "invalid_grant", id="another server"),
        pytest.param({"iss": IDP}, "invalid_grant", id="another issuer"),
        pytest.param({"exp": 1_900_000_000}, "invalid_grant", id="for years"),
        pytest.param({"exp": 1_799_999_999}, "invalid_grant", id="just over"),
        pytest.param({"typ": "at+jwt"}, "invalid_grant", id="an access token"),
        pytest.param({"typ": "dpop+jwt"}, "invalid_grant", id="a proof"),
    ],
)
async def test_a_platforms_word_that_does_not_hold_gives_nothing(
    changes: dict[str, Any], told: str
):
    here = box()
    assert error(await here.token(of_workload(here, **changes))) == told


async def test_a_workload_gets_no_scope_that_is_not_its_own():
    here = box()
    form = {**of_workload(here), "scope": "write"}
    assert error(await here.token(form)) == "invalid_scope"


async def test_a_platform_that_replaced_its_key_is_asked_again_but_not_at_each_try():
    new = SigningKey.generate("EdDSA")
    shelf = Shelf({JWKS: {"keys": [PLATFORM_KEY.public]}})
    here = box(fetcher=shelf)
    assert (await here.token(of_workload(here))).status == 200
    shelf.documents[JWKS] = {"keys": [new.public]}
    form = of_workload(here, key=new)
    assert error(await here.token(form)) == "invalid_grant"
    assert len(shelf.asked) == 1
    here.clock.turn(61)
    assertion = here.assertion(new, iss=PLATFORM, sub="job/backup")
    assert (await here.token({**form, "assertion": assertion})).status == 200
    assert len(shelf.asked) == 2


async def test_a_platform_whose_keys_cannot_be_fetched_is_not_believed():
    here = box(fetcher=Shelf({}))
    assert error(await here.token(of_workload(here))) == "invalid_grant"


def test_whom_to_trust_is_said_with_public_keys():
    with pytest.raises(ConfigError, match="keys or jwks_uri"):
        Trusted(issuer=IDP)
    with pytest.raises(ConfigError, match="public"):
        Trusted(issuer=IDP, keys=(IDP_KEY.to_jwk(),))
