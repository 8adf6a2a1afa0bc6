from __future__ import annotations

from typing import Any

from tests.auth.issuer.box import (
    APP_KEY,
    FILES,
    NOTES,
    SECRET,
    SIGN_IN,
    URL,
    WEB_BACK,
    Box,
    asked,
    body,
    claims,
    error,
    redeeming,
    refreshing,
    sent_back,
)
from tests.spec.marking import requirement

from interlock.auth.issuer.assertions import JAG
from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.settings import Downstream, Resource, Trusted
from interlock.auth.jwt import peek, verify
from interlock.auth.metadata import (
    ACCESS_TOKEN,
    CODE,
    ID_JAG,
    ID_TOKEN,
    JWT_BEARER,
    REFRESH,
    TOKEN_EXCHANGE,
)

THERE = "https://other-id.example.com"
GATE = {"client_id": "gate", "client_secret": SECRET}


def exchanging(token: str, **changes: str) -> dict[str, str]:
    usual = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": token,
        "subject_token_type": ACCESS_TOKEN,
        "resource": NOTES,
        **GATE,
    }
    return {**usual, **changes}


async def test_a_gateway_gets_a_narrower_token_for_who_called_it():
    box = Box()
    first = await box.tokens()
    said = body(await box.token(exchanging(first["access_token"])))
    assert said["issued_token_type"] == ACCESS_TOKEN
    token = claims(said)
    assert token.text("sub") == "anna"
    assert token.claims["aud"] == NOTES
    assert token.scopes == {"read"}
    assert token.claims["act"] == {"sub": "gate"}
    assert "refresh_token" not in said


async def test_what_is_exchanged_ends_with_what_it_came_from():
    box = Box()
    first = await box.tokens()
    box.clock.turn(400)
    said = body(await box.token(exchanging(first["access_token"])))
    assert said["expires_in"] == 200
    await box.post("/revoke", {"token": first["refresh_token"], "client_id": "app"})
    seen = await box.post("/introspect", {"token": said["access_token"], **GATE})
    assert body(seen) == {"active": False}
    assert error(await box.token(exchanging(first["access_token"]))) == "invalid_request"


async def test_who_is_not_meant_by_a_token_cannot_exchange_it():
    box = Box()
    code = await box.code(resource=NOTES, scope="read")
    said = body(await box.token(redeeming(code, resource=NOTES)))
    assert error(await box.token(exchanging(said["access_token"]))) == "invalid_request"


async def test_only_resources_that_the_operator_named_are_exchanged_for():
    gate = Client(id="gate", grants=(TOKEN_EXCHANGE,), resource=FILES).with_secret(SECRET)
    app = Client(id="app", redirect_uris=("http://127.0.0.1:8123/callback",))
    box = Box(clients=(gate, app))
    first = await box.tokens()
    assert error(await box.token(exchanging(first["access_token"]))) == "invalid_target"
    same = await box.token(exchanging(first["access_token"], resource=FILES, scope="read"))
    assert claims(body(same)).scopes == {"read"}


async def test_a_bound_token_is_exchanged_by_its_own_client_with_its_key():
    grants = (CODE, TOKEN_EXCHANGE)
    web = Client(id="web", redirect_uris=(WEB_BACK,), grants=grants).with_secret(SECRET)
    box = Box(clients=(web,))
    page = await box.browser.open(asked(client_id="web", redirect_uri=WEB_BACK))
    code = sent_back(await box.browser.answer(page, code=SIGN_IN))["code"]
    own = {"client_id": "web", "client_secret": SECRET}
    said = body(await box.token(redeeming(code, redirect_uri=WEB_BACK, **own), box.proof(APP_KEY)))
    form = exchanging(said["access_token"], resource=FILES, scope="read", **own)
    assert error(await box.token(form)) == "invalid_dpop_proof"
    again = body(await box.token(form, box.proof(APP_KEY)))
    assert again["token_type"] == "DPoP"
    assert "act" not in claims(again).claims


async def test_a_chain_of_who_acts_for_whom_ends():
    gate = Client(id="gate", grants=(TOKEN_EXCHANGE,), resource=FILES).with_secret(SECRET)
    second = Client(id="second", grants=(TOKEN_EXCHANGE,), resource=FILES).with_secret(SECRET)
    app = Client(id="app", redirect_uris=("http://127.0.0.1:8123/callback",))
    box = Box(clients=(gate, second, app))
    token = (await box.tokens())["access_token"]
    for turn in range(5):
        name = ("gate", "second")[turn % 2]
        response = await box.token(exchanging(token, resource=FILES, client_id=name))
        if turn < 4:
            token = body(response)["access_token"]
        else:
            assert error(response) == "invalid_request"
    assert claims({"access_token": token}).claims["act"]["act"]["act"]["act"] == {"sub": "gate"}


