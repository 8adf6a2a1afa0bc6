from __future__ import annotations

from tests.auth.issuer.box import (
    APP_KEY,
    FILES,
    SECRET,
    SERVICE_KEY,
    URL,
    Box,
    body,
    error,
    redeeming,
    refreshing,
)

from interlock.auth.issuer.clients import Client

GATE = {"client_id": "gate", "client_secret": SECRET}
WEB = {"client_id": "web", "client_secret": SECRET}


async def test_a_server_learns_what_tokens_for_it_are_good_for():
    box = Box()
    said = await box.tokens(proof=APP_KEY)
    seen = body(await box.post("/introspect", {"token": said["access_token"], **GATE}))
    assert seen["active"] is True
    assert (seen["sub"], seen["client_id"], seen["aud"]) == ("anna", "app", FILES)
    assert seen["scope"] == "read write"
    assert seen["token_type"] == "DPoP"
    assert seen["cnf"] == {"jkt": APP_KEY.thumbprint}
    assert (seen["iss"], seen["exp"]) == (URL, int(box.clock()) + 600)


async def test_of_anybody_elses_token_nothing_is_told():
    box = Box()
    said = await box.tokens()
    for token in (said["access_token"], said["refresh_token"], "x", "il1.x", "a.b.c"):
        assert body(await box.post("/introspect", {"token": token, **WEB})) == {"active": False}
    again = await box.post("/introspect", {"token": said["refresh_token"], **GATE})
    assert body(again) == {"active": False}


async def test_only_who_proves_itself_looks_into_tokens():
    box = Box()
    said = await box.tokens()
    response = await box.post("/introspect", {"token": said["access_token"], "client_id": "app"})
    assert (response.status, error(response)) == (401, "invalid_client")
    wrong = {**GATE, "client_secret": "wrong-wrong-wrong"}
    response = await box.post("/introspect", {"token": said["access_token"], **wrong})
    assert response.status == 401


async def test_a_token_is_inactive_once_it_is_over():
    box = Box()
    said = await box.tokens()
    box.clock.turn(600)
    seen = await box.post("/introspect", {"token": said["access_token"], **GATE})
    assert body(seen) == {"active": False}


async def test_a_client_looks_into_its_own_refresh_token():
    web = Client(id="app", redirect_uris=("http://127.0.0.1:8123/callback",)).with_secret(SECRET)
    box = Box(clients=(web,))
    code = await box.code()
    own = {"client_id": "app", "client_secret": SECRET}
    said = body(await box.token(redeeming(code, **own)))
    seen = body(await box.post("/introspect", {"token": said["refresh_token"], **own}))
    assert (seen["active"], seen["sub"], seen["scope"]) == (True, "anna", "read write")
    again = body(await box.token({**refreshing(said["refresh_token"]), **own}))
    body(await box.token({**refreshing(again["refresh_token"]), **own}))
    seen = body(await box.post("/introspect", {"token": said["refresh_token"], **own}))
    assert seen == {"active": False}


async def test_a_refresh_token_given_back_ends_all_that_came_of_it():
    box = Box()
    said = await box.tokens()
    response = await box.post("/revoke", {"token": said["refresh_token"], "client_id": "app"})
    assert response.status == 200
    assert error(await box.token(refreshing(said["refresh_token"]))) == "invalid_grant"
    seen = await box.post("/introspect", {"token": said["access_token"], **GATE})
    assert body(seen) == {"active": False}


async def test_an_access_token_given_back_ends_alone():
    box = Box()
    said = await box.tokens()
    hint = {"token_type_hint": "access_token", "client_id": "app"}
    await box.post("/revoke", {"token": said["access_token"], **hint})
    seen = await box.post("/introspect", {"token": said["access_token"], **GATE})
    assert body(seen) == {"active": False}
    assert (await box.token(refreshing(said["refresh_token"]))).status == 200


async def test_nobody_gives_back_what_is_anothers():
    box = Box()
    said = await box.tokens()
    for token in (said["access_token"], said["refresh_token"], "x"):
        assert (await box.post("/revoke", {"token": token, **WEB})).status == 200
    assert (await box.token(refreshing(said["refresh_token"]))).status == 200
    seen = await box.post("/introspect", {"token": said["access_token"], **GATE})
    assert body(seen)["active"] is True


async def test_a_token_that_another_signed_is_nothing():
    box = Box()
    now = int(box.clock())
    forged = SERVICE_KEY.sign(
        {"iss": URL, "sub": "anna", "aud": FILES, "client_id": "app", "iat": now, "exp": now + 60},
        typ="at+jwt",
    )
    assert body(await box.post("/introspect", {"token": forged, **GATE})) == {"active": False}
