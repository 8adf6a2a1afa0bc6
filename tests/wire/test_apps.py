"""What tools and resources say of their pages, and how a host reads it (MCP Apps, 2026-01-26).

https://github.com/modelcontextprotocol/ext-apps/blob/main/specification/2026-01-26/apps.mdx
"""

from __future__ import annotations

from typing import Any

import pytest

from interlock.wire.apps import (
    Csp,
    Page,
    ToolPage,
    allowed,
    content_security_policy,
    is_origin,
    may_call,
    page_of,
    page_of_tool,
    takes_apps,
)
from interlock.wire.meta import ClientCapabilities

UI = "io.modelcontextprotocol/ui"


@pytest.mark.parametrize(
    ("settings", "takes"),
    [
        ({UI: {"mimeTypes": ["text/html;profile=mcp-app"]}}, True),
        ({UI: {"mimeTypes": ["x/y", "text/html;profile=mcp-app"]}}, True),
        ({UI: {"mimeTypes": ["text/html"]}}, False),
        ({UI: {"mimeTypes": "text/html;profile=mcp-app"}}, False),
        ({UI: {}}, False),
        ({"example.com/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}, False),
        (None, False),
    ],
)
def test_a_client_takes_apps_if_it_names_their_type(settings: Any, takes: bool):
    assert takes_apps(ClientCapabilities(extensions=settings)) is takes


@pytest.mark.parametrize(
    ("meta", "page"),
    [
        (None, ToolPage()),
        ({}, ToolPage()),
        ({"ui": {"resourceUri": "ui://a"}}, ToolPage(resource_uri="ui://a")),
        ({"ui/resourceUri": "ui://old"}, ToolPage(resource_uri="ui://old")),
        (
            {"ui/resourceUri": "ui://old", "ui": {"resourceUri": "ui://new"}},
            ToolPage(resource_uri="ui://new"),
        ),
        (
            {"ui/resourceUri": "ui://old", "ui": {"visibility": ["app"]}},
            ToolPage(resource_uri="ui://old", visibility=["app"]),
        ),
        ({"ui": {"resourceUri": "https://evil.example"}}, ToolPage()),
        ({"ui": {"resourceUri": 1, "visibility": "app"}}, ToolPage()),
        ({"ui": "ui://a"}, ToolPage()),
    ],
)
def test_what_a_tool_says_is_read_in_both_spellings(meta: Any, page: ToolPage):
    assert page_of_tool(meta) == page


def test_a_tool_is_for_models_and_pages_unless_it_says_otherwise():
    for meta in (None, {}, {"ui": {"resourceUri": "ui://a"}}, {"ui": {"visibility": None}}):
        assert may_call(meta, "model")
        assert may_call(meta, "app")
    assert not may_call({"ui": {"visibility": ["app"]}}, "model")
    assert may_call({"ui": {"visibility": ["app"]}}, "app")
    assert not may_call({"ui": {"visibility": ["model"]}}, "app")
    assert not may_call({"ui": {"visibility": []}}, "model")


def test_what_a_page_asks_for_is_read_or_was_not_asked():
    said = {"ui": {"csp": {"connectDomains": ["https://a.example"]}, "prefersBorder": True}}
    assert page_of(said) == Page(
        csp=Csp(connect_domains=["https://a.example"]), prefers_border=True
    )
    for meta in (None, {}, {"ui": None}, {"ui": {"csp": "none"}}, {"ui": {"csp": {"x": 1}}}):
        assert (page_of(meta).csp or Csp()) == Csp()


def test_a_page_that_declares_nothing_reaches_nothing():
    assert content_security_policy(Page()) == (
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self'; media-src 'self' data:; connect-src 'none'; "
        "frame-src 'none'; object-src 'none'; base-uri 'self'"
    )
    assert allowed(Page()) == ""


def test_what_a_page_declares_is_allowed_and_no_more():
    page = Page(
        csp=Csp(
            connect_domains=["wss://live.example.com:8443"],
            resource_domains=["https://*.cdn.example", "https://a.example; script-src *", "*"],
            frame_domains=["https://video.example"],
            base_uri_domains=["https://base.example"],
        ),
        permissions={"camera": {}, "clipboardWrite": {}, "usb": {}},
    )
    policy = dict(each.split(" ", 1) for each in content_security_policy(page).split("; "))
    assert policy["connect-src"] == "wss://live.example.com:8443"
    assert policy["script-src"] == "'self' 'unsafe-inline' https://*.cdn.example"
    assert policy["img-src"] == "'self' data: https://*.cdn.example"
    assert policy["frame-src"] == "https://video.example"
    assert policy["base-uri"] == "https://base.example"
    assert policy["default-src"] == "'none'"
    assert allowed(page) == "camera; clipboard-write"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "example.com",
        "https://",
        "https://*",
        "https://a b",
        "https://a;b",
        "https://a/b",
        "https://a.*.b",
        "javascript:alert(1)",
        "data:",
        "'unsafe-eval'",
        "https://a\nb",
        "https://a:port",
    ],
)
def test_what_is_no_origin_is_in_no_policy(text: str):
    assert not is_origin(text)
    assert content_security_policy(Page(csp=Csp(connect_domains=[text]))).count(
        "connect-src 'none'"
    )
