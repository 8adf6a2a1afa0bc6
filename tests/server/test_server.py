"""The server as a whole: what it says of itself, and what it does around every call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.joined import WIRED, Joined
from tests.peers import LEGACY, MODERN

from interlock import Client, RpcError, Server
from interlock.protocol.call import Call, Handler
from interlock.wire.lifecycle import ListCapability, ResourcesCapability
from interlock.wire.meta import CacheHints, Icon, Result


def a_server(**options: Any) -> Server:
    server = Server("shop", version="1.2", **options)

    @server.tool
    def buy(what: str) -> str:
        return what

    @server.resource("item://{id}")
    def item(id: int) -> str:
        return str(id)

    @server.prompt
    def sell() -> str:
        return "sell"

    @server.completer("item://{id}", "id")
    def ids(typed: str) -> list[str]:
        return ["1"]

    return server


@pytest.mark.parametrize("revision", [*LEGACY, MODERN])
async def test_it_says_who_it_is_and_what_it_has_in_every_revision(joined: Joined, revision: str):
    server = a_server(
        title="A shop",
        instructions="Ask before you buy.",
        website_url="https://example.com",
        icons=[Icon(src="https://example.com/i.png")],
    )
    async with joined(server, revision) as client:
        assert client.revision == revision
        assert client.instructions == "Ask before you buy."
        assert client.server_info == server.info
        assert (server.info.name, server.info.version, server.info.title) == (
            "shop",
            "1.2",
            "A shop",
        )
        can = client.capabilities
        assert can.tools == ListCapability(list_changed=True)
        assert can.prompts == ListCapability(list_changed=True)
        assert can.resources == ResourcesCapability(subscribe=True, list_changed=True)
        assert can.completions == {}
        assert can.logging == {}


async def test_it_does_not_claim_what_it_does_not_have(joined: Joined, era: str):
    async with joined(Server("bare"), era) as client:
        can = client.capabilities
        assert (can.tools, can.prompts, can.resources, can.completions) == (None,) * 4
        assert await client.list_tools() == []
        assert await client.list_resources() == []
        assert await client.list_resource_templates() == []
        assert await client.list_prompts() == []


async def test_a_client_finds_the_modern_era_by_asking(joined: Joined):
    async with joined(a_server()) as client:
        assert client.revision == MODERN
    assert b"server/discover" in joined.sent[0]
    assert not [message for message in joined.sent if b"initialize" in message]


@pytest.mark.parametrize("era", WIRED)
async def test_lists_come_in_pages(joined: Joined, era: str):
    server = Server("s", page_size=3)
    for number in range(7):
        server.tool(name=f"t{number}")(lambda: None)
        server.prompt(name=f"p{number}")(lambda: None)
        server.resource(f"r://{number}")(lambda: None)
        server.resource(f"r{number}://{{x}}")(_same)
    async with joined(server, era) as client:
        assert [tool.name async for tool in client.list_tools()] == [f"t{n}" for n in range(7)]
        assert [each.name for each in await client.list_prompts()] == [f"p{n}" for n in range(7)]
        assert len(await client.list_resources()) == 7
        assert len(await client.list_resource_templates()) == 7
    assert len([message for message in joined.sent if b"/list" in message]) == 12


def _same(x: str) -> str:
    return x


async def test_what_may_be_kept_is_said_of_lists_and_of_the_server(joined: Joined):
    """2026-07-28 § Caching: on every list and on discovery; keep nothing is the default."""
    for cache, hints in [
        (CacheHints(ttl_ms=5000, scope="public"), (5000, "public")),
        (CacheHints(), (0, "private")),
    ]:
        joined.received.clear()
        async with joined(a_server(cache=cache), "modern") as client:
            await client.list_tools()
            await client.list_prompts()
            await client.list_resources()
            await client.list_resource_templates()
        results = [json.loads(message)["result"] for message in joined.received]
        assert len(results) == 5
        assert [(each["ttlMs"], each["cacheScope"]) for each in results] == [hints] * 5


async def test_middleware_sees_every_call_the_first_outermost(joined: Joined, era: str):
    seen: list[str] = []

    def noting(name: str) -> Any:
        def middleware(handle: Handler) -> Handler:
            async def noted(call: Call) -> Result:
                seen.append(f"{name} {call.method}")
                result = await handle(call)
                seen.append(f"{name} done")
                return result

            return noted

        return middleware

    server = a_server(middleware=[noting("outer"), noting("inner")])
    async with joined(server, era) as client:
        seen.clear()
        await client.call_tool("buy", {"what": "x"})
    assert seen == ["outer tools/call", "inner tools/call", "inner done", "outer done"]


async def test_methods_of_the_other_era_do_not_exist(joined: Joined):
    """-32601 by absence (§ Versioning)."""
    async with joined(a_server(), "modern", cache=False) as client:
        meta = json.loads(joined.sent[0])["params"]["_meta"]
        for method in ("ping", "logging/setLevel", "resources/subscribe"):
            params = {"_meta": meta, "level": "info", "uri": "x://y"}
            with pytest.raises(RpcError) as caught:
                await _ask(client, method, params)
            assert caught.value.code == -32601
    joined.violations.clear()  # We said what no client may say.
    async with joined(a_server(), "legacy") as client:
        for method in ("server/discover", "subscriptions/listen"):
            with pytest.raises(RpcError) as caught:
                await _ask(client, method, {"notifications": {}})
            assert caught.value.code == -32601
    joined.violations.clear()


async def _ask(client: Client, method: str, params: Any) -> None:
    from msgspec import Raw

    from interlock.client.over_channel import ChannelLink
    from interlock.wire.jsonrpc import encode

    link = client.link
    assert isinstance(link, ChannelLink)
    await link.duplex.ask(method, Raw(encode(params)))


async def test_a_server_may_be_served_again_after_it_was_stopped(joined: Joined, era: str):
    server = a_server()
    for _ in range(2):
        async with joined(server, era) as client:
            assert (await client.call_tool("buy", {"what": "x"})).text == "x"


async def test_two_servers_in_one_process_share_nothing(joined: Joined, era: str):
    one, other = a_server(), Server("other")
    async with joined(one, era) as first, joined(other, era) as second:
        assert len(await first.list_tools()) == 1
        assert await second.list_tools() == []
