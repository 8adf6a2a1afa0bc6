"""Hearing of changes from a modern server: kept open, replaced without a gap, opened again."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.peers import Json, soon
from tests.scripted import Peer, discovery

from interlock import Client, RpcError
from interlock.client import subscriptions
from interlock.errors import ConnectionLost
from interlock.wire.meta import SUBSCRIPTION_ID


class Listened(Peer):
    """A modern server that can be listened to, and notes who does."""

    def __init__(self) -> None:
        offers: Json = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
        super().__init__(server_discover={**discovery(), "capabilities": offers})
        self.answers["subscriptions/listen"] = type(self)._listened
        self.answers["notifications/cancelled"] = type(self)._cancelled
        self.listens: list[Json] = []
        self.cancelled: list[int] = []
        self.arrived: asyncio.Queue[Json] = asyncio.Queue()
        self.acknowledges = True

    @staticmethod
    async def _listened(peer: Peer, message: Json) -> None:
        assert isinstance(peer, Listened)
        peer.listens.append(message)
        peer.arrived.put_nowait(message)
        if peer.acknowledges:
            wanted = message["params"]["notifications"]
            peer.say("subscriptions/acknowledged", message, notifications=wanted)

    @staticmethod
    async def _cancelled(peer: Peer, message: Json) -> None:
        assert isinstance(peer, Listened)
        peer.cancelled.append(message["params"]["requestId"])

    def say(self, what: str, listen: Json, **params: object) -> None:
        assert self.channel is not None
        body: Json = {
            "jsonrpc": "2.0",
            "method": f"notifications/{what}",
            "params": {**params, "_meta": {SUBSCRIPTION_ID: listen["id"]}},
        }
        self.channel.send(json.dumps(body).encode())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "PAUSES", (0.0,))


async def test_only_what_is_wanted_and_offered_is_asked_for():
    peer = Listened()
    async with Client(peer.open, on_change=lambda kind: None):
        assert [m["params"]["notifications"] for m in peer.listens] == [{"toolsListChanged": True}]


async def test_nobody_is_listened_to_for_nothing():
    peer = Listened()
    async with Client(peer.open, on_update=lambda uri: None):
        assert peer.listens == []


async def test_a_new_subscription_begins_before_the_old_one_ends():
    peer = Listened()
    heard: list[str] = []
    async with Client(
        peer.open, on_change=lambda kind: None, on_update=heard.append, revision="modern"
    ) as client:
        await client.subscribe("x://1")
        await client.subscribe("x://2")
        first, second, third = peer.listens
        assert third["params"]["notifications"] == {
            "toolsListChanged": True,
            "resourceSubscriptions": ["x://1", "x://2"],
        }
        order = [method for method in peer.heard if "listen" in method or "cancelled" in method]
        assert order[:3] == [
            "subscriptions/listen",
            "subscriptions/listen",
            "notifications/cancelled",
        ]
        assert peer.cancelled[0] == first["id"]
        await client.unsubscribe("x://1")
        assert peer.listens[-1]["params"]["notifications"]["resourceSubscriptions"] == ["x://2"]
        assert second["id"] != third["id"]


async def test_what_breaks_off_is_opened_again_and_counts_as_changed():
    """2026-07-28 § Subscriptions: nobody can know what was missed."""
    peer = Listened()
    changes: asyncio.Queue[str] = asyncio.Queue()
    updates: asyncio.Queue[str] = asyncio.Queue()
    async with Client(
        peer.open, on_change=changes.put_nowait, on_update=updates.put_nowait
    ) as client:
        await client.subscribe("x://1")
        assert changes.empty()
        peer.reply(peer.listens[-1], {"resultType": "complete"})
        assert await soon(changes.get()) == "tools"
        assert await soon(updates.get()) == "x://1"
        again = peer.listens[-1]
        assert len(peer.listens) == 3
        peer.say("tools/list_changed", again)
        assert await soon(changes.get()) == "tools"


async def test_it_is_not_opened_again_once_the_server_is_gone():
    peer = Listened()
    async with Client(peer.open, on_change=lambda kind: None) as client:
        assert peer.channel is not None
        await peer.channel.close()
        await soon(client.link.wait_lost())
    assert len(peer.listens) == 1


async def test_a_server_that_refuses_to_be_listened_to_can_be_used():
    peer = Listened()
    peer.answers["subscriptions/listen"] = -32601
    peer.answers["tools/call"] = {"content": [], "resultType": "complete"}
    async with Client(peer.open, on_change=lambda kind: None) as client:
        assert (await client.call_tool("x")).content == []
        with pytest.raises(RpcError, match="no"):
            await client.subscribe("x://1")


async def test_a_wish_that_is_refused_ends_nothing_that_was_heard_before():
    """A gateway watches for many: one who asks too much must not silence the others."""
    peer = Listened()
    heard: asyncio.Queue[str] = asyncio.Queue()
    listened = peer.answers["subscriptions/listen"]
    async with Client(peer.open, revision="modern", on_update=heard.put_nowait) as client:
        await client.subscribe("x://1")
        peer.answers["subscriptions/listen"] = -32602
        with pytest.raises(RpcError):
            await client.subscribe("x://2")
        assert peer.cancelled == []
        peer.say("resources/updated", peer.listens[-1], uri="x://1")
        assert await soon(heard.get()) == "x://1"
        peer.answers["subscriptions/listen"] = listened
        await client.subscribe("x://3")
        wanted = peer.listens[-1]["params"]["notifications"]
        assert wanted == {"resourceSubscriptions": ["x://1", "x://3"]}


async def test_a_server_that_does_not_acknowledge_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(subscriptions, "ACKNOWLEDGED_WITHIN", 0.01)
    peer = Listened()
    peer.acknowledges = False
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with Client(peer.open, on_change=heard.put_nowait):
        peer.say("tools/list_changed", peer.listens[-1])
        assert await soon(heard.get()) == "tools"


async def test_wishes_made_at_once_are_all_heard_one_after_the_other():
    peer = Listened()
    uris = [f"note://{number}" for number in range(5)]
    async with Client(peer.open, revision="modern", timeout=10) as client:
        await soon(asyncio.gather(*(client.subscribe(uri) for uri in uris)))
        wanted = peer.listens[-1]["params"]["notifications"]
        assert wanted["resourceSubscriptions"] == uris
        await soon(asyncio.gather(*(client.unsubscribe(uri) for uri in uris[1:])))
        wanted = peer.listens[-1]["params"]["notifications"]
        assert wanted["resourceSubscriptions"] == uris[:1]


async def test_whoever_subscribes_while_the_client_is_closed_is_told_so():
    peer = Listened()
    peer.acknowledges = False
    client = Client(peer.open, revision="modern", timeout=10)
    await client.connect()
    subscribing = asyncio.create_task(client.subscribe("note://1"))
    await soon(peer.arrived.get())
    await client.close()
    with pytest.raises(ConnectionLost):
        await soon(subscribing)
