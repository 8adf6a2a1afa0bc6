"""§19 MCP Apps: pages that a host shows beside a tool's result."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.peers import MODERN, Json
from tests.spec.asking import call, listed, offered, read
from tests.spec.fronting import front
from tests.spec.marking import STDIO, requirement
from tests.spec.scripts import LISTED, Script
from tests.spec.ways import Way

from interlock import Context, Server
from interlock.errors import RegistrationError
from interlock.wire.apps import (
    EXTENSION,
    MIME_TYPE,
    Csp,
    allowed,
    content_security_policy,
    may_call,
    page_of,
    page_of_tool,
)

HTML = "<!doctype html><html><body>Your cart</body></html>"
URI = "ui://shop/cart"
SHOWS: Json = {"extensions": {EXTENSION: {"mimeTypes": [MIME_TYPE]}}}


def shop() -> Server:
    server = Server("shop")
    server.app_resource(
        URI,
        HTML,
        csp=Csp(connect_domains=["https://api.example.com"]),
        permissions=["camera"],
        prefers_border=True,
    )

    @server.tool(ui=URI)
    async def cart(ctx: Context) -> str:
        return "shown" if ctx.takes_apps else "two apples"

    @server.tool(ui=URI, visibility=["app"])
    async def refresh() -> str:
        return "three apples"

    return server


@requirement("AP-01")
async def test_a_server_knows_who_shows_apps_and_has_a_text_for_everyone(way: Way):
    """An app is offered to hosts that declare its type; a text result always works.

    https://github.com/modelcontextprotocol/modelcontextprotocol/tree/main/docs/extensions/apps
    """
    others: list[Json] = [
        {},
        {"extensions": {EXTENSION: {}}},
        {"extensions": {EXTENSION: {"mimeTypes": ["text/html"]}}},
    ]
    for capabilities in (SHOWS, *others):
        async with way.join(shop(), capabilities=capabilities) as peer:
            assert EXTENSION in (await offered(peer))["extensions"]
            content = (await call(peer, "cart"))["content"]
            expected = "shown" if capabilities is SHOWS else "two apples"
            assert content == [{"type": "text", "text": expected}]


@requirement("AP-02")
async def test_an_app_is_a_whole_page_under_a_uri_of_its_own(way: Way):
    """An app is a `ui://` resource of its own type, and need not be listed.

    https://github.com/modelcontextprotocol/modelcontextprotocol/tree/main/docs/extensions/apps
    """
    async with way.join(shop()) as peer:
        (contents,) = await read(peer, URI)
    assert (contents["uri"], contents["mimeType"]) == (URI, "text/html;profile=mcp-app")
    assert contents["text"] == HTML
    for uri, html in (("https://shop/cart", HTML), (URI, "<p>a part</p>")):
        with pytest.raises(RegistrationError):
            Server("s").app_resource(uri, html)


@requirement("AP-03")
async def test_the_page_says_what_it_needs_and_the_tool_does_not(way: Way):
    """The resource says what it may connect to and use.

    https://github.com/modelcontextprotocol/modelcontextprotocol/tree/main/docs/extensions/apps
    """
    async with way.join(shop()) as peer:
        (contents,) = await read(peer, URI)
        tools = await listed(peer)
    assert contents["_meta"]["ui"] == {
        "csp": {"connectDomains": ["https://api.example.com"]},
        "permissions": {"camera": {}},
        "prefersBorder": True,
    }
    for tool in tools:
        assert set(tool["_meta"]["ui"]) <= {"resourceUri", "visibility"}


@requirement("AP-04")
async def test_a_tool_names_its_page_and_for_whom_it_is(way: Way):
    """The tool names its app, and who may see the tool.

    https://github.com/modelcontextprotocol/modelcontextprotocol/tree/main/docs/extensions/apps
    """
    async with way.join(shop()) as peer:
        cart, refresh = await listed(peer)
    assert cart["_meta"]["ui"] == {"resourceUri": URI}
    assert refresh["_meta"]["ui"] == {"resourceUri": URI, "visibility": ["app"]}
    assert page_of_tool({"ui/resourceUri": URI}).resource_uri == URI
    assert page_of_tool({"ui": {"resourceUri": "https://evil.example"}}).resource_uri is None


@requirement("AP-05")
def test_a_host_can_tell_what_is_for_the_model_and_what_for_the_page():
    """A host hides from the model what is for the app, and from the app what is for the model.

    https://github.com/modelcontextprotocol/modelcontextprotocol/tree/main/docs/extensions/apps
    """
    for visibility, model, app in (
        (None, True, True),
        (["model", "app"], True, True),
        (["model"], True, False),
        (["app"], False, True),
        ([], False, False),
    ):
        meta = {
            "ui": {
                "resourceUri": URI,
                **({"visibility": visibility} if visibility is not None else {}),
            }
        }
        assert may_call(meta, "model") == model
        assert may_call(meta, "app") == app
    assert may_call(None, "model")


@requirement("AP-06")
def test_a_page_is_allowed_what_it_declared_and_nothing_else():
    """A host allows an app no more than it declared.

    https://github.com/modelcontextprotocol/modelcontextprotocol/tree/main/docs/extensions/apps
    """
    strict = content_security_policy(page_of(None))
    assert "default-src 'none'" in strict
    assert "connect-src 'none'" in strict
    assert "frame-src 'none'" in strict
    assert "http" not in strict
    assert allowed(page_of(None)) == ""
    meta: Json = {
        "ui": {
            "csp": {
                "connectDomains": ["https://api.example.com", "* ; script-src *", "'unsafe-eval'"],
                "resourceDomains": ["https://*.cdn.example.com", "*", "data:"],
            },
            "permissions": {"camera": {}, "usb": {}},
        }
    }
    directives = dict(
        part.strip().split(" ", 1) for part in content_security_policy(page_of(meta)).split(";")
    )
    assert directives["connect-src"].split() == ["https://api.example.com"]
    assert "https://*.cdn.example.com" in directives["script-src"].split()
    assert "*" not in directives["script-src"].split()
    assert "'unsafe-eval'" not in str(directives)
    assert directives["frame-src"] == "'none'"
    assert allowed(page_of(meta)) == "camera"


@requirement("AP-11", over=[STDIO])
async def test_a_gateway_keeps_apps_and_their_tools_together(way: Way, tmp_path: Path):
    """What of this is a library's: registration, capability test, rewriting in a gateway.

    https://github.com/modelcontextprotocol/modelcontextprotocol/tree/main/docs/extensions/apps
    """

    def shop(text: str) -> Script:
        tool = {**LISTED, "_meta": {"ui": {"resourceUri": URI}}}
        contents = [{"uri": URI, "mimeType": MIME_TYPE, "text": text}]
        return Script(
            "2025-11-25",
            {
                "tools/list": {"tools": [tool]},
                "resources/list": {"resources": []},
                "resources/read": {"contents": contents},
            },
            capabilities={"tools": {}, "resources": {}},
        )

    one, two = shop("one"), shop("two")
    async with front(tmp_path, one=one, two=two) as gateway, way.join(gateway) as peer:
        pages = [tool["_meta"]["ui"]["resourceUri"] for tool in await listed(peer)]
        assert len(set(pages)) == 2
        assert all(uri.startswith("ui://") for uri in pages)
        for uri, text in zip(pages, ("one", "two"), strict=True):
            (contents,) = await read(peer, uri)
            assert contents["text"] == text
    assert one.of("resources/read")[0].params["uri"] == URI


@requirement("AP-01", revisions=[MODERN], over=[STDIO])
async def test_a_gateway_says_to_its_servers_whether_the_caller_shows_apps(
    way: Way, tmp_path: Path
):
    """An app is offered to hosts that declare its type; a text result always works.

    https://github.com/modelcontextprotocol/modelcontextprotocol/tree/main/docs/extensions/apps
    """
    script = Script(way.revision)
    async with (
        front(tmp_path, up=script) as gateway,
        way.join(gateway, capabilities=SHOWS) as peer,
    ):
        await call(peer, "up__tool")
    (heard,) = script.of("tools/call")
    can = heard.meta["io.modelcontextprotocol/clientCapabilities"]
    assert can["extensions"][EXTENSION] == {"mimeTypes": [MIME_TYPE]}
