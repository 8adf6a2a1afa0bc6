from __future__ import annotations

import pytest
from tests.auth.issuer.box import (
    BACK,
    FILES,
    SIGN_IN,
    URL,
    WEB_BACK,
    Box,
    Browser,
    asked,
    body,
    claims,
    location,
    redeeming,
    sent_back,
)
from tests.spec.marking import requirement

from interlock.auth.issuer import authorizing
from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.settings import Resource


@requirement("AS-01")
async def test_a_person_signs_in_and_the_app_gets_what_they_allowed():
    box = Box()
    page = await box.browser.open(asked())
    assert page.response.status == 200
    response = await box.browser.answer(page, code=" OPEN sesame-42 ")
    assert response.status == 303
    assert location(response).startswith(BACK + "?")
    back = sent_back(response)
    assert (back["state"], back["iss"]) == ("st&te=1", URL)
    said = await box.token(redeeming(back["code"]))
    assert said.status == 200
    assert said.header("cache-control") == "no-store"
    token = claims(body(said))
    assert token.header["typ"] == "at+jwt"
    assert token.text("sub") == "anna"
    assert token.claims["aud"] == FILES
    assert token.text("client_id") == "app"
    assert token.scopes == {"read", "write"}
    assert token.claims["auth_time"] == int(box.clock())
    assert token.number("exp") == int(box.clock()) + 600
    assert "refresh_token" in body(said)


async def test_a_browser_that_is_signed_in_is_asked_without_the_code():
    box = Box()
    await box.code()
    page = await box.browser.open(asked())
    assert 'name="code"' not in page.html
    assert "Signed in as <b>Anna</b>" in page.html
    assert "code" in sent_back(await box.browser.answer(page))


@requirement("SEC-02")
async def test_a_session_ends_by_itself_and_is_good_in_its_browser_only():
    box = Box()
    await box.code()
    other = Browser(box)
    name = box.issuer.office.people.session_cookie
    other.cookies[name] = box.browser.cookies[name]
    assert 'name="code"' in (await other.open(asked())).html
    box.clock.turn(8 * 3600 + 1)
    assert 'name="code"' in (await box.browser.open(asked())).html


async def test_a_person_who_is_not_the_one_signed_in_can_say_so():
    box = Box()
    await box.code()
    page = await box.browser.open(asked())
    cookies = dict(box.browser.cookies)
    response = await box.browser.answer(page, "leave")
    assert response.status == 200
    assert b'name="code"' in response.body
    box.browser.cookies = cookies
    assert 'name="code"' in (await box.browser.open(asked())).html


@requirement("AS-01")
async def test_a_denial_is_told_to_the_app_with_its_state_and_the_issuer():
    box = Box()
    page = await box.browser.open(asked())
    back = sent_back(await box.browser.answer(page, "deny"))
    assert back["error"] == "access_denied"
    assert (back["state"], back["iss"]) == ("st&te=1", URL)
    assert "code" not in back


@requirement("SEC-01", "SEC-12")
async def test_scopes_are_narrowed_to_those_offered_and_shown_in_plain_words():
    box = Box()
    page = await box.browser.open(asked(scope="read admin offline_access"))
    assert "Read your files" in page.html
    assert "admin" not in page.html
    assert "also while you are away" in page.html
    said = await box.token(
        redeeming(sent_back(await box.browser.answer(page, code=SIGN_IN))["code"])
    )
    assert body(said)["scope"] == "offline_access read"


@requirement("SEC-12")
async def test_an_app_that_names_no_scope_gets_the_usual_ones():
    assert (await Box().tokens(scope=""))["scope"] == "read"


async def test_the_only_resource_need_not_be_named():
    box = Box(resources=(Resource(FILES),))
    said = await box.tokens(resource="")
    assert claims(said).claims["aud"] == FILES


async def test_resources_may_be_found_by_a_function():
    def find(url: str) -> Resource | None:
        return Resource(url) if url.startswith("https://many.example.com/") else None

    box = Box(resources=find)
    code = await box.code(resource="https://many.example.com/7")
    said = body(await box.token(redeeming(code, resource="https://many.example.com/7")))
    assert claims(said).claims["aud"] == "https://many.example.com/7"
    page = await box.browser.open(asked(resource="https://other.example.com/7"))
    assert sent_back(page.response)["error"] == "invalid_target"


