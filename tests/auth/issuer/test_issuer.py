from __future__ import annotations

from typing import Any

import pytest
from tests.auth.issuer.box import (
    ANNA,
    CLIENTS,
    FILES,
    RESOURCES,
    URL,
    Box,
    Shelf,
    asked,
    body,
    error,
)
from tests.spec.marking import requirement

from interlock.auth.issuer.issuer import BODY_LIMIT, Issuer
from interlock.auth.issuer.settings import Resource
from interlock.auth.metadata import server_places
from interlock.errors import ConfigError, StoreError
from interlock.store.memory import MemoryStore


@requirement("AS-01")
async def test_metadata_says_what_there_is():
    box = Box()
    said = body(await box.get("/.well-known/oauth-authorization-server"))
    assert said["issuer"] == URL
    assert said["token_endpoint"] == f"{URL}/token"
    assert said["code_challenge_methods_supported"] == ["S256"]
    assert said["authorization_response_iss_parameter_supported"] is True
    assert said["client_id_metadata_document_supported"] is True
    assert said["scopes_supported"] == ["pin", "read", "write", "offline_access"]
    assert set(said["token_endpoint_auth_methods_supported"]) == {
        "none",
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    }
    assert "refresh_token" in said["grant_types_supported"]
    assert "ES256" in said["dpop_signing_alg_values_supported"]
    openid = body(await box.get("/.well-known/openid-configuration"))
    assert openid["jwks_uri"] == said["jwks_uri"]
    assert openid["subject_types_supported"] == ["public"]


async def test_documents_can_be_off():
    shelf = Shelf({})
    box = Box(documents=None, fetcher=shelf)
    said = body(await box.get("/.well-known/oauth-authorization-server"))
    assert said["client_id_metadata_document_supported"] is False
    page = await box.browser.open(asked(client_id="https://client.example.org/app.json"))
    assert page.response.status == 400
    assert shelf.asked == []


@requirement("AS-02")
async def test_left_to_itself_it_fetches_from_public_addresses_only():
    box = Box(fetcher=None)
    page = await box.browser.open(asked(client_id="https://127.0.0.1:1/app.json"))
    assert page.response.status == 400
    await box.issuer.stop()


@requirement("AS-01")
@pytest.mark.parametrize("url", [URL, URL + "/", f"{URL}/tenant/1", f"{URL}/tenant/1/"])
async def test_every_place_where_metadata_may_be_looked_for_has_it_under_the_same_name(url: str):
    box = Box(url)
    for place in server_places(url):
        said = body(await box.get(place.removeprefix(URL)))
        assert said["issuer"] == url
        assert (await box.get(said["jwks_uri"].removeprefix(URL))).status == 200


async def test_keys_are_published_for_anybody_to_keep():
    response = await Box().get("/jwks")
    assert response.header("cache-control") == "public, max-age=300"
    assert response.header("access-control-allow-origin") == "*"
    assert [key["alg"] for key in body(response)["keys"]] == ["ES256"]


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com",
        "https://id.example.com?x=1",
        "https://id.example.com#x",
        "https://u@id.example.com",
        "ftp://id.example.com",
        "id.example.com",
    ],
)
def test_what_cannot_be_an_issuer_is_refused(url: str):
    with pytest.raises(ConfigError):
        Issuer(url)


def test_on_the_loopback_an_issuer_needs_no_tls():
    assert Issuer("http://127.0.0.1:8080").url == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/token", 405),
        ("PUT", "/token", 405),
        ("POST", "/jwks", 405),
        ("DELETE", "/authorize", 405),
        ("POST", "/.well-known/oauth-authorization-server", 405),
        ("HEAD", "/jwks", 200),
        ("OPTIONS", "/token", 204),
        ("OPTIONS", "/authorize", 405),
    ],
)
async def test_each_path_takes_its_methods(method: str, path: str, status: int):
    response = await Box().send(method, path)
    assert response.status == status
    if status == 405:
        assert response.header("allow") in ("GET", "POST")


@pytest.mark.parametrize("path", ["/authorize", "/decide"])
async def test_no_page_elsewhere_may_read_what_a_person_sees(path: str):
    for method in ("GET", "POST", "OPTIONS"):
        response = await Box().send(method, path)
        assert response.header("access-control-allow-origin") is None


@pytest.mark.parametrize("host", ["evil.example", "", "id.example.com.evil.example", "[::1"])
async def test_a_name_that_is_not_the_issuers_is_turned_away(host: str):
    response = await Box().send("GET", "/jwks", headers={"host": host})
    assert response.status == 403


