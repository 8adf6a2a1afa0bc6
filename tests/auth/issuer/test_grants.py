from __future__ import annotations

import pytest
from tests.auth.issuer.box import (
    APP_KEY,
    BACK,
    FILES,
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

from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.settings import Lifetimes
from interlock.auth.metadata import ASSERTION_TYPE, CLIENT_CREDENTIALS, CODE


async def refreshed(box: Box, token: str, **changes: str) -> str:
    response = await box.token(refreshing(token, **changes))
    assert response.status == 200, response.body
    return body(response)["refresh_token"]


@requirement("AS-01", "CF-09")
async def test_a_refresh_gives_a_new_token_of_each_kind_for_the_same():
    box = Box()
    first = await box.tokens()
    box.clock.turn(500)
    said = body(await box.token(refreshing(first["refresh_token"], resource=FILES)))
    assert said["refresh_token"] != first["refresh_token"]
    old, new = claims(first), claims(said)
    assert new.text("sub") == "anna"
    assert new.claims["aud"] == FILES
    assert new.scopes == old.scopes
    assert new.claims["auth_time"] == old.claims["auth_time"]
    assert new.number("iat") == int(box.clock())


async def test_a_client_that_dies_before_it_read_the_answer_refreshes_once_more():
    box = Box()
    first = (await box.tokens())["refresh_token"]
    lost = await refreshed(box, first)
    kept = await refreshed(box, first)
    assert kept != lost
    second = await refreshed(box, kept)
    assert (await box.token(refreshing(second))).status == 200


@requirement("AS-01")
async def test_a_token_whose_successor_was_used_ends_them_all():
    box = Box()
    said = await box.tokens()
    second = await refreshed(box, said["refresh_token"])
    third = await refreshed(box, second)
    assert error(await box.token(refreshing(said["refresh_token"]))) == "invalid_grant"
    assert error(await box.token(refreshing(third))) == "invalid_grant"
    seen = await box.post(
        "/introspect",
        {"token": said["access_token"], "client_id": "gate", "client_secret": SECRET},
    )
    assert body(seen) == {"active": False}


async def test_a_successor_that_was_replaced_unused_ends_them_all():
    # It is in two hands: one asked again with the old one, and one has the new one.
    box = Box()
    first = (await box.tokens())["refresh_token"]
    replaced = await refreshed(box, first)
    kept = await refreshed(box, first)
    assert error(await box.token(refreshing(replaced))) == "invalid_grant"
    assert error(await box.token(refreshing(kept))) == "invalid_grant"


async def test_a_refresh_may_ask_for_less_and_later_for_all_again():
    box = Box()
    first = await box.tokens()
    said = body(await box.token(refreshing(first["refresh_token"], scope="read")))
    assert claims(said).scopes == {"read"}
    again = body(await box.token(refreshing(said["refresh_token"])))
    assert claims(again).scopes == {"read", "write"}


async def test_refresh_tokens_end_when_they_are_not_used_for_their_time():
    box = Box(lifetimes=Lifetimes(refresh=1000))
    token = (await box.tokens())["refresh_token"]
    for _ in range(3):
        box.clock.turn(900)
        token = await refreshed(box, token)
    box.clock.turn(1001)
    assert error(await box.token(refreshing(token))) == "invalid_grant"


async def test_a_client_that_registered_for_no_refresh_gets_none_unless_it_asks():
    box = Box(clients=(Client(id="app", redirect_uris=(BACK,), grants=(CODE,)),))
    assert "refresh_token" not in await box.tokens()
    said = await box.tokens(scope="read offline_access")
    assert (await box.token(refreshing(said["refresh_token"]))).status == 200


async def test_a_confidential_clients_refresh_token_is_bound_to_the_client_not_to_a_key():
    box = Box()
    page = await box.browser.open(asked(client_id="web", redirect_uri=WEB_BACK))
    code = sent_back(await box.browser.answer(page, code=SIGN_IN))["code"]
    secret = {"client_id": "web", "client_secret": SECRET}
    said = await box.token(redeeming(code, redirect_uri=WEB_BACK, **secret), box.proof(APP_KEY))
    assert body(said)["token_type"] == "DPoP"
    again = await box.token({**refreshing(body(said)["refresh_token"]), **secret})
    assert body(again)["token_type"] == "Bearer"


async def test_a_token_bound_to_a_key_says_which():
    box = Box()
    said = await box.tokens(proof=APP_KEY)
    assert said["token_type"] == "DPoP"
    assert claims(said).claims["cnf"] == {"jkt": APP_KEY.thumbprint}


@pytest.mark.parametrize("audience", [URL, f"{URL}/token", [URL]])
async def test_a_service_gets_tokens_of_its_own_by_its_key(audience: str | list[str]):
    box = Box()
    form = {
        "grant_type": CLIENT_CREDENTIALS,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": box.assertion(aud=audience),
        "client_id": "service",
        "resource": FILES,
        "scope": "read",
    }
    said = body(await box.token(form))
    assert "refresh_token" not in said
    token = claims(said)
    assert (token.text("sub"), token.text("client_id")) == ("service", "service")
    assert token.scopes == {"read"}
    assert "auth_time" not in token.claims


async def test_a_service_gets_no_more_than_it_was_given():
    client = Client(
        id="robot", grants=(CLIENT_CREDENTIALS,), scopes=frozenset({"read"})
    ).with_secret(SECRET)
    box = Box(clients=(client,))
    form = {"grant_type": CLIENT_CREDENTIALS, "client_id": "robot", "client_secret": SECRET}
    said = body(await box.token({**form, "resource": FILES, "scope": "read write"}))
    assert said["scope"] == "read"
    assert error(await box.token({**form, "resource": FILES, "scope": "write"})) == "invalid_scope"
    assert error(await box.token(form)) == "invalid_target"


async def test_a_registered_client_that_was_let_in_is_remembered_longer():
    box = Box()
    registered = body(
        await box.register(
            redirect_uris=[BACK],
            token_endpoint_auth_method="none",
            grant_types=["authorization_code", "refresh_token"],
        )
    )
    name = registered["client_id"]
    code = await box.code(client_id=name)
    said = body(await box.token(redeeming(code, client_id=name)))
    box.clock.turn(20 * 24 * 3600)
    again = await box.token(refreshing(said["refresh_token"], client_id=name))
    assert again.status == 200
