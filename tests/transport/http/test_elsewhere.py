"""Sessions in a table: found in another process, held to one another, ended for all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.peers import LEGACY, Json, Latch, ask, hello, modern, reply, say, soon
from tests.transport.http.host import Host

from interlock import Context, Server
from interlock.errors import INTERNAL_ERROR, StoreError
from interlock.protocol.session import Session, State
from interlock.store.memory import MemoryStore
from interlock.store.ports import Store, Table
from interlock.store.sqlite import SqliteStore
from interlock.transport.http import elsewhere as room
from interlock.transport.http.asgi import App
from interlock.transport.http.elsewhere import Known
from interlock.transport.http.sessions import Sessions
from interlock.wire.lifecycle import InitializeParams
from interlock.wire.meta import ClientCapabilities, Implementation


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


class Workers:
    """Processes that serve the same sessions, as far as one process can play them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.table: Table = store.table("sessions")
        self.apps: list[App] = []
        self.latch = Latch()

    def begin(self, limit: int = 100, idle: float = 60, *, hears: bool = False) -> Host:
        """One more process; whether it *hears* what the others do on a bus."""
        bus = self.store.bus if hears else None
        sessions = Sessions(limit, idle, self.clock, table=self.table, bus=bus)
        server = a_server(self.latch)
        app = App(server, sessions=sessions)
        self.apps.append(app)
        return Host(app)


def a_server(latch: Latch) -> Server:
    server = Server("s")

    @server.tool
    async def wait(ctx: Context) -> str:
        await latch(ctx.call)
        return "done"

    @server.tool
    async def curious(ctx: Context) -> str:
        return str([root.uri for root in await ctx.roots()])

    @server.tool
    async def level(ctx: Context) -> str:
        return str(ctx.envelope.log_level)

    @server.tool
    async def who(ctx: Context) -> str:
        client = ctx.envelope.client
        assert client is not None
        return f"{client.name} {ctx.envelope.revision} {ctx.envelope.capabilities.roots}"

    @server.resource("demo://thing")
    async def thing() -> str:
        return "thing"

    @server.tool
    async def touch() -> str:
        server.updated("demo://thing")
        return "touched"

    return server


@pytest.fixture(params=["memory", "sqlite"])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Workers]:
    clock = Clock()
    store: Store = MemoryStore(clock=clock)
    if request.param == "sqlite":
        store = SqliteStore(tmp_path / "store", clock=clock)
    await store.open()
    workers = Workers(store, clock)
    yield workers
    for app in workers.apps:
        await app.stop()
    await store.close()


def here(host: Host) -> Sessions:
    assert isinstance(host.app, App)
    return host.app.sessions


async def text(host: Host, session: str, tool: str) -> str:
    answer = await host.legacy(session, ask("tools/call", 1, {"name": tool})).json()
    return answer["result"]["content"][0]["text"]


async def status(host: Host, session: str) -> int:
    asked = host.legacy(session, ask("ping"))
    await asked.whole()
    return asked.status


@pytest.mark.parametrize("version", LEGACY)
async def test_a_session_is_found_in_any_process(workers: Workers, version: str):
    one, two = workers.begin(), workers.begin()
    session = await one.greet(hello(version, capabilities={"roots": {}}))
    for host in (two, one, two):
        assert await text(host, session, "who") == f"tests {version} {{}}"
    assert len(here(one)) == len(here(two)) == 1


async def test_a_session_outlives_the_process_that_began_it(workers: Workers):
    session = await workers.begin().greet(hello())
    await workers.apps[0].stop()
    later = workers.begin()
    assert await status(later, session) == 200
    again = later.legacy(session, hello())
    assert (await again.json())["error"]["code"] == -32600


async def test_a_handshake_may_be_finished_elsewhere(workers: Workers):
    one, two = workers.begin(), workers.begin()
    asked = one.post(hello())
    await asked.whole()
    session = asked.headers["mcp-session-id"]
    await two.legacy(session, say("notifications/initialized")).whole()
    await status(one, session)
    found = await here(one).find(session)
    assert found is not None
    assert found.session.state is State.READY


async def test_what_is_settled_in_one_process_holds_in_the_others(workers: Workers):
    one, two = workers.begin(), workers.begin()
    session = await one.greet(hello())
    assert await text(two, session, "level") == "None"
    await one.legacy(session, ask("logging/setLevel", 1, {"level": "error"})).json()
    assert await text(two, session, "level") == "error"