# Where this issuer is the identity provider of others.


def provider() -> Box:
    web = Client(
        id="web", redirect_uris=(WEB_BACK,), grants=(CODE, REFRESH, TOKEN_EXCHANGE)
    ).with_secret(SECRET)
    there = Downstream(
        issuer=THERE,
        resources=frozenset({"https://mail.example.com/mcp"}),
        scopes=frozenset({"mail"}),
        clients={"web": "web-there"},
    )
    given: dict[str, Any] = {"clients": (web,), "downstream": (there,), "resources": ()}
    return Box(**given)


OWN = {"client_id": "web", "client_secret": SECRET}


async def signed_on(box: Box) -> dict[str, Any]:
    page = await box.browser.open(
        asked(client_id="web", redirect_uri=WEB_BACK, resource="", scope="openid", nonce="n1")
    )
    code = sent_back(await box.browser.answer(page, code=SIGN_IN))["code"]
    form = redeeming(code, redirect_uri=WEB_BACK, resource="", **OWN)
    return body(await box.token(form))


def asserting(token: str, **changes: str) -> dict[str, str]:
    return exchanging(
        token,
        **{
            "subject_token_type": ID_TOKEN,
            "requested_token_type": ID_JAG,
            "audience": THERE,
            "resource": "https://mail.example.com/mcp",
            "scope": "mail admin",
            **OWN,
            **changes,
        },
    )


@requirement("XE-01")
async def test_a_sign_in_becomes_an_assertion_for_another_server():
    box = provider()
    said = await signed_on(box)
    identity = peek(said["id_token"])
    assert identity.claims["aud"] == "web"
    assert (identity.claims["nonce"], identity.claims["name"]) == ("n1", "Anna")
    answer = body(await box.token(asserting(said["id_token"])))
    assert (answer["issued_token_type"], answer["token_type"]) == (ID_JAG, "N_A")
    word = verify(answer["access_token"], box.issuer.office.keys.public, types=(JAG,))
    assert word.audiences == (THERE,)
    assert word.claims["client_id"] == "web-there"
    assert word.claims["scope"] == "mail"
    assert word.claims["sub"] == "anna"


@requirement("XE-02", "XE-03")
async def test_the_other_server_takes_it():
    box = provider()
    said = await signed_on(box)
    answer = body(await box.token(asserting(said["id_token"])))
    service = Client(id="web-there", grants=(JWT_BEARER,)).with_secret(SECRET)
    keys = tuple(box.issuer.office.keys.public)
    trusted = Trusted(issuer=URL, keys=keys, people=True)
    there = Box(
        THERE,
        clock=box.clock,
        clients=(service,),
        trusted=(trusted,),
        resources=(Resource("https://mail.example.com/mcp", {"mail": "Read mail"}),),
    )
    form = {"grant_type": JWT_BEARER, "assertion": answer["access_token"]}
    response = await there.token(
        {**form, "client_id": "web-there", "client_secret": SECRET},
        {"host": "other-id.example.com"},
    )
    assert claims(body(response)).text("sub") == f"{URL}#anna"


async def test_an_assertion_is_made_for_whom_the_operator_named_only():
    box = provider()
    said = await signed_on(box)
    for changes in (
        {"audience": "https://evil.example"},
        {"resource": "https://evil.example/mcp"},
    ):
        response = await box.token(asserting(said["id_token"], **changes))
        assert error(response) == "invalid_target"
    assert error(await box.token(asserting(said["access_token"]))) == "invalid_request"
    await box.post("/revoke", {"token": said["refresh_token"], **OWN})
    assert error(await box.token(asserting(said["id_token"]))) == "invalid_request"


async def test_a_sign_in_is_renewed_with_a_refresh():
    box = provider()
    said = await signed_on(box)
    box.clock.turn(601)
    assert error(await box.token(asserting(said["id_token"]))) == "invalid_request"
    again = body(await box.token({**refreshing(said["refresh_token"]), **OWN}))
    assert (await box.token(asserting(again["id_token"]))).status == 200


async def test_nobody_signs_on_where_this_is_no_identity_provider():
    page = await Box().browser.open(asked(scope="openid"))
    assert sent_back(page.response)["error"] == "invalid_scope"