async def test_other_names_are_answered_to_if_they_were_given():
    box = Box(hosts=("proxy.internal",))
    assert (await box.send("GET", "/jwks", headers={"host": "proxy.internal:80"})).status == 200
    anything = Box(hosts=("*",))
    assert (await anything.send("GET", "/jwks", headers={"host": "x"})).status == 200


class Broken(MemoryStore):
    """Its file is gone, or it is none at all."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def open(self) -> None:
        raise self.error


async def test_a_store_that_fails_is_told_as_passing():
    response = await Box(store=Broken(StoreError("locked"))).get("/jwks")
    assert (response.status, error(response)) == (503, "temporarily_unavailable")


async def test_what_nobody_foresaw_is_told_to_the_log_alone(caplog: pytest.LogCaptureFixture):
    response = await Box(store=Broken(RuntimeError("inner words"))).get("/jwks")
    assert (response.status, error(response)) == (500, "server_error")
    assert b"inner words" not in response.body
    assert "inner words" in caplog.text


async def test_once_closed_it_answers_nothing_until_it_is_started_again():
    box = Box()
    box.issuer.close()
    assert (await box.get("/jwks")).status == 503
    await box.issuer.start()
    assert (await box.get("/jwks")).status == 200
    await box.issuer.stop()
    await box.issuer.stop()


# As an ASGI application.


class Wire:
    """One connection to an application."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = list(events)
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        return self.events.pop(0)

    async def send(self, event: Any) -> None:
        self.sent.append(event)


def scope(method: str, path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"id.example.com"), *headers],
        "client": ("192.0.2.4", 1),
    }


def issuer() -> Issuer:
    return Issuer(URL, resources=RESOURCES, people=(ANNA,), clients=CLIENTS)


async def test_it_serves_http():
    wire = Wire(
        {"type": "http.request", "body": b"a=", "more_body": True}, {"type": "http.request"}
    )
    await issuer()(scope("POST", "/token"), wire.receive, wire.send)
    start, rest = wire.sent
    assert start["status"] == 400
    headers = dict(start["headers"])
    assert headers[b"content-length"] == b"%d" % len(rest["body"])


async def test_a_body_that_is_too_long_is_not_read_to_its_end():
    piece = {"type": "http.request", "body": b"x" * BODY_LIMIT, "more_body": True}
    wire = Wire(piece, piece, piece)
    await issuer()(scope("POST", "/token"), wire.receive, wire.send)
    assert wire.sent[0]["status"] == 413
    assert (b"connection", b"close") in wire.sent[0]["headers"]
    assert len(wire.events) == 1


async def test_who_left_is_answered_nothing():
    wire = Wire({"type": "http.disconnect"})
    await issuer()(scope("POST", "/token"), wire.receive, wire.send)
    assert wire.sent == []


async def test_a_head_has_no_body():
    wire = Wire({"type": "http.request"})
    await issuer()(scope("HEAD", "/jwks"), wire.receive, wire.send)
    assert wire.sent[1]["body"] == b""


@pytest.mark.parametrize("name", [b"authorization", b"dpop", b"host"])
async def test_a_header_that_counts_is_there_once(name: bytes):
    wire = Wire({"type": "http.request", "body": b"grant_type=refresh_token&client_id=app"})
    kind = (b"content-type", b"application/x-www-form-urlencoded")
    asked = scope("POST", "/token", kind, (name, b"x"), (name, b"y"))
    await issuer()(asked, wire.receive, wire.send)
    assert wire.sent[0]["status"] == 400


async def test_it_lives_as_long_as_its_server():
    wire = Wire({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    await issuer()({"type": "lifespan"}, wire.receive, wire.send)
    assert [event["type"] for event in wire.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    failing = Issuer(URL, store=Broken(StoreError("locked")))
    wire = Wire({"type": "lifespan.startup"})
    await failing({"type": "lifespan"}, wire.receive, wire.send)
    assert wire.sent[0]["type"] == "lifespan.startup.failed"


async def test_it_opens_no_websocket():
    wire = Wire()
    await issuer()({"type": "websocket"}, wire.receive, wire.send)
    assert wire.sent[0]["type"] == "websocket.close"


async def test_two_issuers_share_a_store_and_know_nothing_of_each_other():
    store = MemoryStore()
    one = Box(store=store)
    other = Box("https://two.example.com", store=store)
    await one.get("/jwks")
    await other.send("GET", "/jwks", headers={"host": "two.example.com"})
    assert one.issuer.office.keys.public != other.issuer.office.keys.public


def test_a_resource_is_what_it_says():
    assert Resource(FILES).scopes == {}
