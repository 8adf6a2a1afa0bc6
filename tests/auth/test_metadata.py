"""What the parties of OAuth publish: read tolerantly, compared letter by letter."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from tests.spec.marking import requirement

from interlock.auth.metadata import (
    Registered,
    canonical,
    chosen_auth,
    covers,
    is_loopback,
    origin,
    read_client,
    read_registered,
    read_resource,
    read_server,
    resource_places,
    server_places,
)
from interlock.errors import AuthorizationFailed, ConfigError

PLACE = "https://a.example/.well-known/oauth-authorization-server"


@requirement("RS9-11")
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://A.Example/MCP", "https://a.example/MCP"),
        ("HTTPS://a.example/mcp/", "https://a.example/mcp"),
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example"),
        ("https://a.example:8443/mcp?b=c", "https://a.example:8443/mcp?b=c"),
        ("http://127.0.0.1:1/", "http://127.0.0.1:1"),
    ],
)
def test_a_resource_has_one_identifier(url: str, expected: str):
    """RFC 8707 § 2."""
    assert canonical(url) == expected


@requirement("RS9-11")
@pytest.mark.parametrize(
    "url",
    [
        "",
        "mcp",
        "/mcp",
        "ftp://a.example/",
        "javascript:alert(1)",
        "https://",
        "https:///mcp",
        "https://a.example/mcp#part",
        "https://a.example/mcp#",
        "https://[::1/mcp",
        "https://a.example:port/",
        "https://me:hunter2-hunter2@a.example/",
        "https://me:hunter2-hunter2@a.example/#part",
        "https://me:hunter2-hunter2@a.example:port/",
    ],
)
def test_what_identifies_no_resource_is_refused_without_a_password_being_shown(url: str):
    with pytest.raises(ConfigError) as refused:
        canonical(url)
    assert "hunter2" not in str(refused.value)


def test_an_origin_is_scheme_host_and_port():
    assert origin("https://a.example:8443/mcp?a#b") == "https://a.example:8443"
    assert origin("https://user:word@a.example/") == "https://a.example"
    for url in ("mcp", "https://[a/", "https://a:port/"):
        with pytest.raises(AuthorizationFailed, match="is no URL"):
            origin(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost/", True),
        ("http://127.0.0.1:1/a", True),
        ("http://[::1]:1/a", True),
        ("http://LOCALHOST/", True),
        ("http://localhost.evil.example/", False),
        ("http://127.0.0.1.evil.example/", False),
        ("http://localhost@evil.example/", False),
        ("http://[::1/", False),
        ("", False),
    ],
)
def test_this_machine_has_names_that_say_so(url: str, expected: bool):
    assert is_loopback(url) is expected


def test_a_resource_is_described_beneath_its_host_with_its_path_and_without():
    """RFC 9728 § 3.1."""
    root = "https://a.example/.well-known/oauth-protected-resource"
    assert resource_places("https://a.example/public/mcp/") == [f"{root}/public/mcp", root]
    assert resource_places("https://a.example/") == [root]


@requirement("CD-04")
def test_an_authorization_server_is_described_in_two_or_three_places():
    """2026-07-28 § Authorization Server Metadata Discovery."""
    known = "https://a.example/.well-known"
    assert server_places("https://a.example") == [
        f"{known}/oauth-authorization-server",
        f"{known}/openid-configuration",
    ]
    assert server_places("https://a.example/") == server_places("https://a.example")
    assert server_places("https://a.example/tenant") == [
        f"{known}/oauth-authorization-server/tenant",
        f"{known}/openid-configuration/tenant",
        "https://a.example/tenant/.well-known/openid-configuration",
    ]


URL = "https://a.example/public/mcp"


@requirement("CD-02")
@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (URL, True),
        (f"{URL}/", True),
        ("https://A.EXAMPLE/public/mcp", True),
        ("https://a.example/public", True),
        ("https://a.example/", True),
        ("https://a.example", True),
        (f"{URL}/deeper", False),
        ("https://a.example/pub", False),
        ("https://a.example/PUBLIC/mcp", False),
        ("https://a.example/public/%6dcp", False),
        ("https://a.example/public/../public/mcp", False),
        ("http://a.example/public/mcp", False),
        ("https://a.example:8443/public/mcp", False),
        ("https://b.example/public/mcp", False),
        ("https://a.example.evil.example/public/mcp", False),
        ("https://a.example@evil.example/public/mcp", False),
        ("https://evil.example#a.example/public/mcp", False),
        ("https://a.example/public/mcp?tenant=b", False),
        (f"{URL}#part", False),
        ("urn:mcp", False),
        ("", False),
        ("https://[", False),
    ],
)
def test_metadata_is_about_the_server_or_what_holds_it(resource: str, expected: bool):
    assert covers(resource, URL) is expected


def test_a_query_is_part_of_the_identifier():
    assert covers("https://a.example/mcp?tenant=a", "https://a.example/mcp?tenant=a")
    assert not covers("https://a.example/mcp?tenant=a", "https://a.example/mcp?tenant=b")
    assert covers("https://a.example/mcp", "https://a.example/mcp?tenant=b")


def test_null_is_as_good_as_nothing():
    found = read_server(
        b'{"issuer":"https://a.example","token_endpoint":null,"scopes_supported":null,"x":null}',
        PLACE,
        "https://a.example",
    )
    assert found.token_endpoint is None


@requirement("CD-05")
@pytest.mark.parametrize(
    "issuer",
    [
        "https://a.example/",
        "https://A.example",
        "HTTPS://a.example",
        "https://a.example:443",
        "https://a.exampl%65",
        "https://a.example ",
        "https://b.example",
        "",
    ],
)
def test_an_issuer_is_compared_letter_by_letter(issuer: str):
    """RFC 8414 § 3.3."""
    data = json.dumps({"issuer": issuer}).encode()
    with pytest.raises(AuthorizationFailed, match=r"not of 'https://a.example'; it is not used"):
        read_server(data, PLACE, "https://a.example")


DEEP = b'{"issuer":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"<html>",
        b"{",
        b'{"a":1}',
        b"\xff\xfe",
        b'{"issuer":1}',
        b'{"issuer":["https://a.example"]}',
        b'{"issuer":null}',
        b'{"issuer":"https://a.example","token_endpoint":7}',
        b'{"issuer":"https://a.example","scopes_supported":"all"}',
        b'{"issuer":"https://a.example","scopes_supported":[null]}',
        DEEP,
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_no_metadata_says_so(data: bytes):
    with pytest.raises(AuthorizationFailed, match="is no authorization server metadata"):
        read_server(data, PLACE, "https://a.example")


def test_a_resource_has_to_be_named():
    with pytest.raises(AuthorizationFailed, match="is no protected resource metadata"):
        read_resource(b'{"authorization_servers":["https://a.example"]}', PLACE)


def test_a_clients_document_is_that_of_its_id():
    place = "https://client.example/id.json"
    data = json.dumps({"client_id": place, "redirect_uris": ["http://127.0.0.1/"]}).encode()
    assert read_client(data, place).redirect_uris == ["http://127.0.0.1/"]
    with pytest.raises(AuthorizationFailed, match="of another client id"):
        read_client(data, f"{place}?")


@pytest.mark.parametrize("expires", ["soon", [], 10**400])
def test_a_registration_that_makes_no_sense_is_refused(expires: Any):
    data = json.dumps({"client_id": "a", "client_secret_expires_at": expires}).encode()
    with pytest.raises(AuthorizationFailed, match="is no registered client"):
        read_registered(data, PLACE)


@requirement("CR-05")
@pytest.mark.parametrize(
    ("offered", "secret", "key", "told", "expected"),
    [
        (None, False, False, None, "none"),
        (["client_secret_basic"], False, False, None, "none"),
        (None, True, False, None, "client_secret_basic"),
        (["client_secret_basic"], True, False, None, "client_secret_basic"),
        (["client_secret_post"], True, False, None, "client_secret_post"),
        (["none"], True, False, None, "client_secret_basic"),
        (["client_secret_basic"], True, False, "client_secret_post", "client_secret_post"),
        (["client_secret_basic"], True, False, "none", "none"),
        (["client_secret_basic"], True, False, "tls_client_auth", "client_secret_basic"),
        (["private_key_jwt", "client_secret_basic"], True, True, None, "private_key_jwt"),
        (["client_secret_post"], True, True, None, "client_secret_post"),
        (None, False, True, None, "private_key_jwt"),
        (["private_key_jwt"], True, False, "private_key_jwt", "client_secret_basic"),
    ],
)
def test_a_client_proves_itself_as_it_can_and_as_is_wanted(
    offered: list[str] | None, secret: bool, key: bool, told: str | None, expected: str
):
    assert chosen_auth(offered, secret=secret, key=key, told=told) == expected


def test_a_registration_shows_no_secret():
    registered = Registered("client", "secret-of-the-client")
    out = StringIO()
    Console(file=out).print(registered, [registered])
    assert "secret-of" not in out.getvalue() + repr(registered)
