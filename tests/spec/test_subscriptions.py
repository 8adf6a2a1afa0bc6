"""§9 Hearing of changes: subscriptions of the modern era, notifications of the legacy one."""

from __future__ import annotations

import asyncio

import pytest
from tests.peers import Json, soon
from tests.spec.asking import watch
from tests.spec.kitchen import Kitchen
from tests.spec.marking import HTTP, requirement
from tests.spec.scripts import ME, Asked, Refusal, Script, meet
from tests.spec.ways import Open, Peer, Way

from interlock import RpcError, Server
from interlock.client import subscriptions
from interlock.errors import PeerError
from interlock.wire.meta import SUBSCRIPTION_ID
from interlock.wire.notices import (
    ACKNOWLEDGED,
    PROMPTS_CHANGED,
    RESOURCE_UPDATED,
    RESOURCES_CHANGED,
    TOOLS_CHANGED,
)

LISTEN = "subscriptions/listen"
EVERYTHING: Json = {
    "toolsListChanged": True,
    "promptsListChanged": True,
    "resourcesListChanged": True,
    "resourceSubscriptions": ["note://one", "note://two"],
}


def ignore(what: str) -> None:
    pass


async def listen(peer: Peer, wanted: Json, id: object = ...) -> tuple[Open, Json]:
    """An open subscription, and what was acknowledged of it."""
    begun = await peer.open(LISTEN, {"notifications": wanted}, id=id)
    first = await begun.until(lambda said: True)
    assert first["method"] == ACKNOWLEDGED
    assert first["params"]["_meta"][SUBSCRIPTION_ID] == begun.id
    return begun, first["params"]["notifications"]


@requirement("SU-01")
async def test_a_subscription_is_acknowledged_first_with_what_will_be_told(way: Way):
    """The first message of a subscription acknowledges it, with its id and what will be told.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        kitchen.changed("tools")
        _, honoured = await listen(peer, EVERYTHING)
        assert honoured == EVERYTHING
        _, honoured = await listen(peer, {"toolsListChanged": False})
        assert honoured == {}
    async with way.join(Server("bare")) as peer:
        _, honoured = await listen(peer, EVERYTHING)
        assert honoured == {}


@requirement("SU-02", "SU-04")
async def test_each_subscription_is_told_what_it_asked_for_and_nothing_else(way: Way):
    """Nothing is told that was not asked for.
    Several subscriptions may be open at once, each under its own id.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        tools, _ = await listen(peer, {"toolsListChanged": True}, id="tools")
        notes, _ = await listen(peer, {"resourceSubscriptions": ["note://one"]}, id="notes")
        await asyncio.gather(
            *(peer.ask("tools/call", {"name": "steps"}, progressToken=n) for n in (1, 2))
        )
        for kind in ("tools", "prompts", "resources"):
            kitchen.changed(kind)
        for uri in ("note://one", "note://two"):
            kitchen.updated(uri)

        def of(begun: Open) -> list[str]:
            return [
                said["method"]
                for said in begun.heard
                if said.get("params", {}).get("_meta", {}).get(SUBSCRIPTION_ID) == begun.id
            ]

        await tools.until(lambda said: said.get("method") == TOOLS_CHANGED)
        update = await notes.until(lambda said: said.get("method") == RESOURCE_UPDATED)
        assert update["params"]["uri"] == "note://one"
        assert update["params"]["_meta"][SUBSCRIPTION_ID] == "notes"
        assert [method for method in of(tools) if method != ACKNOWLEDGED] == [TOOLS_CHANGED]
        assert [method for method in of(notes) if method != ACKNOWLEDGED] == [RESOURCE_UPDATED]