async def test_who_watches_a_resource_hears_of_it_where_its_stream_is(workers: Workers):
    one, two = workers.begin(), workers.begin()
    session = await one.greet(hello())
    await one.legacy(session, ask("resources/subscribe", 1, {"uri": "demo://thing"})).json()
    asked = await two.open("GET", b"", {"mcp-session-id": session}).begun()
    await two.legacy(session, ask("tools/call", 2, {"name": "touch"})).json()
    assert (await asked.message())["params"]["uri"] == "demo://thing"
    await one.legacy(session, ask("resources/unsubscribe", 3, {"uri": "demo://thing"})).json()
    assert await status(two, session) == 200
    found = await here(two).find(session)
    assert found is not None
    assert found.session.watched == frozenset()
    asked.leave()
    await soon(asked.task)


async def test_what_two_processes_settle_at_once_holds_in_both(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    one, two = workers.begin(), workers.begin()
    name = await one.greet(hello())
    assert await status(two, name) == 200
    put = workers.table.put
    waiting = ["demo://a"]

    async def overtaken(*args: Any, **options: Any) -> Any:
        while waiting:
            params = {"uri": waiting.pop()}
            await one.legacy(name, ask("resources/subscribe", 2, params)).whole()
            await one.legacy(name, ask("logging/setLevel", 3, {"level": "error"})).whole()
        return await put(*args, **options)

    monkeypatch.setattr(workers.table, "put", overtaken)
    await two.legacy(name, ask("resources/subscribe", 1, {"uri": "demo://b"})).whole()
    for host in (one, two):
        found = await here(host).find(name)
        assert found is not None
        assert found.session.watched == {"demo://a", "demo://b"}
        assert found.session.envelope.log_level == "error"


async def test_what_is_not_written_down_yet_is_not_forgotten_for_what_others_wrote(
    workers: Workers,
):
    one, two = workers.begin(), workers.begin()
    name = await one.greet(hello())
    mine = await here(one).find(name)
    assert mine is not None
    await two.legacy(name, ask("resources/subscribe", 1, {"uri": "demo://thing"})).whole()
    mine.session.set_level("error")
    await here(one).find(name)
    assert mine.session.envelope.log_level == "error"
    assert mine.session.watched == {"demo://thing"}
    await here(one).save(mine)
    assert await text(two, name, "level") == "error"


async def test_a_table_that_fails_is_no_loss_of_sessions_or_answers(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    table = MemoryStore().table("sessions")
    host = Host(App(a_server(Latch()), sessions=Sessions(table=table)))
    name = await host.greet(hello())

    async def fail(*args: Any, **options: Any) -> Any:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(table, "put", fail)
        broken.setattr(table, "count", fail)
        level = host.legacy(name, ask("logging/setLevel", 1, {"level": "error"}))
        assert (await level.json())["result"] == {}
        assert await status(host, name) == 200
        begun = host.post(hello())
        assert (await begun.json())["error"]["code"] == INTERNAL_ERROR
        assert begun.status == 503
        broken.setattr(table, "get", fail)
        broken.setattr(table, "take", fail)
        assert await status(host, name) == 503
        for method in ("GET", "DELETE"):
            asked = host.open(method, b"", {"mcp-session-id": name})
            await asked.whole()
            assert asked.status == 503
        assert (await host.modern(modern("tools/list")).json())["result"]
    assert "the disk is full" in caplog.text
    assert await status(host, name) == 200
    entry = await table.get(name)
    assert entry is not None
    assert b'"error"' in entry.value  # The level, which is written down meanwhile.


async def test_a_session_that_ends_in_one_process_ends_in_all(workers: Workers):
    one, two = workers.begin(), workers.begin()
    session = await one.greet(hello())
    assert await status(two, session) == 200
    standing = await two.open("GET", b"", {"mcp-session-id": session}).begun()
    held = two.legacy(session, ask("tools/call", 1, {"name": "wait"}))
    await soon(workers.latch.reached.wait())
    deleted = one.open("DELETE", b"", {"mcp-session-id": session})
    await deleted.whole()
    assert deleted.status == 204
    await here(two).hold()
    assert await standing.any_event()
    assert await standing.piece() == b""
    assert await held.whole() == b""
    assert workers.latch.cancelled.is_set()
    for host in (one, two):
        assert await status(host, session) == 404
        assert len(here(host)) == 0


async def test_over_a_bus_it_ends_at_once(workers: Workers):
    one, two = workers.begin(hears=True), workers.begin(hears=True)
    session = await one.greet(hello())
    held = two.legacy(session, ask("tools/call", 1, {"name": "wait"}))
    await soon(workers.latch.reached.wait())
    await one.open("DELETE", b"", {"mcp-session-id": session}).whole()
    assert await held.whole() == b""
    await soon(workers.latch.cancelled.wait())
    assert len(here(two)) == 0


async def test_a_call_is_cancelled_from_any_process(workers: Workers):
    one, two = workers.begin(hears=True), workers.begin(hears=True)
    session = await one.greet(hello())
    held = two.legacy(session, ask("tools/call", 7, {"name": "wait"}))
    await soon(workers.latch.reached.wait())
    # What nobody runs, and what is none, is passed on and does no harm.
    for none in (8, None):
        posted = one.legacy(session, say("notifications/cancelled", {"requestId": none}))
        await posted.whole()
        assert posted.status == 202
    assert not workers.latch.cancelled.is_set()
    await one.legacy(session, say("notifications/cancelled", {"requestId": 7})).whole()
    await soon(workers.latch.cancelled.wait())
    assert await held.whole() == b""


async def test_a_stream_that_was_lost_is_gone_on_with_in_any_process(workers: Workers):
    one, two = workers.begin(hears=True), workers.begin(hears=True)
    session = await one.greet(hello(capabilities={"roots": {}}))
    asked = await two.legacy(session, ask("tools/call", 1, {"name": "curious"})).begun()
    opening = await asked.any_event()
    assert opening.data == b""
    question = await asked.message()
    asked.leave()
    again = await one.open(
        "GET", b"", {"mcp-session-id": session, "last-event-id": opening.id}
    ).begun()
    assert again.status == 200
    assert (await again.message())["id"] == question["id"]
    await one.legacy(session, reply(question["id"], {"roots": []})).whole()
    answer = await again.event()
    assert json.loads(answer.data)["id"] == 1
    assert await again.piece() == b""
    # And once more, as its last bytes may have been lost.
    once_more = one.open("GET", b"", {"mcp-session-id": session, "last-event-id": opening.id})
    assert (await once_more.message())["id"] == question["id"]
    assert (await once_more.event()).id == answer.id
    assert await once_more.piece() == b""


@pytest.mark.parametrize("event", ["{name}-9-1", "{name}-1-99", "abcdef-1-1", "nonsense"])
async def test_a_stream_that_nobody_keeps_is_refused(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, event: str
):
    monkeypatch.setattr("interlock.transport.http.distant.ANSWERING", 0.2)
    one, two = workers.begin(hears=True), workers.begin(hears=True)
    session = await one.greet(hello(capabilities={"roots": {}}))
    asked = await two.legacy(session, ask("tools/call", 1, {"name": "curious"})).begun()
    name = str((await asked.any_event()).id).partition("-")[0]
    named = {"mcp-session-id": session, "last-event-id": event.format(name=name)}
    refused = one.open("GET", b"", named)
    assert "is not here" in (await refused.json())["error"]["message"]
    assert refused.status == 400


ANSWERS: dict[str, tuple[Json, str]] = {
    "result": ({"result": {"roots": [{"uri": "file:///x"}]}}, "file:///x"),
    "error": ({"error": {"code": -1, "message": "I will not say"}}, "I will not say"),
    "nonsense": ({"results": 1}, "Unanswered"),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_a_question_is_answered_by_way_of_any_process(workers: Workers, kind: str):
    one, two = workers.begin(hears=True), workers.begin(hears=True)
    session = await one.greet(hello(capabilities={"roots": {}}))
    asked = await two.legacy(session, ask("tools/call", 1, {"name": "curious"})).begun()
    question = await asked.message()
    said, expected = ANSWERS[kind]
    await one.legacy(
        session, json.dumps({"jsonrpc": "2.0", "id": question["id"], **said}).encode()
    ).whole()
    assert expected in (await asked.event()).data.decode()
    assert await asked.piece() == b""


@pytest.mark.parametrize(
    "word",
    [
        b"nonsense",
        b'{"origin": "x", "session": "none"}',
        b'{"origin": "x", "session": "none", "said": 1}',
    ],
)
async def test_words_that_mean_nothing_here_are_let_be(workers: Workers, word: bytes):
    one = workers.begin(hears=True)
    session = await one.greet(hello())
    await workers.store.bus.publish(room.TOPIC, word)
    assert await status(one, session) == 200


async def test_a_bus_that_fails_loses_the_word_alone(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    one = workers.begin(hears=True)
    session = await one.greet(hello())
    failed = asyncio.Event()

    async def fail(bus: object, topic: str, message: bytes) -> None:
        failed.set()
        raise StoreError("the disk is full")

    monkeypatch.setattr(type(workers.store.bus), "publish", fail)
    posted = one.legacy(session, say("notifications/cancelled", {"requestId": 7}))
    await posted.whole()
    assert posted.status == 202
    await soon(failed.wait())
    assert await status(one, session) == 200
    assert "other processes do not hear what a client said: the disk is full" in caplog.text


async def test_a_request_finds_out_that_its_session_was_ended(workers: Workers):
    one, two = workers.begin(), workers.begin()
    session = await one.greet(hello())
    assert await status(two, session) == 200
    await one.open("DELETE", b"", {"mcp-session-id": session}).whole()
    assert await status(two, session) == 404
    assert len(here(two)) == 0


async def test_what_ends_while_a_call_runs_does_not_come_back_with_its_answer(workers: Workers):
    one, two = workers.begin(), workers.begin()
    session = await one.greet(hello())
    held = two.legacy(session, ask("logging/setLevel", 1, {"level": "error"}))
    busy = two.legacy(session, ask("tools/call", 2, {"name": "wait"}))
    await held.whole()
    await soon(workers.latch.reached.wait())
    found = await here(two).find(session)
    assert found is not None
    found.session.set_level("debug")
    await one.open("DELETE", b"", {"mcp-session-id": session}).whole()
    workers.latch.go.set()
    await busy.whole()
    assert await workers.table.get(session) is None


async def test_an_idle_session_ends_and_one_that_is_used_anywhere_does_not(workers: Workers):
    one, two = workers.begin(idle=60), workers.begin(idle=60)
    used, idle = await one.greet(hello()), await one.greet(hello())
    for _ in range(5):
        workers.clock.time += 20
        assert await status(two, used) == 200
    assert await status(one, used) == 200
    assert await status(one, idle) == 404


async def test_a_session_with_a_standing_stream_is_not_idle(workers: Workers):
    one, two = workers.begin(idle=60), workers.begin(idle=60)
    session = await one.greet(hello())
    asked = await one.open("GET", b"", {"mcp-session-id": session}).begun()
    for _ in range(5):
        workers.clock.time += 20
        await here(one).hold()
    assert await status(two, session) == 200
    asked.leave()
    await soon(asked.task)


async def test_all_processes_together_keep_so_many_sessions(workers: Workers):
    one, two = workers.begin(limit=3), workers.begin(limit=3)
    first = await one.greet(hello())
    for _ in range(3):
        await one.greet(hello())
    assert await status(one, first) == 404
    for _ in range(3):
        await two.greet(hello())
    assert await workers.table.count() == 3
    assert len(here(one)) <= 3


async def test_a_session_is_taken_up_once_however_many_ask_for_it(workers: Workers):
    one, two = workers.begin(), workers.begin()
    session = await one.greet(hello())
    found = await asyncio.gather(*(here(two).find(session) for _ in range(20)))
    assert len({id(each) for each in found}) == 1


async def test_nothing_is_asked_of_a_table_about_what_is_no_id(workers: Workers):
    host = workers.begin()
    for name in ("x" * 5000, "nobody"):
        assert await here(host).find(name) is None


async def test_what_cannot_be_read_is_no_session(
    workers: Workers, caplog: pytest.LogCaptureFixture
):
    host = workers.begin()
    for value in (b"", b"nonsense", b'{"revision":7}'):
        await workers.table.put("odd", value)
        assert await status(host, "odd") == 404
    assert "cannot be read" in caplog.text


async def test_without_anyone_to_take_it_up_a_session_is_not_found(workers: Workers):
    session = await workers.begin().greet(hello())
    assert await Sessions(table=workers.table).find(session) is None


async def test_a_table_that_fails_is_tried_again_in_the_next_round(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    asked = asyncio.Event()
    table = MemoryStore().table("sessions")

    async def fail(key: str) -> None:
        asked.set()
        raise OSError("the disk is full")

    monkeypatch.setattr(table, "get", fail)
    sessions = Sessions(idle=0.001, clock=lambda: 0.0, table=table)
    session = sessions.prepare()
    stream, end = session.stand()
    stream.read(end, lambda: None)
    await sessions.keep(session)
    for _ in range(2):
        await soon(asked.wait())
        asked.clear()
    assert "the disk is full" in caplog.text
    sessions.close()


async def test_idle_sessions_are_let_go_though_nobody_asks():
    gone = asyncio.Event()
    now = [0.0]
    sessions = Sessions(idle=0.001, clock=lambda: now[0])
    session = sessions.prepare()
    session.session.on_close(gone.set)
    await sessions.keep(session)
    now[0] = 1
    await soon(gone.wait())
    assert len(sessions) == 0


@asynccontextmanager
async def settled() -> AsyncGenerator[Session]:
    session = Session("x")
    session.open(
        InitializeParams(
            protocol_version="2025-06-18",
            capabilities=ClientCapabilities(roots={}),
            client_info=Implementation(name="c", version="2"),
        )
    )
    yield session


async def test_what_is_written_is_read_as_it_was():
    async with settled() as session:
        assert room.read(room.write(session)) == Known(
            "2025-06-18",
            Implementation(name="c", version="2"),
            ClientCapabilities(roots={}),
        )
        session.initialized()
        session.set_level("error")
        session.watched = frozenset({"b", "a"})
        known = room.read(room.write(session))
        assert known is not None
        assert (known.ready, known.log_level, known.watched) == (True, "error", ("a", "b"))
