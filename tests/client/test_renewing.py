"""Sessions that a legacy server forgets: what is begun anew, what is sent again, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Raw
from tests.client.test_connect import listening
from tests.peers import soon

from interlock import Client, Context, Server
from interlock.client.renewing import RenewingLink
from interlock.errors import ConnectFailed, ConnectionLost, PeerError, RpcError
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.transport.http import resuming
from interlock.transport.http.asgi import App
from interlock.transport.http.client import SessionForgotten
from interlock.wire.lifecycle import (
    InitializeResult,
    ListCapability,
    ResourcesCapability,
    ServerCapabilities,
    SetLevelParams,
)
from interlock.wire.meta import Implementation, Params, RawResult, Wire
from interlock.wire.methods import BY_NAME
from interlock.wire.resources import SubscribeParams
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import LATEST_LEGACY

CAN = ServerCapabilities(
    tools=ListCapability(), resources=ResourcesCapability(subscribe=True), logging={}
)


class Fake:
    """A session's link: it forgets when it is told to, before or after it takes a call."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.envelope = Envelope(LATEST_LEGACY)
        self.greeting = InitializeResult(
            protocol_version="2025-11-25",
            capabilities=CAN,
            server_info=Implementation(name=name, version="1"),
        )
        self.calls: list[Call] = []
        self.forgotten: SessionForgotten | None = None
        self.refusal: RpcError | None = None
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.go = asyncio.Event()
        self.go.set()
        self.idle = asyncio.Event()
        self.idle.set()
        self.closed = False

    def forget(self, *, taken: bool = False) -> None:
        self.forgotten = SessionForgotten("http://it", taken=taken)

    def tell(self) -> None:
        """As a standing stream does that cannot be opened again."""
        self.lost.set_result(SessionForgotten("http://it"))

    async def handle(self, call: Call) -> RawResult:
        self.calls.append(call)
        await self.go.wait()
        if self.forgotten is not None:
            if not self.lost.done():
                self.lost.set_result(self.forgotten)
            raise self.forgotten
        if self.refusal is not None:
            raise self.refusal
        return RawResult(body=Raw(b'"%b"' % self.name.encode()))

    def notify(self, method: str, params: Wire | Raw) -> None:
        pass

    async def wait_lost(self) -> Exception | None:
        return await asyncio.shield(self.lost)

    async def retire(self) -> None:
        await self.idle.wait()
        await self.close()

    async def close(self) -> None:
        self.closed = True


class Bench:
    """A renewing link, the sessions it went through, and what it told."""

    def __init__(self, *, listening: bool = False) -> None:
        self.fakes = [Fake("one")]
        self.failure: Exception | None = None
        self.opening = asyncio.Event()
        self.opening.set()
        self.heard: list[str] = []
        self.told = asyncio.Event()
        self.link = RenewingLink(
            self.fakes[0], self._open, on_notice=self._hear, listening=listening
        )

    async def _open(self) -> Fake:
        await self.opening.wait()
        if self.failure is not None:
            raise self.failure
        self.fakes.append(Fake(f"session {len(self.fakes) + 1}"))
        return self.fakes[-1]

    def _hear(self, method: str, params: Raw) -> None:
        self.heard.append(method)
        self.told.set()


@pytest.fixture
async def bench() -> AsyncGenerator[Bench]:
    bench = Bench()
    yield bench
    await soon(bench.link.close())
    for fake in bench.fakes:
        assert fake.closed


def call(method: str, params: Params | None = None) -> Call:
    return Call(BY_NAME[method], params or Params(), Envelope(LATEST_LEGACY))


def tool() -> Call:
    return call("tools/call", CallToolParams(name="x"))


def methods(fake: Fake) -> list[str]:
    return [call.method for call in fake.calls]


async def test_a_call_that_was_not_taken_is_sent_again_in_a_new_session(bench: Bench):
    """2025-11-25 § Transports: on a 404 a client MUST begin a new session."""
    bench.fakes[0].forget()
    assert bytes((await soon(bench.link.handle(tool()))).body) == b'"session 2"'
    assert methods(bench.fakes[1]) == ["tools/call"]
    assert bench.link.greeting is bench.fakes[1].greeting
    assert bench.link.envelope is bench.fakes[1].envelope


