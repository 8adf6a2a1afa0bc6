from __future__ import annotations

import pytest
from tests.auth.issuer.box import (
    BACK,
    SECRET,
    SIGN_IN,
    Box,
    Shelf,
    asked,
    body,
    error,
    redeeming,
    sent_back,
)
from tests.spec.marking import requirement

from interlock.auth.issuer.clients import Client, shown
from interlock.auth.jwt import SigningKey
from interlock.auth.metadata import ASSERTION_TYPE
from interlock.errors import ConfigError

DOCUMENT = "https://client.example.org/app.json"
SAID = {
    "client_id": DOCUMENT,
    "client_name": "Documented app",
    "redirect_uris": [
        "http://127.0.0.1/callback",
        "cursor://x/cb",
        "https://client.example.org/cb",
    ],
    "grant_types": ["authorization_code", "refresh_token"],
}


@requirement("AS-02", "CR-02")
async def test_a_document_makes_a_client_that_a_person_can_let_in():
    box = Box(fetcher=Shelf({DOCUMENT: SAID}))
    page = await box.browser.open(asked(client_id=DOCUMENT))
    assert "Documented app" in page.html
    assert "<b>client.example.org</b>" in page.html
    code = sent_back(await box.browser.answer(page, code=SIGN_IN))["code"]
    assert "refresh_token" in body(await box.token(redeeming(code, client_id=DOCUMENT)))


@requirement("AS-02", "CR-02")
async def test_a_document_is_kept_for_its_time_and_one_that_is_not_there_for_a_minute():
    shelf = Shelf({DOCUMENT: SAID})
    box = Box(fetcher=shelf)
    for _ in range(3):
        await box.browser.open(asked(client_id=DOCUMENT))
    assert shelf.asked == [DOCUMENT]
    box.clock.turn(3601)
    del shelf.documents[DOCUMENT]
    for _ in range(3):
        page = await box.browser.open(asked(client_id=DOCUMENT))
        assert page.response.status == 400
    assert len(shelf.asked) == 2
    box.clock.turn(61)
    shelf.documents[DOCUMENT] = SAID
    assert (await box.browser.open(asked(client_id=DOCUMENT))).response.status == 200


@requirement("AS-02")
async def test_a_document_that_has_moved_is_not_followed():
    shelf = Shelf({DOCUMENT: SAID})
    shelf.moved = "https://evil.example/app.json"
    page = await Box(fetcher=shelf).browser.open(asked(client_id=DOCUMENT))
    assert page.response.status == 400


@requirement("AS-02")
async def test_an_operator_says_on_which_hosts_documents_make_clients():
    shelf = Shelf({DOCUMENT: SAID})
    trusted = {"trusted.example"}
    box = Box(fetcher=shelf, documents=trusted.__contains__)
    page = await box.browser.open(asked(client_id=DOCUMENT))
    assert page.response.status == 400
    assert shelf.asked == []


async def test_a_documented_client_proves_itself_with_the_keys_its_document_names():
    key = SigningKey.generate()
    keys = "https://client.example.org/keys"
    said = {**SAID, "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": keys}
    box = Box(fetcher=Shelf({DOCUMENT: said, keys: {"keys": [key.public]}}))
    for signer, good in ((SigningKey.generate(), False), (key, True)):
        code = await box.code(client_id=DOCUMENT)
        form = redeeming(code, client_id=DOCUMENT)
        assert error(await box.token(form)) == "invalid_client"
        proof = {
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": box.assertion(signer, iss=DOCUMENT, sub=DOCUMENT),
        }
        assert (await box.token({**form, **proof})).status == (200 if good else 401)


async def test_a_scheme_that_the_operator_named_is_a_way_back():
    box = Box(fetcher=Shelf({DOCUMENT: SAID}), schemes=("cursor",))
    page = await box.browser.open(asked(client_id=DOCUMENT, redirect_uri="cursor://x/cb"))
    assert page.response.status == 200
    assert "form-action 'self' cursor:;" in (page.response.header("content-security-policy") or "")


def test_a_client_given_in_code_must_make_sense():
    with pytest.raises(ConfigError, match="short"):
        Client(id="x").with_secret("short")
    with pytest.raises(ConfigError, match="keys"):
        Client(id="x", auth="private_key_jwt")
    with pytest.raises(ConfigError, match="cannot have"):
        Box(clients=(Client(id="x", redirect_uris=("http://x.example/",)),))


def test_a_client_shows_no_secret_and_keeps_none():
    client = Client(id="x", redirect_uris=(BACK,)).with_secret(SECRET)
    assert SECRET not in repr(client)
    assert client.secret_hash is not None
    assert SECRET not in client.secret_hash


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("  Plain\n name ", "Plain name"),
        ("a\u202eb\u200bc\x00d", "abcd"),
        ("n" * 200, "n" * 79 + "…"),
        ("", ""),
        ("Ünïcode 名前", "Ünïcode 名前"),
    ],
)
def test_a_name_is_shown_on_one_line_without_what_cannot_be_seen(name: str, seen: str):
    assert shown(name) == seen
