"""Pages that a server offers, and tools that are shown by them (MCP Apps, 2026-01-26)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.joined import Joined

from interlock import Context, Server
from interlock.errors import RegistrationError
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.wire.apps import Csp, Page, ToolPage, page_of, page_of_tool
from interlock.wire.meta import CacheHints, ClientCapabilities
from interlock.wire.methods import BY_NAME
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import LATEST_MODERN

HTML = "<!doctype html><html><body>Hello</body></html>"
URI = "ui://shop/cart"
KIND = "text/html;profile=mcp-app"


def a_shop() -> Server:
    server = Server("shop")
    server.app_resource(
        URI,
        HTML,
        title="Cart",
        csp=Csp(connect_domains=["https://api.example.com"]),
        permissions=["geolocation"],
        prefers_border=True,
        cache=CacheHints(ttl_ms=9000, scope="public"),
    )

    @server.tool(ui=URI, meta={"example.com/x": 1})
    async def show_cart() -> str:
        """Show the cart."""
        return "two apples"

    @server.tool(ui=URI, visibility=["app"])
    async def refresh() -> str:
        return "three apples"

    @server.tool(visibility=["model", "app"])
    async def count() -> int:
        return 3

    @server.tool
    async def plain() -> str:
        return ""

    return server


async def test_tools_name_their_page_and_whom_they_are_for(joined: Joined, era: str):
    async with joined(a_shop(), era) as client:
        tools = {tool.name: tool.meta for tool in await client.list_tools()}
        assert tools["show_cart"] == {"example.com/x": 1, "ui": {"resourceUri": URI}}
        assert page_of_tool(tools["refresh"]) == ToolPage(resource_uri=URI, visibility=["app"])
        assert tools["count"] == {"ui": {"visibility": ["model", "app"]}}
        assert tools["plain"] is None
        # Text for those who show no pages: always.
        assert (await client.call_tool("show_cart")).text == "two apples"


async def test_a_page_is_a_resource_that_says_what_it_needs(joined: Joined, era: str):
    async with joined(a_shop(), era) as client:
        (listed,) = await client.list_resources()
        assert (listed.uri, listed.name, listed.title) == (URI, "shop/cart", "Cart")
        result = await client.read_resource(URI)
        (found,) = result.contents
        assert (found.uri, found.mime_type, found.text) == (URI, KIND, HTML)
        for meta in (listed.meta, found.meta):
            assert page_of(meta) == Page(
                csp=Csp(connect_domains=["https://api.example.com"]),
                permissions={"geolocation": {}},
                prefers_border=True,
            )
        if era != "legacy":
            assert (result.ttl_ms, result.cache_scope) == (9000, "public")


async def test_the_extension_is_declared_in_both_eras_by_servers_that_use_it(
    joined: Joined, era: str
):
    declared = {"io.modelcontextprotocol/ui": {"mimeTypes": [KIND]}}
    async with joined(a_shop(), era) as client:
        assert client.capabilities.extensions == declared
    server = Server("s")
    server.tool(name="x", visibility=["app"])(lambda: None)
    async with joined(server, era) as client:
        assert client.capabilities.extensions == declared
    plain = Server("s")
    plain.tool(name="x")(lambda: None)
    async with joined(plain, era) as client:
        assert client.capabilities.extensions is None


async def test_a_page_may_come_from_a_file_or_a_function(joined: Joined, tmp_path: Path):
    file = tmp_path / "page.html"
    file.write_text(HTML.replace("Hello", "Grüße"), encoding="utf-8")
    server = Server("s")
    server.app_resource("ui://file", file)
    server.app_resource("ui://made", lambda: HTML)

    async def later() -> str:
        return HTML.upper()

    server.app_resource("ui://later", later, name="Later")

    async with joined(server) as client:

        async def read(uri: str) -> Any:
            (found,) = (await client.read_resource(uri)).contents
            assert (found.mime_type, found.meta) == (KIND, None)
            return found.text

        assert "Grüße" in await read("ui://file")
        file.write_text(HTML, encoding="utf-8")
        assert await read("ui://file") == HTML
        assert await read("ui://made") == HTML
        assert await read("ui://later") == HTML.upper()
        assert [each.name for each in await client.list_resources()] == ["file", "made", "Later"]


@pytest.mark.parametrize(
    ("uri", "html", "options", "why"),
    [
        ("https://shop/cart", HTML, {}, "begins with ui://"),
        ("ui://shop", "<p>Hello</p>", {}, "a whole HTML document"),
        ("ui://shop", "page.html", {}, "a file is given as a Path"),
        ("ui://shop", HTML, {"csp": Csp(connect_domains=["*"])}, r"'\*' in connect_domains"),
        ("ui://shop", HTML, {"csp": Csp(frame_domains=["https://a;b"])}, "in frame_domains"),
        ("ui://shop", HTML, {"permissions": ["usb"]}, r"got \['usb'\]"),
    ],
)
def test_a_page_that_no_host_would_show_is_refused(uri: str, html: str, options: Any, why: str):
    with pytest.raises(RegistrationError, match=why):
        Server("s").app_resource(uri, html, **options)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ui": "https://x"}, "by its ui:// URI"),
        ({"visibility": []}, "one or both"),
        ({"visibility": ["host"]}, "one or both"),
    ],
)
def test_a_tool_that_no_host_would_understand_is_refused(options: Any, why: str):
    with pytest.raises(RegistrationError, match=f"f: .*{why}"):
        Server("s").tool(name="f", **options)(lambda: None)


async def test_a_tool_whose_page_is_not_there_keeps_a_server_from_starting():
    server = Server("s")
    server.tool(name="f", ui=URI)(lambda: None)
    with pytest.raises(RegistrationError, match="f is shown by ui://shop/cart, which is not here"):
        await server.start()

    @server.resource("ui://{shop}/cart")
    def cart(shop: str) -> str:
        return HTML

    await server.start()
    await server.stop()


@pytest.mark.parametrize("takes", [True, False])
def test_a_handler_knows_whether_its_result_is_shown_by_a_page(takes: bool):
    extensions = {"io.modelcontextprotocol/ui": {"mimeTypes": [KIND]}} if takes else None
    envelope = Envelope(LATEST_MODERN, None, ClientCapabilities(extensions=extensions))
    call = Call(BY_NAME["tools/call"], CallToolParams(name="x"), envelope)

    async def read(call: Call, uri: str) -> Any: ...

    assert Context(call, read).takes_apps is takes
