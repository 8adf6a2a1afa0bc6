from __future__ import annotations

from typing import Any

import pytest
from tests.auth.issuer.box import BACK, URL, WEB_BACK, Box, asked, body, error

from interlock.auth.issuer import registration
from interlock.auth.jwt import SigningKey

KEY = SigningKey.generate()


async def test_a_public_client_is_given_an_id_and_no_secret():
    said = body(
        await Box().register(
            client_name="My app",
            redirect_uris=[BACK],
            token_endpoint_auth_method="none",
            grant_types=["authorization_code", "refresh_token", "urn:other"],
            response_types=["code"],
            application_type="native",
            scope="read",
            contacts=["nobody@example.com"],
            logo_uri=None,
        )
    )
    assert said.pop("client_id")
    assert said == {
        "client_name": "My app",
        "client_id_issued_at": 1_800_000_000,
        "redirect_uris": [BACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    }


@pytest.mark.parametrize("method", [None, "client_secret_basic", "client_secret_post"])
async def test_a_confidential_client_is_given_a_secret_that_is_not_kept(method: str | None):
    box = Box()
    response = await box.register(redirect_uris=[WEB_BACK], token_endpoint_auth_method=method)
    assert (response.status, response.header("cache-control")) == (201, "no-store")
    said = body(response)
    assert said["application_type"] == "web"
    assert said["client_secret_expires_at"] == 0
    entry = await box.issuer.office.clients.registered.table.get(said["client_id"])
    assert entry is not None
    assert said["client_secret"].encode() not in entry.value


@pytest.mark.parametrize(
    "said",
    [
        {"redirect_uris": ["http://localhost:3000/cb", "http://[::1]:1/cb"]},
        {"redirect_uris": ["com.example.app:/cb"]},
        {"redirect_uris": [WEB_BACK], "application_type": "web"},
        {"redirect_uris": [WEB_BACK, BACK], "application_type": "native"},
        {
            "redirect_uris": [WEB_BACK],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [KEY.public]},
        },
    ],
)
async def test_clients_of_all_kinds_register(said: dict[str, Any]):
    box = Box()
    response = await box.register(**said)
    assert response.status == 201
    name = body(response)["client_id"]
    page = await box.browser.open(asked(client_id=name, redirect_uri=said["redirect_uris"][0]))
    assert page.response.status == 200


async def test_a_client_that_nobody_let_in_is_forgotten_after_a_day():
    box = Box()
    name = body(await box.register(redirect_uris=[BACK]))["client_id"]
    assert (await box.browser.open(asked(client_id=name))).response.status == 200
    box.clock.turn(24 * 3600 + 1)
    assert (await box.browser.open(asked(client_id=name))).response.status == 400


async def test_registrations_are_bounded_until_some_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registration, "AT_MOST", 2)
    box = Box()
    said = [await box.register(redirect_uris=[BACK]) for _ in range(3)]
    assert [each.status for each in said] == [201, 201, 503]
    assert error(said[2]) == "temporarily_unavailable"
    box.clock.turn(24 * 3600 + 1)
    assert (await box.register(redirect_uris=[BACK])).status == 201


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 20_000, b"null"])
async def test_what_is_no_metadata_is_told_so(data: bytes):
    box = Box()
    told = {"content-type": "application/json"}
    response = await box.send("POST", "/register", data, headers=told)
    assert error(response) == "invalid_client_metadata"


async def test_registration_can_be_off():
    box = Box(registration=False)
    assert (await box.register(redirect_uris=[BACK])).status == 404
    metadata = body(await box.get("/.well-known/oauth-authorization-server"))
    assert "registration_endpoint" not in metadata
    assert metadata["issuer"] == URL