async def test_a_call_that_was_taken_is_not_sent_again_unless_it_may_be(bench: Bench):
    bench.fakes[0].forget(taken=True)
    with pytest.raises(SessionForgotten):
        await soon(bench.link.handle(tool()))
    assert len(bench.fakes) == 1
    assert bytes((await soon(bench.link.handle(call("tools/list")))).body) == b'"session 2"'
    assert bytes((await soon(bench.link.handle(tool()))).body) == b'"session 2"'


async def test_a_session_forgotten_twice_in_a_row_is_the_callers(bench: Bench):
    bench.fakes[0].forget()
    opened = bench.link._open  # pyright: ignore[reportPrivateUsage]

    async def forgetful() -> Any:
        fake = await opened()
        fake.forget()  # type: ignore[attr-defined]
        return fake

    bench.link._open = forgetful  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(SessionForgotten):
        await soon(bench.link.handle(call("tools/list")))
    assert len(bench.fakes) == 2


async def test_calls_at_once_begin_one_session(bench: Bench):
    bench.fakes[0].forget()
    bench.fakes[0].go.clear()
    bench.opening.clear()
    first = [asyncio.create_task(bench.link.handle(tool())) for _ in range(5)]
    await asyncio.sleep(0)
    bench.fakes[0].go.set()
    for _ in range(10):
        await asyncio.sleep(0)
    later = asyncio.create_task(bench.link.handle(tool()))
    first[0].cancel()
    bench.opening.set()
    results = await soon(asyncio.gather(*first[1:], later))
    assert {bytes(result.body) for result in results} == {b'"session 2"'}
    assert len(bench.fakes) == 2
    assert len(bench.fakes[0].calls) == 5


async def test_calls_that_run_on_the_old_session_end_there(bench: Bench):
    """A server that only lost the session, not the call, may still answer it."""
    old = bench.fakes[0]
    old.go.clear()
    old.idle.clear()
    running = asyncio.create_task(bench.link.handle(tool()))
    await asyncio.sleep(0)
    old.tell()
    bench.link._listening = True  # pyright: ignore[reportPrivateUsage]
    await soon(bench.told.wait())
    assert not old.closed
    old.go.set()
    assert bytes((await soon(running)).body) == b'"one"'
    old.idle.set()