@requirement("SU-03")
async def test_a_client_is_told_when_a_server_does_not_honour_a_subscription(way: Way):
    """The client compares what was acknowledged with what it asked for.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """

    async def deaf(asked: Asked) -> None:
        named = {SUBSCRIPTION_ID: asked.id}
        await asked.say(ACKNOWLEDGED, {"_meta": named, "notifications": {}})
        await asyncio.Event().wait()

    script = Script(way.revision, {LISTEN: deaf}, capabilities={"resources": {"subscribe": True}})
    async with meet(way, script, on_update=ignore) as client:
        with pytest.raises(PeerError, match="x://1"):
            await client.subscribe("x://1")


@requirement("SU-05")
async def test_a_subscription_that_its_client_ended_is_told_nothing_more(way: Way):
    """A client ends a subscription as it cancels a request; a server ends one with its result.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        ended, _ = await listen(peer, EVERYTHING, id="ended")
        other, _ = await listen(peer, EVERYTHING, id="other")
        await ended.cancel()
        while len(kitchen.subscriptions) > 1:
            await peer.ask("tools/list")
        kitchen.changed("tools")
        await other.until(lambda said: said.get("method") == TOOLS_CHANGED)
        mine = [
            said
            for said in ended.heard
            if said.get("params", {}).get("_meta", {}).get(SUBSCRIPTION_ID) == "ended"
            or said.get("id") == "ended"
        ]
        assert [said.get("method") for said in mine] == [ACKNOWLEDGED]


@requirement("SU-05")
async def test_a_server_ends_a_subscription_with_its_result(way: Way):
    """A client ends a subscription as it cancels a request; a server ends one with its result.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        begun, _ = await listen(peer, EVERYTHING)
        kitchen.subscriptions.end()
        answer = await begun.answer()
        assert answer.result["resultType"] == "complete"
        assert answer.result["_meta"][SUBSCRIPTION_ID] == begun.id
        if way.transport == HTTP:
            await begun.whole()


@requirement("SU-05")
async def test_a_client_takes_a_result_or_a_cancellation_for_the_end(
    way: Way, monkeypatch: pytest.MonkeyPatch
):
    """A client ends a subscription as it cancels a request; a server ends one with its result.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """
    monkeypatch.setattr(subscriptions, "PAUSES", (0.0,))
    ends = 0

    async def ending(asked: Asked) -> None:
        nonlocal ends
        named = {SUBSCRIPTION_ID: asked.id}
        wanted = asked.params["notifications"]
        await asked.say(ACKNOWLEDGED, {"_meta": named, "notifications": wanted})
        ends += 1
        if ends == 1:
            await asked.result({"_meta": {**ME, **named}})
        elif ends == 2:
            await asked.say("notifications/cancelled", {"requestId": asked.id})
            if way.transport == HTTP:
                return
        await asyncio.Event().wait()

    script = Script(way.revision, {LISTEN: ending}, capabilities={"tools": {"listChanged": True}})
    async with meet(way, script, on_change=ignore) as client:
        await script.hears(lambda heard: len(script.of(LISTEN)) == 3)
        assert (await client.call_tool("tool")).text == "said"
    numbers = [heard.id for heard in script.of(LISTEN)]
    assert len(set(numbers)) == len(numbers)


@requirement("SU-06", over=[HTTP])
async def test_what_broke_off_is_opened_again_and_counts_as_changed(
    way: Way, monkeypatch: pytest.MonkeyPatch
):
    """A subscription that broke off is opened again, and what was missed is fetched anew.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """
    monkeypatch.setattr(subscriptions, "PAUSES", (0.0,))
    changes: asyncio.Queue[str] = asyncio.Queue()

    async def breaking(asked: Asked) -> None:
        named = {SUBSCRIPTION_ID: asked.id}
        wanted = asked.params["notifications"]
        await asked.say(ACKNOWLEDGED, {"_meta": named, "notifications": wanted})
        if len(script.of(LISTEN)) == 1:
            asked.http.drop()
        else:
            await asyncio.Event().wait()

    can: Json = {"tools": {"listChanged": True}}
    script = Script(way.revision, {LISTEN: breaking}, capabilities=can)
    async with meet(way, script, on_change=changes.put_nowait):
        assert await soon(changes.get()) == "tools"
    first, second = script.of(LISTEN)
    assert first.params["notifications"] == second.params["notifications"]
    assert first.id != second.id


