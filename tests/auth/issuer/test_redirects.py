from __future__ import annotations

import pytest
from tests.spec.marking import requirement

from interlock.auth.issuer.redirects import fault, fits, host, source


@requirement("AS-01", "SEC-03")
@pytest.mark.parametrize(
    ("uri", "registered", "native", "fit"),
    [
        ("https://a.example/cb", "https://a.example/cb", False, True),
        ("https://a.example/cb", "https://a.example/CB", False, False),
        ("https://a.example:443/cb", "https://a.example/cb", True, False),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", True, True),
        ("http://127.0.0.1/cb", "http://127.0.0.1:1/cb", True, True),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", False, False),
        ("http://[::1]:1/cb", "http://[::1]:2/cb", True, True),
        ("http://localhost:1/cb", "http://localhost:2/cb", True, True),
        ("http://localhost:1/cb", "http://127.0.0.1:1/cb", True, False),
        ("http://127.0.0.1:1", "http://127.0.0.1:2", True, True),
        ("http://127.0.0.1:1/", "http://127.0.0.1:2", True, False),
        ("http://127.0.0.1:1/cb?a=1", "http://127.0.0.1:2/cb?a=1", True, True),
        ("http://127.0.0.1:1/cb?a=2", "http://127.0.0.1:2/cb?a=1", True, False),
        ("http://127.0.0.1:123456/cb", "http://127.0.0.1:2/cb", True, False),
        ("http://127.0.0.1:1@x/cb", "http://127.0.0.1:2/cb", True, False),
        ("http://127.0.0.1:1/cb#", "http://127.0.0.1:2/cb#", True, False),
        ("http://127.0.0.1:1/c b", "http://127.0.0.1:2/c b", True, False),
        ("", "http://127.0.0.1:2/cb", True, False),
    ],
)
def test_only_the_port_on_the_loopback_may_differ(
    uri: str, registered: str, native: bool, fit: bool
):
    assert fits(uri, [registered], native=native) is fit


@pytest.mark.parametrize(
    "uri",
    [
        "https://a.example/cb",
        "http://localhost/cb",
        "http://127.0.0.1:99/cb",
        "http://[::1]/",
        "com.example.app:/cb",
        "cursor://cb",
    ],
)
def test_a_native_client_may_come_back_there(uri: str):
    assert fault(uri, native=True, schemes=("cursor",)) is None


@requirement("AS-01", "SEC-03")
@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "about:blank",
        "blob:https://a.example/1",
        "ftp://a.example/",
        "http://0.0.0.0/cb",
        "http://localhost@evil.example/",
        "http://localhost.evil.example/",
        "http:///cb",
        "https://",
        "//a.example/cb",
        "/cb",
        "https://a.example:port/",
        "https://a.example\\@evil.example/",
        "https://[::1/",
    ],
)
def test_nobody_comes_back_there(uri: str):
    assert fault(uri, native=True, schemes=("cursor",)) is not None


def test_where_a_browser_goes_is_named_for_its_policy_and_for_a_person():
    assert source("https://a.example:8443/cb?x") == "https://a.example:8443"
    assert source("http://[::1]:3/cb") == "http:"
    assert source("com.example.app:/cb") == "com.example.app:"
    assert host("http://localhost:3/cb") == "localhost:3"
    assert "com.example.app:" in host("com.example.app:/cb")


@pytest.mark.parametrize(
    "host_said", ["evil.example;sandbox", "evil.example,x", "a'b.example", "a$b.example", ":443"]
)
def test_a_host_that_would_say_something_to_a_browser_is_none(host_said: str):
    """It stands in the page's Content-Security-Policy, where a semicolon begins a directive."""
    assert fault(f"https://{host_said}/cb", native=False) is not None
