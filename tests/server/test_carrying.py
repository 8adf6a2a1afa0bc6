"""Changes said in one worker and heard by the clients of another, over the store they share."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.joined import Joined
from tests.server.test_subscriptions import Heard, a_server, turns

from interlock import Server
from interlock.errors import StoreError
from interlock.server import carrying
from interlock.server.carrying import Carrier
from interlock.server.subscriptions import Subscriptions
from interlock.store.memory import MemoryStore
from interlock.store.ports import Store
from interlock.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> list[Store]:
    """What two workers are given: in one process the same, in two the same file."""
    if request.param == "memory":
        store = MemoryStore()
        return [store, store]
    return [SqliteStore(tmp_path / "store"), SqliteStore(tmp_path / "store")]


def a_worker(store: Store, name: str = "s") -> Server:
    server = Server(name, store=store)
    server.tool(name="ping")(lambda: "pong")

    @server.resource("note://{id}")
    def note(id: str) -> str:
        return id

    return server


async def test_clients_of_every_worker_hear_what_is_said_in_one(
    joined: Joined, era: str, stores: list[Store]
):
    here, there = (a_worker(store) for store in stores)
    lists, updates, mine = Heard(), Heard(), Heard()
    async with (
        joined(there, era, on_change=lists.hear, on_update=updates.hear) as client,
        joined(here, era, on_change=mine.hear),
    ):
        await client.subscribe("note://1")
        here.changed("tools")
        here.updated("note://2")
        here.updated("note://1")
        assert await lists.next() == ["tools"]
        assert await updates.next() == ["note://1"]
        assert await mine.next() == ["tools"], "once, and not again by the bus"
        there.changed("resources")
        assert await mine.next() == ["resources"]
        assert mine == []


async def test_a_worker_without_clients_says_what_changes(joined: Joined):
    store = MemoryStore()
    here, there = a_worker(store), a_worker(store)
    heard = Heard()
    await here.start()
    async with joined(there, on_change=heard.hear):
        here.changed("tools")
        assert await heard.next() == ["tools"]
    await here.stop()


async def test_servers_of_other_names_hear_nothing(joined: Joined):
    store = MemoryStore()
    here, other, same = a_worker(store), a_worker(store, "other"), a_worker(store)
    heard, told = Heard(), Heard()
    await here.start()
    async with joined(other, on_change=heard.hear), joined(same, on_change=told.hear):
        here.changed("tools")
        assert await told.next() == ["tools"]
        await turns()
        assert heard == []
    await here.stop()


async def test_a_server_whose_store_is_its_own_carries_nothing(joined: Joined):
    server = a_server()
    async with joined(server):
        assert not server.subscriptions._say  # pyright: ignore[reportPrivateUsage]


class Broken:
    """A bus whose store is gone for the moment."""

    def __init__(self) -> None:
        self.hear: Any = None
        self.wait = asyncio.Event()
        self.wait.set()
        self.said = 0

    async def publish(self, topic: str, message: bytes) -> None:
        self.said += 1
        await self.wait.wait()
        raise StoreError("gone")

    async def subscribe(self, topic: str, hear: Any) -> Any:
        self.hear = hear

        async def leave() -> None:
            self.hear = None

        return leave


async def test_a_bus_that_fails_is_logged_and_nothing_else(caplog: pytest.LogCaptureFixture):
    bus, subscriptions = Broken(), Subscriptions(pause=0)
    carrier = Carrier(bus, "s", subscriptions)
    await carrier.start()
    await carrier.start()
    with caplog.at_level(logging.WARNING):
        subscriptions.changed("tools")
        await turns()
        bus.hear(b"nonsense")
        bus.hear(b'{"origin":"x","kinds":["weather"]}')
    await carrier.stop()
    assert "other workers are not told of changes: gone" in caplog.text
    assert caplog.text.count("what cannot be read") == 2
    assert bus.hear is None
    subscriptions.changed("tools")
    await turns()
    assert bus.said == 1


async def test_what_waits_for_a_bus_is_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(carrying, "WAITING", 2)
    bus, subscriptions = Broken(), Subscriptions(pause=0)
    bus.wait.clear()
    carrier = Carrier(bus, "s", subscriptions)
    await carrier.start()
    for _ in range(4):
        subscriptions.changed("tools")
        await turns()
    assert bus.said == 2
    assert "the bus takes nothing" in caplog.text
    bus.wait.set()
    await carrier.stop()