async def test_level_and_subscriptions_are_said_again(bench: Bench):
    for made in (
        call("logging/setLevel", SetLevelParams(level="debug")),
        call("logging/setLevel", SetLevelParams(level="error")),
        call("resources/subscribe", SubscribeParams(uri="a://1")),
        call("resources/subscribe", SubscribeParams(uri="a://2")),
        call("resources/unsubscribe", SubscribeParams(uri="a://1")),
    ):
        await soon(bench.link.handle(made))
    bench.fakes[0].forget()
    await soon(bench.link.handle(tool()))
    level, subscription, _ = bench.fakes[1].calls
    assert level.params == SetLevelParams(level="error")
    assert subscription.params == SubscribeParams(uri="a://2")
    assert bench.heard == [
        "notifications/tools/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    ]


async def test_a_subscription_that_was_refused_is_not_said_again(bench: Bench):
    bench.fakes[0].refusal = RpcError(-32602, "no")
    with pytest.raises(RpcError):
        await bench.link.handle(call("resources/subscribe", SubscribeParams(uri="a://1")))
    bench.fakes[0].forget()
    await soon(bench.link.handle(tool()))
    assert methods(bench.fakes[1]) == ["tools/call"]


async def test_a_server_that_refuses_what_it_took_before_can_still_be_used(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    await bench.link.handle(call("resources/subscribe", SubscribeParams(uri="a://1")))
    bench.fakes[0].forget()
    opened = bench.link._open  # pyright: ignore[reportPrivateUsage]

    async def strict() -> Any:
        fake: Any = await opened()
        fake.refusal = RpcError(-32602, "not this one")
        return fake

    bench.link._open = strict  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(RpcError, match="not this one"):
        await soon(bench.link.handle(tool()))
    assert "resources/subscribe could not be said again" in caplog.text


async def test_a_session_is_begun_anew_though_nobody_calls_if_somebody_listens():
    bench = Bench(listening=True)
    for number in range(3):
        bench.told.clear()
        bench.fakes[-1].tell()
        await soon(bench.told.wait())
        assert len(bench.fakes) == number + 2
    await soon(bench.link.close())


async def test_a_subscription_is_reason_enough(bench: Bench):
    await bench.link.handle(call("resources/subscribe", SubscribeParams(uri="a://1")))
    bench.fakes[0].tell()
    await soon(bench.told.wait())
    assert methods(bench.fakes[1]) == ["resources/subscribe"]


async def test_nobody_listening_it_waits_for_the_next_call(bench: Bench):
    bench.fakes[0].tell()
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(bench.fakes) == 1
    bench.fakes[0].forget()
    await soon(bench.link.handle(tool()))
    assert len(bench.fakes) == 2
    # And then it is watched again.
    await bench.link.handle(call("resources/subscribe", SubscribeParams(uri="a://1")))
    bench.told.clear()
    bench.fakes[1].tell()
    await soon(bench.told.wait())
    assert len(bench.fakes) == 3


async def test_where_no_session_can_be_begun_it_is_lost_and_may_be_tried_again(bench: Bench):
    bench.fakes[0].forget()
    bench.failure = ConnectFailed("nobody there")
    for _ in range(2):
        with pytest.raises(ConnectFailed):
            await soon(bench.link.handle(tool()))
    assert await soon(bench.link.wait_lost()) is bench.failure
    bench.failure = None
    assert bytes((await soon(bench.link.handle(tool()))).body) == b'"session 2"'


async def test_closing_ends_what_is_being_begun(bench: Bench):
    bench.fakes[0].forget()
    bench.opening.clear()
    waiting = asyncio.create_task(bench.link.handle(tool()))
    for _ in range(5):
        await asyncio.sleep(0)
    await soon(bench.link.close())
    with pytest.raises((asyncio.CancelledError, PeerError)):
        await waiting
    assert await soon(bench.link.wait_lost()) is None


# Over HTTP.


class Front:
    """An endpoint whose server can be replaced, as by a restart or by another worker."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.apps = [App(server)]

    def restart(self) -> None:
        self.apps.append(App(self.server))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.apps[-1](scope, receive, send)


@asynccontextmanager
async def fronted(server: Server, **options: Any) -> AsyncGenerator[tuple[Client, Front]]:
    front = Front(server)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await front(scope, receive, send)

    async with listening(app) as url:
        async with Client(url, revision="legacy", **options) as client:
            yield client, front
        for each in front.apps:
            await each.stop()


async def test_a_call_that_runs_on_another_worker_is_answered_from_there():
    server = Server("s")
    reached = asyncio.Event()
    go = asyncio.Event()

    @server.tool
    async def slow(ctx: Context) -> str:
        reached.set()
        await ctx.info("begun")  # It streams from here on.
        await go.wait()
        return "done"

    @server.tool
    async def quick() -> str:
        return "quick"

    async with fronted(server) as (client, front):
        running = asyncio.create_task(client.call_tool("slow"))
        await soon(reached.wait())
        front.restart()
        assert (await soon(client.call_tool("quick"))).text == "quick"
        go.set()
        assert (await soon(running)).text == "done"


async def test_a_call_whose_server_is_gone_is_not_run_twice():
    server = Server("s")
    runs: list[int] = []
    reached = asyncio.Event()

    @server.tool
    async def once(ctx: Context) -> str:
        runs.append(1)
        reached.set()
        await ctx.info("begun")
        await asyncio.Event().wait()
        return "never"

    async with fronted(server) as (client, front):
        running = asyncio.create_task(client.call_tool("once"))
        await soon(reached.wait())
        front.restart()
        front.apps[0].close()
        with pytest.raises((ConnectionLost, RpcError)):
            await soon(running)
        assert len(runs) == 1
        assert len(await soon(client.list_tools())) == 1


async def test_a_listener_hears_on_after_a_restart_though_it_never_calls(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(resuming, "PAUSES", (0.01,))
    server = Server("s")

    @server.resource("note://{id}")
    def note(id: str) -> str:
        return id

    updates: asyncio.Queue[str] = asyncio.Queue()
    async with fronted(server, on_update=updates.put_nowait) as (client, front):
        await client.subscribe("note://1")
        server.updated("note://1")
        assert await soon(updates.get()) == "note://1"
        front.restart()
        front.apps[0].close()  # Its standing stream ends; the next one is told 404.
        assert await soon(updates.get()) == "note://1"
        server.updated("note://1")
        assert await soon(updates.get()) == "note://1"