async def test_a_resource_may_be_written_with_its_host_in_capitals_and_a_slash_at_its_end():
    box = Box()
    said = await box.tokens(resource="HTTPS://Files.Example.com/mcp/")
    assert claims(said).claims["aud"] == FILES


async def test_a_native_app_comes_back_on_the_port_that_was_free():
    box = Box()
    code = await box.code(redirect_uri="http://127.0.0.1:50001/callback")
    said = await box.token(redeeming(code, redirect_uri="http://127.0.0.1:50001/callback"))
    assert said.status == 200


async def test_a_query_that_a_redirect_uri_has_is_kept():
    own = "https://app.example.com/cb?tenant=7"
    box = Box(clients=(Client(id="app", redirect_uris=(own,)),))
    page = await box.browser.open(asked(redirect_uri=own))
    response = await box.browser.answer(page, code=SIGN_IN)
    assert location(response).startswith(own + "&code=")


async def test_wrong_codes_are_told_and_after_some_there_is_a_wait():
    box = Box()
    page = await box.browser.open(asked())
    for _ in range(5):
        response = await box.browser.answer(page, code="wrong-wrong")
        assert response.status == 401
        page = type(page)(response)
    response = await box.browser.answer(page, code=SIGN_IN)
    assert response.status == 429
    box.clock.turn(6)
    response = await box.browser.answer(type(page)(response), code=SIGN_IN)
    assert response.status == 303


async def test_allowing_without_a_code_asks_for_it():
    box = Box()
    page = await box.browser.open(asked())
    response = await box.browser.answer(page)
    assert response.status == 401
    assert b"sign-in code first" in response.body


@requirement("SEC-03")
async def test_a_page_is_good_for_one_answer_within_its_time():
    box = Box()
    page = await box.browser.open(asked())
    assert (await box.browser.answer(page, code=SIGN_IN)).status == 303
    assert (await box.browser.answer(page, code=SIGN_IN)).status == 400
    late = await box.browser.open(asked())
    box.clock.turn(601)
    assert (await box.browser.answer(late, code=SIGN_IN)).status == 400


@requirement("SEC-01")
async def test_what_was_consented_to_is_what_was_kept_not_what_the_form_says():
    box = Box()
    page = await box.browser.open(asked(scope="read"))
    response = await box.browser.answer(
        page, code=SIGN_IN, scope="write", redirect_uri=WEB_BACK, client_id="web"
    )
    assert location(response).startswith(BACK + "?")
    said = body(await box.token(redeeming(sent_back(response)["code"])))
    assert said["scope"] == "read"


async def test_a_client_that_is_gone_meanwhile_gets_nothing():
    box = Box()
    registered = await box.register(
        redirect_uris=["http://127.0.0.1/cb"], token_endpoint_auth_method="none"
    )
    name = body(registered)["client_id"]
    box.clock.turn(24 * 3600 - 60)
    page = await box.browser.open(asked(client_id=name, redirect_uri="http://127.0.0.1/cb"))
    box.clock.turn(120)
    assert (await box.browser.answer(page, code=SIGN_IN)).status == 400


async def test_pages_that_strangers_open_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(authorizing, "OPEN_WISHES", 3)
    box = Box()
    pages = [await box.browser.open(asked()) for _ in range(4)]
    assert [page.response.status for page in pages] == [200, 200, 200, 503]


@requirement("SEC-02")
async def test_another_browser_is_told_apart_by_a_cookie_that_scripts_cannot_read():
    box = Box()
    page = await box.browser.open(asked())
    cookie = page.response.header("set-cookie")
    assert cookie is not None
    assert cookie.startswith("__Host-interlock-browser=")
    for part in ("Path=/", "HttpOnly", "SameSite=Lax", "Secure"):
        assert part in cookie


@requirement("SEC-02")
async def test_a_browser_keeps_a_cookie_of_ours_and_not_one_made_up():
    box = Box()
    await box.browser.open(asked())
    first = dict(box.browser.cookies)
    await box.browser.open(asked())
    assert box.browser.cookies == first
    box.browser.cookies = {"__Host-interlock-browser": "planted"}
    await box.browser.open(asked())
    assert box.browser.cookies["__Host-interlock-browser"] != "planted"
