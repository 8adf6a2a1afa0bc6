"""What a server says about who may come in, and what it may not say."""

from __future__ import annotations

from typing import Any

import pytest
from tests.spec.marking import requirement

from interlock.auth.settings import AuthSettings
from interlock.errors import ConfigError
from interlock.protocol.gate import scope_names

GOOD: dict[str, Any] = {
    "issuer_url": "https://login.example.com",
    "resource_server_url": "https://api.example.com/mcp",
}


class Url:
    """As a URL of a library's own type: its text is what counts."""

    def __str__(self) -> str:
        return "https://login.example.com/"


def test_urls_may_be_of_any_type_and_an_issuer_stays_as_it_is_written():
    settings = AuthSettings(issuer_url=Url(), resource_server_url="https://API.example.com/mcp/")
    assert settings.issuers == ("https://login.example.com/",)
    assert settings.resource == "https://api.example.com/mcp"


def test_there_may_be_several_issuers():
    several = ["https://one.example", "https://two.example"]
    settings = AuthSettings(issuer_url=several, resource_server_url="https://api.example.com/mcp")
    assert settings.issuers == tuple(several)


@requirement("RS9-07", "RS9-11")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer_url": []}, "names no issuer"),
        ({"issuer_url": "http://login.example.com"}, "must be https"),
        ({"issuer_url": "login"}, "no URL"),
        ({"issuer_url": "https://[::1"}, "no URL"),
        ({"resource_server_url": None}, "resource_server_url="),
        ({"resource_server_url": "http://api.example.com/mcp"}, "must be https"),
        ({"resource_server_url": "https://api.example.com/#part"}, "no fragment"),
        ({"required_scopes": ["two words"]}, "no scope"),
        ({"required_scopes": ["offline_access"]}, "offline_access"),
        ({"implies": {"": ["read"]}}, "no scope"),
        ({"dpop": "maybe"}, "is none of"),
    ],
)
def test_what_cannot_be_is_refused_with_what_is_expected(changes: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said):
        AuthSettings(**{**GOOD, **changes})


def test_loopback_may_do_without_encryption():
    settings = AuthSettings(
        issuer_url="http://127.0.0.1:9000", resource_server_url="http://localhost:8000/mcp"
    )
    assert settings.resource == "http://localhost:8000/mcp"


def test_one_scope_may_be_given_as_text():
    assert scope_names("files:read") == {"files:read"}


def test_scopes_hold_what_they_imply_however_far():
    settings = AuthSettings(**GOOD, implies={"admin": ["write"], "write": ["read"]})
    assert settings.expand(["admin", "x"]) == {"admin", "write", "read", "x"}
    assert settings.reduce(["admin", "write", "read", "x"]) == {"admin", "x"}


def test_scopes_that_imply_one_another_are_not_both_taken_away():
    settings = AuthSettings(**GOOD, implies={"a": ["b"], "b": ["a"]})
    assert settings.expand(["a"]) == {"a", "b"}
    assert settings.reduce(["a", "b"]) == {"a"}
