"""Who hears of changes: legacy sessions, modern listeners, and nobody else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.joined import Joined
from tests.peers import soon

from interlock import Client, RpcError, Server
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope, Session
from interlock.server.subscriptions import URIS, Subscriptions
from interlock.wire.meta import SUBSCRIPTION_ID
from interlock.wire.methods import BY_NAME, LISTEN
from interlock.wire.notices import Filter, ListenParams
from interlock.wire.resources import SubscribeParams
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN


def a_server() -> Server:
    server = Server("s")

    @server.tool
    async def ping() -> str:
        return "pong"

    @server.resource("note://{id}")
    def note(id: str) -> str:
        return id

    @server.prompt
    def ask() -> str:
        return "?"

    @server.tool
    def touch(uri: str) -> None:
        server.updated(uri)

    return server


async def settled(client: Client) -> None:
    """All that was sent before has been heard: messages of one channel stay in order."""
    assert (await client.call_tool("ping")).text == "pong"


async def test_adding_and_removing_while_running_is_told_in_both_eras(joined: Joined, era: str):
    server = a_server()
    heard: list[str] = []
    async with joined(server, era, on_change=heard.append) as client:

        @server.tool
        def more() -> None: ...

        @server.resource("x://y")
        def also() -> str:
            return ""

        @server.prompt
        def again() -> str:
            return ""

        await settled(client)
        assert heard == ["tools", "resources", "prompts"]
        assert "more" in [tool.name for tool in await client.list_tools()]
        server.remove_tool("more")
        server.remove_resource("x://y")
        server.remove_resource("note://{id}")
        server.remove_prompt("again")
        server.changed("tools")
        await settled(client)
        assert heard[3:] == ["tools", "resources", "resources", "prompts", "tools"]
        assert "more" not in [tool.name for tool in await client.list_tools()]
        with pytest.raises(RpcError, match="Unknown tool"):
            await client.call_tool("more")
        with pytest.raises(KeyError):
            server.remove_tool("more")


async def test_updates_of_a_resource_are_told_to_those_who_subscribed(joined: Joined, era: str):
    server = a_server()
    heard: list[str] = []
    others: list[str] = []
    async with (
        joined(server, era, on_update=heard.append) as client,
        joined(server, era, on_update=others.append) as other,
    ):
        await client.subscribe("note://1")
        await client.subscribe("note://2")
        await client.subscribe("note://2")
        await other.subscribe("note://3")
        for uri in ("note://1", "note://2", "note://9"):
            server.updated(uri)
        await settled(client)
        assert heard == ["note://1", "note://2"]
        await client.unsubscribe("note://1")
        await client.unsubscribe("note://1")
        server.updated("note://1")
        server.updated("note://2")
        await settled(client)
        assert heard == ["note://1", "note://2", "note://2"]
        await settled(other)
        assert others == []


async def test_a_sync_tool_may_tell_of_changes_from_its_thread(joined: Joined, era: str):
    server = a_server()
    heard = asyncio.Event()
    async with joined(server, era, on_update=lambda uri: heard.set()) as client:
        await client.subscribe("note://1")
        await client.call_tool("touch", {"uri": "note://1"})
        await soon(heard.wait())


async def test_modern_notices_name_their_subscription_after_an_acknowledgement(joined: Joined):
    """2026-07-28 § Subscriptions: the acknowledgement comes first, the id is on everything."""
    server = a_server()
    async with joined(server, "modern", on_change=lambda kind: None) as client:
        await client.subscribe("note://1")
        server.updated("note://1")
        await settled(client)
    messages = [json.loads(message) for message in joined.received]
    listens = [json.loads(m)["id"] for m in joined.sent if b"subscriptions/listen" in m]
    by_id: dict[Any, list[str]] = {}
    for message in messages:
        meta = message.get("params", {}).get("_meta", {})
        if SUBSCRIPTION_ID in meta:
            by_id.setdefault(meta[SUBSCRIPTION_ID], []).append(message["method"])
    assert list(by_id) == listens
    assert by_id[listens[-1]] == [
        "notifications/subscriptions/acknowledged",
        "notifications/resources/updated",
    ]


async def test_a_client_that_wants_nothing_hears_nothing(joined: Joined):
    server = a_server()
    async with joined(server, "modern") as client:
        server.changed("tools")
        await settled(client)
    assert not [message for message in joined.received if b'"method"' in message]


async def test_a_server_that_stops_ends_subscriptions_with_a_result():
    """2026-07-28 § Subscriptions: a final result, not a connection that breaks off."""
    subscriptions = Subscriptions()
    params = ListenParams(notifications=Filter(tools_list_changed=True))
    call = Call(BY_NAME[LISTEN], params, Envelope(LATEST_MODERN), id="seven")
    listening = asyncio.create_task(subscriptions.listen(call))
    await asyncio.sleep(0)
    assert len(subscriptions) == 1
    subscriptions.end()
    result = await soon(listening)
    assert result.meta == {SUBSCRIPTION_ID: "seven"}
    assert len(subscriptions) == 0


async def test_who_leaves_is_forgotten(joined: Joined, era: str):
    server = a_server()
    async with joined(server, era, on_change=lambda kind: None) as client:
        await client.subscribe("note://1")
        assert len(server.subscriptions) == 1
    assert len(server.subscriptions) == 0
    server.changed("tools")
    server.updated("note://1")


async def test_one_server_that_serves_several_keeps_the_others_subscriptions(joined: Joined):
    server = a_server()
    heard: list[str] = []
    async with joined(server, "modern", on_change=heard.append) as client:
        async with joined(server, "modern"):
            pass
        server.changed("tools")
        await settled(client)
        assert heard == ["tools"]


async def test_subscriptions_are_bounded():
    subscriptions = Subscriptions()
    uris = [f"x://{number}" for number in range(URIS + 1)]
    params = ListenParams(notifications=Filter(resource_subscriptions=uris))
    with pytest.raises(RpcError, match="1000 resources at most"):
        await subscriptions.listen(Call(BY_NAME[LISTEN], params, Envelope(LATEST_MODERN)))
    session = Session()
    subscriptions.attach(session)

    def subscribe(uri: str) -> Call:
        row = BY_NAME["resources/subscribe"]
        return Call(row, SubscribeParams(uri=uri), Envelope(LATEST_LEGACY), session=session)

    for uri in uris[:URIS]:
        await subscriptions.subscribe(subscribe(uri))
    with pytest.raises(RpcError, match="1000 resources at most"):
        await subscriptions.subscribe(subscribe(uris[URIS]))


async def test_changes_before_anyone_listens_are_nobodys():
    subscriptions = Subscriptions()
    subscriptions.changed("tools")
    subscriptions.updated("x://y")
