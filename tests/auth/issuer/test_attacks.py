"""What goes wrong at these endpoints, by mistake or on purpose, each as a row: who tries it, and what
they are told. None of them gets a token, a code, or a browser sent anywhere it should not be.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec
import pytest
from tests.auth.issuer.box import (
    APP_KEY,
    BACK,
    FILES,
    NOTES,
    SECRET,
    SERVICE_KEY,
    SIGN_IN,
    URL,
    VERIFIER,
    WEB_BACK,
    Box,
    Browser,
    Shelf,
    asked,
    body,
    error,
    location,
    redeeming,
    refreshing,
    sent_back,
)
from tests.spec.marking import requirement

from interlock.auth.dpop import prove
from interlock.auth.issuer.requests import FORM
from interlock.auth.issuer.responses import Response
from interlock.auth.jwt import SigningKey, letters, thumbprint
from interlock.auth.metadata import ACCESS_TOKEN, ASSERTION_TYPE, CLIENT_CREDENTIALS

DOCUMENT: Final = "https://client.example.org/app.json"
OTHER_KEY: Final = SigningKey.generate()


def basic(name: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


# The authorization endpoint, before it is known where the browser may go: it stays.


@requirement("SEC-03", "AS-01")
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"client_id": ""}, id="no client"),
        pytest.param({"client_id": "nobody"}, id="an unknown client"),
        pytest.param({"client_id": "x" * 3000}, id="a client id without end"),
        pytest.param({"redirect_uri": ""}, id="no redirect"),
        pytest.param({"redirect_uri": "https://evil.example/cb"}, id="open redirect"),
        pytest.param({"redirect_uri": "http://127.0.0.1:8123/other"}, id="another path"),
        pytest.param({"redirect_uri": "http://127.0.0.1:8123/callback/"}, id="a slash more"),
        pytest.param({"redirect_uri": "http://127.0.0.1:8123/callback?x=1"}, id="a query more"),
        pytest.param({"redirect_uri": "http://127.0.0.1:8123/callback#x"}, id="a fragment"),
        pytest.param({"redirect_uri": "http://127.0.0.1:8123/x/../callback"}, id="dots"),
        pytest.param({"redirect_uri": "http://localhost:8123/callback"}, id="localhost by name"),
        pytest.param({"redirect_uri": "http://127.0.0.2:8123/callback"}, id="another loopback"),
        pytest.param({"redirect_uri": "http://127.0.0.1.evil.example/callback"}, id="a prefix"),
        pytest.param({"redirect_uri": "http://127.0.0.1:1@evil.example/callback"}, id="a user"),
        pytest.param({"redirect_uri": "http://127.0.0.1:8123\\@evil.example/callback"}, id="a \\"),
        pytest.param({"redirect_uri": "https://127.0.0.1:8123/callback"}, id="another scheme"),
        pytest.param({"redirect_uri": "HTTP://127.0.0.1:8123/callback"}, id="another case"),
        pytest.param({"redirect_uri": "http://127.0.0.1:8123/%63allback"}, id="another spelling"),
        pytest.param({"redirect_uri": "javascript:alert(1)"}, id="javascript"),
        pytest.param({"redirect_uri": WEB_BACK}, id="the redirect of another client"),
        pytest.param(
            {"client_id": "web", "redirect_uri": "https://app.example.com:444/callback"},
            id="another port of a web client",
        ),
        pytest.param({"client_id": DOCUMENT}, id="a document nobody can fetch"),
        pytest.param({"state": "a\nb"}, id="control characters"),
    ],
)
async def test_a_browser_whose_app_is_not_known_is_sent_nowhere(changes: dict[str, str]):
    page = await Box().browser.open(asked(**changes))
    assert page.response.status == 400
    assert page.response.header("location") is None
    assert page.ticket == ""


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("&client_id=web", id="client"),
        pytest.param("&redirect_uri=https%3A%2F%2Fevil.example", id="redirect"),
        pytest.param("&x=1" * 70, id="seventy parameters"),
        pytest.param("&x=%ff", id="bytes that are no text"),
        pytest.param("&x=" + "y" * 30_000, id="a parameter without end"),
    ],
)
async def test_a_query_with_too_much_in_it_is_sent_nowhere(more: str):
    page = await Box().browser.open(urlencode(asked()) + more)
    assert page.response.status == 400
    assert page.response.header("location") is None


# The authorization endpoint, once it is known: the app is told, and by whom.


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"code_challenge": ""}, "invalid_request", id="no PKCE"),
        pytest.param({"code_challenge_method": "plain"}, "invalid_request", id="plain PKCE"),
        pytest.param({"code_challenge_method": ""}, "invalid_request", id="PKCE of no method"),
        pytest.param({"code_challenge": "short"}, "invalid_request", id="a short challenge"),
        pytest.param({"response_type": "token"}, "unsupported_response_type", id="implicit"),
        pytest.param({"response_type": "code token"}, "unsupported_response_type", id="hybrid"),
        pytest.param({"response_type": ""}, "invalid_request", id="no response type"),
        pytest.param({"response_mode": "fragment"}, "invalid_request", id="fragment"),
        pytest.param({"resource": "https://evil.example/mcp"}, "invalid_target", id="resource"),
        pytest.param({"resource": "not a url"}, "invalid_target", id="resource that is no URL"),
        pytest.param({"resource": FILES + "#x"}, "invalid_target", id="resource with fragment"),
        pytest.param({"resource": ""}, "invalid_target", id="no resource where there are two"),
        pytest.param({"scope": "admin root"}, "invalid_scope", id="no scope that is offered"),
        pytest.param({"prompt": "none"}, "consent_required", id="without asking anybody"),
        pytest.param({"request": "eyJ"}, "request_not_supported", id="a request object"),
        pytest.param({"request_uri": "https://x"}, "request_uri_not_supported", id="one elsewhere"),
        pytest.param({"dpop_jkt": "short"}, "invalid_request", id="no thumbprint"),
        pytest.param({"state": "s" * 5000}, "invalid_request", id="state without end"),
    ],
)
async def test_an_app_that_asks_wrongly_is_told(changes: dict[str, str], told: str):
    page = await Box().browser.open(asked(**changes))
    assert page.response.status == 303
    assert location(page.response).startswith(BACK + "?")
    back = sent_back(page.response)
    assert (back["error"], back["iss"]) == (told, URL)
    assert "code" not in back
    assert back.get("state") == ("st&te=1" if len(changes.get("state", "")) < 5000 else None)


@pytest.mark.parametrize("name", ["state", "scope", "code_challenge", "response_type"])
async def test_a_parameter_that_is_there_twice_is_told_to_the_app(name: str):
    page = await Box().browser.open(urlencode(asked()) + f"&{name}=again")
    assert sent_back(page.response)["error"] == "invalid_request"


@requirement("AS-01")
async def test_a_token_is_for_one_resource():
    page = await Box().browser.open(urlencode([*asked().items(), ("resource", NOTES)]))
    assert sent_back(page.response)["error"] == "invalid_target"


# The page: only the browser that was shown it answers it, once, from there.


async def _other_browser(box: Box) -> Response:
    page = await box.browser.open(asked())
    other = Browser(box)
    await other.open(asked())
    return await other.answer(page, code=SIGN_IN)


async def _no_cookie(box: Box) -> Response:
    page = await box.browser.open(asked())
    return await Browser(box).answer(page, code=SIGN_IN)


async def _planted_ticket(box: Box) -> Response:
    # The attacker's own page, sent from a person's browser: to let the attacker's app in.
    await box.code()
    theirs = Browser(box)
    page = await theirs.open(asked())
    return await box.browser.answer(page)


async def _replay(box: Box) -> Response:
    page = await box.browser.open(asked())
    await box.browser.answer(page, "deny")
    return await box.browser.answer(page, code=SIGN_IN)


async def _made_up(box: Box) -> Response:
    await box.browser.open(asked())
    return await box.browser.submit({"ticket": "x" * 43, "choice": "allow", "code": SIGN_IN})


async def _no_ticket(box: Box) -> Response:
    await box.code()
    return await box.browser.submit({"choice": "allow", **asked()})


async def _elsewhere(box: Box) -> Response:
    page = await box.browser.open(asked())
    form = {"ticket": page.ticket, "choice": "allow", "code": SIGN_IN}
    return await box.browser.submit(form, {"origin": "https://evil.example"})


async def _cross_site(box: Box) -> Response:
    page = await box.browser.open(asked())
    form = {"ticket": page.ticket, "choice": "allow", "code": SIGN_IN}
    return await box.browser.submit(form, {"sec-fetch-site": "cross-site"})


async def _by_get(box: Box) -> Response:
    page = await box.browser.open(asked())
    return await box.get("/decide", f"ticket={page.ticket}&choice=allow&code={SIGN_IN}")


async def _as_text(box: Box) -> Response:
    page = await box.browser.open(asked())
    form = {"ticket": page.ticket, "choice": "allow", "code": SIGN_IN}
    return await box.browser.submit(form, {"content-type": "text/plain"})


async def _twice(box: Box) -> Response:
    page = await box.browser.open(asked())
    form = f"ticket={page.ticket}&choice=deny&choice=allow&code={SIGN_IN}"
    return await box.post("/decide", form)


async def _other_choice(box: Box) -> Response:
    return await box.browser.answer(await box.browser.open(asked()), "maybe", code=SIGN_IN)


async def _post_at_authorize(box: Box) -> Response:
    return await box.post("/authorize", asked())


@requirement("SEC-01")
@pytest.mark.parametrize(
    "attack",
    [
        _other_browser,
        _no_cookie,
        _planted_ticket,
        _replay,
        _made_up,
        _no_ticket,
        _elsewhere,
        _cross_site,
        _by_get,
        _as_text,
        _twice,
        _other_choice,
        _post_at_authorize,
    ],
)
async def test_a_page_that_is_answered_otherwise_lets_nobody_in(
    attack: Callable[[Box], Awaitable[Response]],
):
    response = await attack(Box())
    assert response.status in (400, 405)
    assert response.header("location") is None
    assert response.header("x-frame-options") == "DENY"


# The token endpoint.


@requirement("AS-01")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"code_verifier": "w" * 43}, "invalid_grant", id="wrong verifier"),
        pytest.param({"code_verifier": ""}, "invalid_request", id="no verifier"),
        pytest.param({"code_verifier": "short"}, "invalid_grant", id="short verifier"),
        pytest.param(
            {"code_verifier": letters(hashlib.sha256(VERIFIER.encode()).digest())},
            "invalid_grant",
            id="the challenge for the verifier",
        ),
        pytest.param({"code": "x" * 43}, "invalid_grant", id="a code made up"),
        pytest.param({"code": ""}, "invalid_request", id="no code"),
        pytest.param({"redirect_uri": ""}, "invalid_request", id="no redirect"),
        pytest.param(
            {"redirect_uri": "http://127.0.0.1:9/callback"}, "invalid_grant", id="another port"
        ),
        pytest.param({"redirect_uri": WEB_BACK}, "invalid_grant", id="another redirect"),
        pytest.param({"resource": NOTES}, "invalid_target", id="another resource"),
        pytest.param({"resource": "https://evil.example"}, "invalid_target", id="an unknown one"),
        pytest.param({"client_id": "nobody"}, "invalid_client", id="an unknown client"),
        pytest.param({"client_id": ""}, "invalid_request", id="no client"),
        pytest.param({"client_id": "web"}, "invalid_client", id="a client without its secret"),
        pytest.param(
            {"client_id": "web", "client_secret": SECRET}, "invalid_grant", id="another client"
        ),
        pytest.param({"client_secret": "guess"}, "invalid_client", id="a secret it has not"),
        pytest.param({"grant_type": ""}, "invalid_request", id="no grant type"),
        pytest.param({"grant_type": "password"}, "unsupported_grant_type", id="password"),
        pytest.param({"grant_type": "implicit"}, "unsupported_grant_type", id="implicit"),
        pytest.param(
            {"grant_type": CLIENT_CREDENTIALS}, "unauthorized_client", id="a public client's own"
        ),
        pytest.param({"code": "c" * 25_000}, "invalid_request", id="a code without end"),
    ],
)
async def test_a_code_presented_wrongly_gives_nothing(changes: dict[str, str], told: str):
    box = Box()
    response = await box.token(redeeming(**{"code": await box.code(), **changes}))
    assert error(response) == told
    assert response.status == (401 if told == "invalid_client" else 400)
    assert response.header("cache-control") == "no-store"


@requirement("AS-01")
async def test_a_code_is_over_after_a_minute():
    box = Box()
    code = await box.code()
    box.clock.turn(61)
    assert error(await box.token(redeeming(code))) == "invalid_grant"


async def test_a_code_that_somebody_tried_is_of_no_use_to_anybody():
    box = Box()
    code = await box.code()
    await box.token(redeeming(code, code_verifier="w" * 43))
    assert error(await box.token(redeeming(code))) == "invalid_grant"


@requirement("AS-01")
async def test_a_code_that_comes_twice_takes_back_what_it_gave():
    box = Box()
    code = await box.code()
    said = body(await box.token(redeeming(code)))
    assert error(await box.token(redeeming(code))) == "invalid_grant"
    assert error(await box.token(refreshing(said["refresh_token"]))) == "invalid_grant"
    seen = await box.post("/introspect", {"token": said["access_token"]}, basic("gate", SECRET))
    assert body(seen) == {"active": False}


async def test_a_code_bound_to_a_key_is_of_no_use_without_it():
    box = Box()
    own = thumbprint(APP_KEY.public)
    for key in (None, OTHER_KEY):
        code = await box.code(dpop_jkt=own)
        told = await box.token(redeeming(code), box.proof(key))
        assert error(told) == "invalid_dpop_proof"
    code = await box.code(dpop_jkt=own)
    assert (await box.token(redeeming(code), box.proof(APP_KEY))).status == 200


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"scope": "read write admin"}, "invalid_scope", id="more scopes"),
        pytest.param({"resource": NOTES}, "invalid_target", id="another resource"),
        pytest.param({"client_id": "nobody"}, "invalid_client", id="an unknown client"),
        pytest.param(
            {"client_id": "web", "client_secret": SECRET}, "invalid_grant", id="another client"
        ),
        pytest.param({"refresh_token": "il1.made-up"}, "invalid_grant", id="one made up"),
        pytest.param({"refresh_token": ""}, "invalid_request", id="none"),
    ],
)
async def test_a_refresh_asked_wrongly_gives_nothing_and_ends_nothing(
    changes: dict[str, str], told: str
):
    box = Box()
    token = (await box.tokens())["refresh_token"]
    assert error(await box.token(refreshing(token, **changes))) == told
    assert (await box.token(refreshing(token))).status == 200


@pytest.mark.parametrize(
    ("claims", "key", "told"),
    [
        pytest.param({"aud": "https://other.example"}, SERVICE_KEY, "invalid_client", id="aud"),
        pytest.param({"aud": [URL, "https://x.example"]}, SERVICE_KEY, "invalid_client", id="two"),
        pytest.param({"aud": None}, SERVICE_KEY, "invalid_client", id="no audience"),
        pytest.param({"sub": "other"}, SERVICE_KEY, "invalid_client", id="another subject"),
        pytest.param({"iss": "app"}, SERVICE_KEY, "invalid_client", id="a client without keys"),
        pytest.param({"iss": "nobody"}, SERVICE_KEY, "invalid_client", id="an unknown client"),
        pytest.param({"exp": None}, SERVICE_KEY, "invalid_client", id="without an end"),
        pytest.param({"exp": 1_799_999_000}, SERVICE_KEY, "invalid_client", id="over"),
        pytest.param({"exp": 1_900_000_000}, SERVICE_KEY, "invalid_client", id="for years"),
        pytest.param({"iat": 1_800_009_999}, SERVICE_KEY, "invalid_client", id="of the future"),
        pytest.param({"jti": None}, SERVICE_KEY, "invalid_client", id="without id"),
        pytest.param({}, OTHER_KEY, "invalid_client", id="another key"),
        pytest.param(
            {"typ": "at+jwt"}, SERVICE_KEY, "invalid_client", id="a token of another kind"
        ),
    ],
)
async def test_an_assertion_that_does_not_hold_proves_no_client(
    claims: dict[str, Any], key: SigningKey, told: str
):
    box = Box()
    response = await box.token(machine(box.assertion(key, **claims)))
    assert (response.status, error(response)) == (401, told)


def machine(assertion: str, **changes: str) -> dict[str, str]:
    usual = {
        "grant_type": CLIENT_CREDENTIALS,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        "resource": FILES,
        "scope": "read",
    }
    return {name: value for name, value in {**usual, **changes}.items() if value}


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_an_assertion_that_needs_no_private_key_proves_no_client(algorithm: str):
    box = Box()
    claims = box.assertion().split(".")[1]
    header = letters(msgspec.json.encode({"alg": algorithm, "kid": SERVICE_KEY.kid}))
    response = await box.token(machine(f"{header}.{claims}.{letters(b'x' * 32)}"))
    assert (response.status, error(response)) == (401, "invalid_client")


async def test_an_assertion_that_comes_twice_proves_no_client():
    box = Box()
    assertion = box.assertion()
    assert (await box.token(machine(assertion))).status == 200
    assert error(await box.token(machine(assertion))) == "invalid_client"


@pytest.mark.parametrize(
    ("form", "headers", "status", "told"),
    [
        pytest.param({}, basic("web", "wrong"), 401, "invalid_client", id="a wrong secret"),
        pytest.param({}, basic("nobody", SECRET), 401, "invalid_client", id="an unknown client"),
        pytest.param({}, {"authorization": "Basic !"}, 401, "invalid_client", id="no base64"),
        pytest.param({}, {"authorization": "Bearer x"}, 401, "invalid_client", id="a bearer"),
        pytest.param(
            {"client_id": "app"}, basic("web", SECRET), 400, "invalid_request", id="two clients"
        ),
        pytest.param(
            {"client_id": "web", "client_secret": SECRET},
            basic("web", SECRET),
            400,
            "invalid_request",
            id="two ways",
        ),
        pytest.param({"client_id": "service"}, {}, 401, "invalid_client", id="no assertion"),
        pytest.param(
            {"client_id": "service", "client_secret": SECRET}, {}, 401, "invalid_client", id="way"
        ),
        pytest.param(
            {"client_assertion": "x", "client_assertion_type": "other"},
            {},
            400,
            "invalid_request",
            id="another type of assertion",
        ),
    ],
)
async def test_a_client_that_does_not_prove_itself_is_told_how_to(
    form: dict[str, str], headers: dict[str, str], status: int, told: str
):
    said = redeeming("x" * 43, **{"client_id": "", **form})
    response = await Box().token(said, headers)
    assert (response.status, error(response)) == (status, told)
    asks = response.header("www-authenticate")
    assert (asks or "").startswith("Basic ") is (status == 401)


async def _get(box: Box) -> Response:
    return await box.get("/token", urlencode(redeeming(await box.code())))


async def _json(box: Box) -> Response:
    data = msgspec.json.encode(redeeming(await box.code()))
    return await box.send("POST", "/token", data, headers={"content-type": "application/json"})


async def _multipart(box: Box) -> Response:
    data = urlencode(redeeming(await box.code())).encode()
    return await box.send("POST", "/token", data, headers={"content-type": "multipart/form-data"})


async def _two_codes(box: Box) -> Response:
    return await box.post("/token", urlencode(redeeming(await box.code())) + "&code=again")


async def _two_clients(box: Box) -> Response:
    return await box.post("/token", urlencode(redeeming(await box.code())) + "&client_id=web")


async def _many_fields(box: Box) -> Response:
    return await box.post("/token", urlencode(redeeming(await box.code())) + "&x=1" * 100)


async def _no_text(box: Box) -> Response:
    return await box.send("POST", "/token", b"\xff\xfe", headers={"content-type": FORM})


async def _in_the_query(box: Box) -> Response:
    query = urlencode(redeeming(await box.code()))
    return await box.send("POST", "/token", b"", query, {"content-type": FORM})


async def _other_host(box: Box) -> Response:
    form = redeeming(await box.code())
    return await box.token(form, {"host": "evil.example"})


@pytest.mark.parametrize(
    ("attack", "status"),
    [
        (_get, 405),
        (_json, 400),
        (_multipart, 400),
        (_two_codes, 400),
        (_two_clients, 400),
        (_many_fields, 400),
        (_no_text, 400),
        (_in_the_query, 400),
        (_other_host, 403),
    ],
)
async def test_a_request_for_tokens_that_is_no_form_gives_nothing(
    attack: Callable[[Box], Awaitable[Response]], status: int
):
    response = await attack(Box())
    assert (response.status, error(response)) == (status, "invalid_request")
    assert response.header("cache-control") == "no-store"


# Proofs of possession.


def _proofs(box: Box) -> dict[str, str]:
    now = box.clock()
    place = f"{URL}/token"
    good = prove(APP_KEY, "POST", place, now=now)
    header, claims, signature = good.split(".")
    return {
        "no token": "x",
        "cut": f"{header}.{claims}.",
        "another method": prove(APP_KEY, "GET", place, now=now),
        "another URL": prove(APP_KEY, "POST", FILES, now=now),
        "old": prove(APP_KEY, "POST", place, now=now - 400),
        "of the future": prove(APP_KEY, "POST", place, now=now + 400),
        "no type": APP_KEY.sign({"htm": "POST", "htu": place, "iat": now, "jti": "1"}),
        "another key": prove(OTHER_KEY, "POST", place, now=now).rpartition(".")[0]
        + "."
        + signature,
        "private key": OTHER_KEY.sign(
            {"htm": "POST", "htu": place, "iat": now, "jti": "1"},
            typ="dpop+jwt",
            jwk=OTHER_KEY.to_jwk(),
            kid=None,
        ),
    }


@requirement("XD-03")
@pytest.mark.parametrize("which", _proofs(Box()))
async def test_a_proof_that_does_not_hold_binds_nothing(which: str):
    box = Box()
    code = await box.code()
    told = await box.token(redeeming(code), {"dpop": _proofs(box)[which]})
    assert (told.status, error(told)) == (400, "invalid_dpop_proof")
    # The code was not looked at: whoever made the mistake may try again.
    assert (await box.token(redeeming(code), box.proof(APP_KEY))).status == 200


async def test_a_proof_that_comes_twice_gives_nothing():
    box = Box()
    proof = box.proof(APP_KEY)
    first = body(await box.token(redeeming(await box.code()), proof))
    assert first["token_type"] == "DPoP"
    second = await box.token(redeeming(await box.code()), proof)
    assert error(second) == "invalid_dpop_proof"


async def test_a_proof_without_the_nonce_is_told_it_and_loses_nothing():
    box = Box(dpop_nonces=True)
    code = await box.code()
    told = await box.token(redeeming(code), box.proof(APP_KEY))
    assert (told.status, error(told)) == (400, "use_dpop_nonce")
    nonce = told.header("dpop-nonce")
    assert nonce
    box.clock.turn(1)
    good = await box.token(redeeming(code), box.proof(APP_KEY, nonce=nonce))
    assert good.status == 200
    box.clock.turn(301)
    late = refreshing(body(good)["refresh_token"])
    assert error(await box.token(late, box.proof(APP_KEY, nonce=nonce))) == "use_dpop_nonce"
    assert error(await box.token(late, box.proof(APP_KEY, nonce="il1.x"))) == "use_dpop_nonce"


@requirement("XD-03")
async def test_a_public_clients_refresh_token_is_bound_to_its_key():
    box = Box()
    said = await box.tokens(proof=APP_KEY)
    for key in (None, OTHER_KEY):
        told = await box.token(refreshing(said["refresh_token"]), box.proof(key))
        assert error(told) == "invalid_dpop_proof"
    again = await box.token(refreshing(said["refresh_token"]), box.proof(APP_KEY))
    assert body(again)["token_type"] == "DPoP"


# Registration.


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param({"redirect_uris": []}, "invalid_redirect_uri", id="none"),
        pytest.param({}, "invalid_redirect_uri", id="nothing at all"),
        pytest.param({"redirect_uris": ["javascript:x"]}, "invalid_redirect_uri", id="javascript"),
        pytest.param({"redirect_uris": ["data:x"]}, "invalid_redirect_uri", id="data"),
        pytest.param({"redirect_uris": ["file:///x"]}, "invalid_redirect_uri", id="file"),
        pytest.param({"redirect_uris": ["cursor://x/cb"]}, "invalid_redirect_uri", id="scheme"),
        pytest.param({"redirect_uris": ["http://a.example/"]}, "invalid_redirect_uri", id="http"),
        pytest.param({"redirect_uris": ["http://10.0.0.1/"]}, "invalid_redirect_uri", id="LAN"),
        pytest.param(
            {"redirect_uris": ["http://localhost.x.example/"]}, "invalid_redirect_uri", id="name"
        ),
        pytest.param({"redirect_uris": ["https://*.x.example/"]}, "invalid_redirect_uri", id="*"),
        pytest.param(
            {"redirect_uris": ["https://u@x.example/"]}, "invalid_redirect_uri", id="user"
        ),
        pytest.param({"redirect_uris": ["https://x.example/#f"]}, "invalid_redirect_uri", id="#"),
        pytest.param({"redirect_uris": ["https:///cb"]}, "invalid_redirect_uri", id="no host"),
        pytest.param(
            {"redirect_uris": ["https://x.example/ y"]}, "invalid_redirect_uri", id="space"
        ),
        pytest.param({"redirect_uris": ["https://x.example/ü"]}, "invalid_redirect_uri", id="ü"),
        pytest.param(
            {"redirect_uris": ["https://x.example/" + "y" * 3000]},
            "invalid_redirect_uri",
            id="long",
        ),
        pytest.param(
            {"redirect_uris": [f"https://x.example/{n}" for n in range(33)]},
            "invalid_redirect_uri",
            id="many",
        ),
        pytest.param(
            {"redirect_uris": [BACK], "application_type": "web"},
            "invalid_redirect_uri",
            id="web on loopback",
        ),
        pytest.param(
            {"redirect_uris": [BACK], "application_type": "toaster"},
            "invalid_client_metadata",
            id="type",
        ),
        pytest.param(
            {"redirect_uris": [BACK], "grant_types": [CLIENT_CREDENTIALS]},
            "invalid_client_metadata",
            id="grants",
        ),
        pytest.param(
            {"redirect_uris": [BACK], "response_types": ["token"]},
            "invalid_client_metadata",
            id="implicit",
        ),
        pytest.param(
            {"redirect_uris": [BACK], "token_endpoint_auth_method": "x"},
            "invalid_client_metadata",
            id="auth",
        ),
        pytest.param(
            {"redirect_uris": [BACK], "token_endpoint_auth_method": "private_key_jwt"},
            "invalid_client_metadata",
            id="no keys",
        ),
        pytest.param(
            {
                "redirect_uris": [BACK],
                "token_endpoint_auth_method": "private_key_jwt",
                "jwks": {"keys": [OTHER_KEY.to_jwk()]},
            },
            "invalid_client_metadata",
            id="its private key",
        ),
        pytest.param({"redirect_uris": "x"}, "invalid_client_metadata", id="no list"),
        pytest.param(
            {"redirect_uris": [BACK], "client_name": "n" * 20_000},
            "invalid_client_metadata",
            id="too long",
        ),
    ],
)
async def test_a_client_that_registers_wrongly_is_told(said: dict[str, Any], told: str):
    response = await Box().register(**said)
    assert response.status in (400, 413)
    assert error(response) == told


# Documents of clients.


@requirement("AS-02", "CR-02")
@pytest.mark.parametrize(
    ("place", "document"),
    [
        pytest.param(DOCUMENT, {"client_id": "https://other.example/app.json"}, id="another id"),
        pytest.param(DOCUMENT, {"client_id": DOCUMENT + "/"}, id="nearly the id"),
        pytest.param(DOCUMENT, {"client_id": None}, id="no id"),
        pytest.param(DOCUMENT, {"redirect_uris": ["https://evil.example/"]}, id="other redirects"),
        pytest.param(DOCUMENT, {"redirect_uris": []}, id="no redirects"),
        pytest.param(DOCUMENT, {"redirect_uris": ["javascript:x"]}, id="javascript"),
        pytest.param(DOCUMENT, {"token_endpoint_auth_method": "client_secret_post"}, id="a secret"),
        pytest.param(DOCUMENT, {"token_endpoint_auth_method": "private_key_jwt"}, id="no keys"),
        pytest.param(DOCUMENT, b"<html>", id="no JSON"),
        pytest.param(DOCUMENT, b"[]", id="no object"),
        pytest.param(DOCUMENT, b" " * 70_000, id="without end"),
        pytest.param("https://client.example.org", {}, id="a URL without path"),
        pytest.param("https://client.example.org/", {}, id="a root"),
        pytest.param("https://u:p@client.example.org/a", {}, id="a user"),
        pytest.param("https://client.example.org/a/../b", {}, id="dots"),
        pytest.param("https://client.example.org/a#b", {}, id="a fragment"),
        pytest.param("http://client.example.org/a", {}, id="no TLS"),
        pytest.param("https://client.example.org:x/a", {}, id="no port"),
    ],
)
async def test_a_document_that_does_not_make_a_client_lets_nobody_in(place: str, document: Any):
    usual = {"client_id": place, "client_name": "X", "redirect_uris": [BACK]}
    whole = document if isinstance(document, bytes) else {**usual, **document}
    box = Box(fetcher=Shelf({place: whole}))
    page = await box.browser.open(asked(client_id=place))
    assert page.response.status == 400
    assert page.response.header("location") is None


# Exchanges, looking, giving back.


@pytest.mark.parametrize(
    ("changes", "headers", "told"),
    [
        pytest.param({"subject_token": "x"}, basic("gate", SECRET), "invalid_request", id="no token"),
        pytest.param({"resource": "https://x.example"}, basic("gate", SECRET), "invalid_target", id="unknown"),
        pytest.param({"scope": "pin"}, basic("gate", SECRET), "invalid_scope", id="more scopes"),
        pytest.param({"actor_token": "x"}, basic("gate", SECRET), "invalid_request", id="an actor"),
        pytest.param({"subject_token_type": "urn:x"}, basic("gate", SECRET), "invalid_request", id="type"),
        pytest.param({"requested_token_type": "urn:x"}, basic("gate", SECRET), "invalid_request", id="type wanted"),
        pytest.param({}, basic("web", SECRET), "unauthorized_client", id="a client that may not"),
        pytest.param({"client_id": "app"}, {}, "unauthorized_client", id="a public client"),
    ],
)  # fmt: skip
async def test_an_exchange_gives_no_more_than_the_token_and_the_operator_allow(
    changes: dict[str, str], headers: dict[str, str], told: str
):
    box = Box()
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": (await box.tokens())["access_token"],
        "subject_token_type": ACCESS_TOKEN,
        "resource": NOTES,
        **changes,
    }
    assert error(await box.token(form, headers)) == told


async def test_no_error_says_more_than_a_client_may_be_told():
    box = Box()
    code = await box.code()
    wrong = "w" * 43
    told = await box.token(redeeming(code, code_verifier=wrong))
    for secret in (code, wrong, VERIFIER, SIGN_IN):
        assert secret.encode() not in told.body
        assert secret not in repr(told)
    said = body(told)["error_description"]
    # RFC 6749 section 5.2: printable ASCII without quotes and backslashes.
    assert all(" " <= character <= "~" and character not in '"\\' for character in said)


async def test_what_an_attacker_names_is_never_sent_to_a_browser_as_it_is():
    evil = "<script>alert(1)</script>"
    registered = await (box := Box()).register(
        redirect_uris=[BACK], client_name=evil, token_endpoint_auth_method="none"
    )
    page = await box.browser.open(asked(client_id=body(registered)["client_id"]))
    assert evil not in page.html
    assert "&lt;script&gt;" in page.html
    assert urlsplit(page.action).netloc == ""
