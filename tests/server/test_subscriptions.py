"""Who hears of changes: legacy sessions, modern listeners, and nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.joined import Joined
from tests.peers import soon

from interlock import Client, RpcError, Server
from interlock.protocol.call import LOCAL, Call, Principal
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.session import Envelope, Session
from interlock.server import subscriptions as room
from interlock.server.subscriptions import URIS, Subscriptions, Tell
from interlock.wire.meta import SUBSCRIPTION_ID
from interlock.wire.methods import BY_NAME, LISTEN
from interlock.wire.notices import (
    ACKNOWLEDGED,
    RESOURCE_UPDATED,
    TOOLS_CHANGED,
    ChangedNotice,
    Filter,
    ListenParams,
)
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


class Heard(list[str]):
    """What a client heard, and a way to wait for it: what changes is told in rounds."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def hear(self, what: str) -> None:
        self.append(what)
        self._more.set()

    async def next(self, count: int = 1) -> list[str]:
        """The next *count* that were heard."""
        while len(self) < count:
            self._more.clear()
            await soon(self._more.wait())
        found, self[:count] = self[:count], []
        return found


class Reader:
    """An outlet that counts, and whose reader can stop reading."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self._more = asyncio.Event()
        self.reading = asyncio.Event()
        self.reading.set()

    def notify(self, method: str, params: Any) -> None:
        self.sent.append((method, getattr(params, "uri", None)))
        self._more.set()

    async def has(self, count: int) -> None:
        while len(self.sent) < count:
            self._more.clear()
            await soon(self._more.wait())

    async def drain(self) -> None:
        await self.reading.wait()

    async def ask(self, method: str, params: Any, *, key: str = "") -> Raw:
        raise AssertionError(method)

    def close_stream(self, retry: float) -> None: ...


async def settled(client: Client) -> None:
    """All that was sent before has been heard: messages of one channel stay in order."""
    assert (await client.call_tool("ping")).text == "pong"


async def test_adding_and_removing_while_running_is_told_in_both_eras(joined: Joined, era: str):
    server = a_server()
    heard = Heard()
    async with joined(server, era, on_change=heard.hear) as client:

        @server.tool
        def more() -> None: ...

        @server.resource("x://y")
        def also() -> str:
            return ""

        @server.prompt
        def again() -> str:
            return ""

        assert await heard.next(3) == ["tools", "resources", "prompts"]
        assert "more" in [tool.name for tool in await client.list_tools()]
        server.remove_tool("more")
        server.remove_resource("x://y")
        server.remove_resource("note://{id}")
        server.remove_prompt("again")
        server.changed("tools")
        assert await heard.next(3) == ["tools", "resources", "prompts"]
        assert "more" not in [tool.name for tool in await client.list_tools()]
        with pytest.raises(RpcError, match="Unknown tool"):
            await client.call_tool("more")
        with pytest.raises(KeyError):
            server.remove_tool("more")


async def test_updates_of_a_resource_are_told_to_those_who_subscribed(joined: Joined, era: str):
    server = a_server()
    heard, others = Heard(), Heard()
    async with (
        joined(server, era, on_update=heard.hear) as client,
        joined(server, era, on_update=others.hear) as other,
    ):
        await client.subscribe("note://1")
        await client.subscribe("note://2")
        await client.subscribe("note://2")
        await other.subscribe("note://3")
        for uri in ("note://1", "note://2", "note://9"):
            server.updated(uri)
        assert await heard.next(2) == ["note://1", "note://2"]
        await client.unsubscribe("note://1")
        await client.unsubscribe("note://1")
        server.updated("note://1")
        server.updated("note://2")
        server.updated("note://3")
        assert await heard.next() == ["note://2"]
        assert await others.next() == ["note://3"]
        await settled(client)
        assert heard == []


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
    heard = Heard()
    async with joined(
        server, "modern", on_change=lambda kind: None, on_update=heard.hear
    ) as client:
        await client.subscribe("note://1")
        server.updated("note://1")
        await heard.next()
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
    heard = Heard()
    async with joined(server, "modern", on_change=heard.hear):
        async with joined(server, "modern"):
            pass
        server.changed("tools")
        assert await heard.next() == ["tools"]


# One service alone, with outlets that show what comes.


def listen(outlet: Outlet = SILENT, principal: Principal = LOCAL, id: int = 1, **want: Any) -> Call:
    params = ListenParams(notifications=Filter(**want))
    return Call(BY_NAME[LISTEN], params, Envelope(LATEST_MODERN), principal, outlet, id=id)


@asynccontextmanager
async def listening(subscriptions: Subscriptions, *calls: Call) -> AsyncGenerator[None]:
    """Every call acknowledged, and heard by *subscriptions* until the block ends."""
    tasks = [asyncio.create_task(subscriptions.listen(call)) for call in calls]
    await asyncio.sleep(0)
    yield
    subscriptions.end()
    for task in tasks:
        await soon(task)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_changes_many_times_in_one_turn_is_told_once():
    subscriptions, reader = Subscriptions(), Reader()
    async with listening(
        subscriptions, listen(reader, tools_list_changed=True, resource_subscriptions=["x://y"])
    ):
        for _ in range(100):
            subscriptions.changed("tools")
            subscriptions.updated("x://y")
        await turns()
        assert reader.sent[1:] == [(TOOLS_CHANGED, None), (RESOURCE_UPDATED, "x://y")]


async def test_a_first_change_is_told_at_once_and_what_follows_waits_for_the_next_round():
    subscriptions, reader = Subscriptions(pause=3600), Reader()
    async with listening(subscriptions, listen(reader, tools_list_changed=True)):
        subscriptions.changed("tools")
        await turns()
        assert reader.sent[1:] == [(TOOLS_CHANGED, None)]
        subscriptions.changed("tools")
        await turns(10)
        assert len(reader.sent) == 2


async def test_the_last_change_is_told_after_it_happened():
    subscriptions, reader = Subscriptions(pause=0.01), Reader()
    async with listening(subscriptions, listen(reader, tools_list_changed=True)):
        for _ in range(5):
            subscriptions.changed("tools")
            await turns()
        told = len(reader.sent)
        subscriptions.changed("tools")
        await reader.has(told + 1)


async def test_a_reader_that_does_not_read_owes_nothing_but_memory_of_what_it_watches():
    """Bounded, and never lost: the last change is told after it happened."""
    subscriptions, reader = Subscriptions(pause=0), Reader()
    call = listen(reader, tools_list_changed=True, resource_subscriptions=["x://1", "x://2"])
    async with listening(subscriptions, call):
        reader.reading.clear()
        for _ in range(50):
            subscriptions.changed("tools")
            subscriptions.updated("x://1")
            subscriptions.updated("x://3")
            await turns(2)
        assert len(reader.sent) == 1, "only the acknowledgement was sent"
        reader.reading.set()
        await turns(4)
        assert reader.sent[1:] == [(TOOLS_CHANGED, None), (RESOURCE_UPDATED, "x://1")]
        subscriptions.updated("x://1")
        await turns(4)
        assert len(reader.sent) == 4


async def test_whoever_leaves_while_something_is_due_leaves_nothing_behind():
    subscriptions, reader = Subscriptions(pause=0), Reader()
    task = asyncio.create_task(subscriptions.listen(listen(reader, tools_list_changed=True)))
    await turns()
    reader.reading.clear()
    subscriptions.changed("tools")
    await turns()
    task.cancel()
    await asyncio.wait([task])
    await turns()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others
    assert len(reader.sent) == 1


async def test_a_legacy_session_that_does_not_read_hears_of_the_last_change_too():
    subscriptions, reader = Subscriptions(pause=0), Reader()
    session = Session(standing=reader)
    subscriptions.attach(session)
    reader.reading.clear()
    subscriptions.changed("prompts")
    await turns()
    subscriptions.changed("prompts")
    await turns()
    assert reader.sent == []
    reader.reading.set()
    await turns(4)
    assert reader.sent == [("notifications/prompts/list_changed", None)]
    session.close()


async def test_only_what_the_server_has_is_acknowledged():
    """2026-07-28 § Subscriptions: unsupported types are absent from the acknowledgement."""
    acknowledged: list[Any] = []

    class Keeping(Reader):
        def notify(self, method: str, params: Any) -> None:
            acknowledged.append(msgspec.to_builtins(params))

    everything: dict[str, Any] = {
        "tools_list_changed": True,
        "prompts_list_changed": True,
        "resources_list_changed": True,
        "resource_subscriptions": ["x://1", "x://1", "x://2"],
    }
    tools = Subscriptions(lambda: ("tools",))
    async with listening(tools, listen(Keeping(), **everything)):
        tools.changed("prompts")
        tools.updated("x://1")
        await turns()
    resources = Subscriptions(lambda: ("resources",))
    async with listening(resources, listen(Keeping(), **everything)):
        pass
    assert [each["notifications"] for each in acknowledged] == [
        {"toolsListChanged": True},
        {"resourcesListChanged": True, "resourceSubscriptions": ["x://1", "x://2"]},
    ]


async def test_a_server_acknowledges_the_kinds_it_has_or_said_it_would_have():
    server = Server("s", offers=["prompts"])
    reader = Reader()
    async with listening(server.subscriptions, listen(reader, prompts_list_changed=True)):
        server.prompt(name="p")(lambda: "")
        await turns()
        assert reader.sent[-1] == ("notifications/prompts/list_changed", None)


async def test_subscriptions_are_bounded(monkeypatch: pytest.MonkeyPatch):
    subscriptions = Subscriptions()
    uris = [f"x://{number}" for number in range(URIS + 1)]
    with pytest.raises(RpcError, match="more than 1000 resources"):
        await subscriptions.listen(listen(resource_subscriptions=uris))
    with pytest.raises(RpcError, match="2048 characters"):
        await subscriptions.listen(listen(resource_subscriptions=["x://" + "y" * 2048]))
    session = Session()
    subscriptions.attach(session)

    def subscribe(uri: str) -> Call:
        row = BY_NAME["resources/subscribe"]
        return Call(row, SubscribeParams(uri=uri), Envelope(LATEST_LEGACY), session=session)

    for uri in uris[:URIS]:
        await subscriptions.subscribe(subscribe(uri))
    await subscriptions.subscribe(subscribe(uris[0]))
    with pytest.raises(RpcError, match="more than 1000 resources"):
        await subscriptions.subscribe(subscribe(uris[URIS]))
    monkeypatch.setattr(room, "ALL_URIS", URIS + 1)
    with pytest.raises(RpcError, match="Too many resources are watched"):
        await subscriptions.listen(listen(resource_subscriptions=["x://a", "x://b"]))
    session.close()
    async with listening(subscriptions, listen(resource_subscriptions=["x://a", "x://b"])):
        pass


async def test_listeners_are_bounded_altogether_and_each_who_was_authenticated(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(room, "LISTENERS", 4)
    monkeypatch.setattr(room, "EACH", 1)
    subscriptions = Subscriptions()
    ada, bob = Principal(subject="ada"), Principal(subject="bob")
    calls = [listen(principal=who, tools_list_changed=True) for who in (ada, LOCAL, LOCAL)]
    async with listening(subscriptions, *calls):
        with pytest.raises(RpcError, match="You have 1 subscriptions open"):
            await subscriptions.listen(listen(principal=ada))
        async with listening(subscriptions, listen(principal=bob)):
            with pytest.raises(RpcError, match="Too many subscriptions"):
                await subscriptions.listen(listen())


async def test_the_subscriptions_of_one_principal_can_be_ended_alone():
    subscriptions = Subscriptions()
    ada, bob = Principal(subject="ada"), Principal(subject="bob")
    first = asyncio.create_task(subscriptions.listen(listen(principal=ada, id=1)))
    other = asyncio.create_task(subscriptions.listen(listen(principal=bob, id=2)))
    await turns()
    subscriptions.end(ada)
    assert (await soon(first)).meta == {SUBSCRIPTION_ID: 1}
    assert len(subscriptions) == 1
    subscriptions.end()
    await soon(other)


async def test_whoever_watches_elsewhere_is_told_what_begins_and_ends_to_be_watched():
    subscriptions = Subscriptions()
    seen: list[tuple[str, bool]] = []
    subscriptions.on_watch = lambda uri, watched: seen.append((uri, watched))
    one = listen(resource_subscriptions=["x://1"])
    both = listen(resource_subscriptions=["x://1", "x://2"], id=2)
    async with listening(subscriptions, one), listening(subscriptions, both):
        assert seen == [("x://1", True), ("x://2", True)]
    assert sorted(seen[2:]) == [("x://1", False), ("x://2", False)]


async def test_tasks_are_followed_by_whoever_has_them():
    subscriptions, reader = Subscriptions(), Reader()
    tells: list[Tell] = []
    stopped = asyncio.Event()

    async def follow(call: Call, ids: Sequence[str], tell: Tell) -> Any:
        tells.append(tell)
        tell("notifications/tasks", "t1", ChangedNotice())
        await turns(1)
        return ["t1"], stopped.set

    subscriptions.follow = follow
    async with listening(subscriptions, listen(reader, task_ids=["t1", "t2"])):
        await turns()
        assert [method for method, _ in reader.sent] == [ACKNOWLEDGED, "notifications/tasks"]
        tells[0]("notifications/tasks", "t1", ChangedNotice(meta={"a": 1}))
        assert len(reader.sent) == 3
    assert stopped.is_set()


async def test_changes_before_anyone_listens_are_nobodys():
    subscriptions = Subscriptions()
    subscriptions.changed("tools")
    subscriptions.updated("x://y")