@requirement("SU-07", over=[HTTP])
async def test_a_silent_subscription_is_kept_alive(way: Way):
    """Streams are kept alive and bounded in number; only what can be told is advertised.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """
    async with way.join(Kitchen(), keep_alive=0.001) as peer:
        begun, _ = await listen(peer, EVERYTHING)
        for _ in range(3):
            await begun.comment()


@requirement("SU-07")
async def test_subscriptions_are_bounded(way: Way):
    """Streams are kept alive and bounded in number; only what can be told is advertised.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """
    async with way.join(Kitchen()) as peer:
        many = {"resourceSubscriptions": [f"note://{number}" for number in range(100_000)]}
        answer = await peer.ask(LISTEN, {"notifications": many})
        assert answer.error["message"]


@requirement("SU-09")
async def test_a_legacy_client_subscribes_to_resources_and_hears_of_them(way: Way):
    """resources/subscribe and unsubscribe are answered with an empty result, and updates name the
    URI.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/server/resources.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        changes = await watch(peer)
        for method in ("resources/subscribe", "resources/unsubscribe", "resources/subscribe"):
            assert (await peer.ask(method, {"uri": "note://one"})).result == {}
        kitchen.updated("note://two")
        kitchen.updated("note://one")
        update = await changes.until(lambda said: said.get("method") == RESOURCE_UPDATED)
        assert update["params"] == {"uri": "note://one"}
        await peer.ask("resources/unsubscribe", {"uri": "note://one"})
        kitchen.updated("note://one")
        kitchen.changed("prompts")
        await changes.until(lambda said: said.get("method") == PROMPTS_CHANGED)
        updates = [said for said in changes.heard if said.get("method") == RESOURCE_UPDATED]
        assert len(updates) == 1


@requirement("SU-09")
async def test_a_client_subscribes_in_the_words_of_legacy_servers(way: Way):
    """resources/subscribe and unsubscribe are answered with an empty result, and updates name the
    URI.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/server/resources.mdx
    """
    script = Script(way.revision, {"resources/subscribe": {}, "resources/unsubscribe": {}})
    async with meet(way, script, on_update=ignore) as client:
        await client.subscribe("x://1")
        await client.unsubscribe("x://1")
        script.answers["resources/subscribe"] = Refusal(-32601)
        with pytest.raises(RpcError):
            await client.subscribe("x://2")
    assert [heard.params["uri"] for heard in script.of("resources/subscribe")] == ["x://1", "x://2"]
    assert LISTEN not in script.methods


@requirement("SU-10")
async def test_changes_of_lists_are_told_where_they_were_declared(way: Way):
    """List changes are told only where `listChanged` was declared, and then are.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/server/tools.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        assert peer.greeting["capabilities"]["tools"]["listChanged"] is True
        changes = await watch(peer)
        kitchen.tool(name="late")(lambda: None)
        kitchen.remove_prompt("greet")
        kitchen.remove_resource("note://one")
        for method in (TOOLS_CHANGED, PROMPTS_CHANGED, RESOURCES_CHANGED):
            await changes.until(lambda said, method=method: said.get("method") == method)


@requirement("SU-10")
async def test_changes_of_lists_are_not_told_where_they_were_not_declared(way: Way):
    """List changes are told only where `listChanged` was declared, and then are.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/server/tools.mdx
    """
    server = Server("growing")
    server.prompt(name="one")(lambda: "one")
    async with way.join(server) as peer:
        assert "tools" not in peer.greeting["capabilities"]
        changes = await watch(peer)
        server.tool(name="late")(lambda: None)
        server.remove_prompt("one")
        await changes.until(lambda said: said.get("method") == PROMPTS_CHANGED)
        assert not [said for said in changes.heard if said.get("method") == TOOLS_CHANGED]
