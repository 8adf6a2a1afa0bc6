"""A server in this process is called as if there were a wire, though there is none."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import Raw
from tests.heard import listener
from tests.peers import soon

from interlock import Client, Context, RpcError, Server
from interlock.client.in_process import InProcessLink
from interlock.client.over_channel import ChannelLink
from interlock.errors import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    ConnectionLost,
    InvalidMessage,
    TimedOut,
)
from interlock.protocol.call import Call, Handler
from interlock.protocol.exchange import RUNNING_LIMIT
from interlock.transport.channel import HIGH_WATER
from interlock.wire.meta import RawResult, Result
from interlock.wire.methods import DISCOVER
from interlock.wire.notices import ProgressNotice
from interlock.wire.tools import CallToolParams


def a_client(target: Any, **options: Any) -> Client:
    return Client(target, cache=False, timeout=10, **options)


def link_of(client: Client) -> InProcessLink:
    link = client.link
    assert isinstance(link, InProcessLink)
    return link


class Bench:
    """A server whose tool waits until it is let go."""

    def __init__(self, **options: Any) -> None:
        self.server = Server("bench", **options)
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.left = asyncio.Event()

        @self.server.tool
        async def echo(text: str) -> str:
            return text

        @self.server.tool
        async def wait() -> str:
            self.reached.set()
            try:
                await self.go.wait()
            finally:
                self.left.set()
            return "done"


async def test_it_is_used_for_a_server_object_and_settles_on_the_modern_revision():
    bench = Bench()
    async with a_client(bench.server) as client:
        assert link_of(client).envelope.revision.name == client.revision == "2026-07-28"
        assert client.server_info == bench.server.info


async def test_a_handshake_takes_a_channel():
    bench = Bench()
    async with a_client(bench.server, revision="legacy") as client:
        assert isinstance(client.link, ChannelLink)
        assert (await client.call_tool("echo", {"text": "a"})).text == "a"


class Older:
    """A service that knows nothing of `server/discover`, or does not answer it."""

    def __init__(self, server: Server, answer: Callable[[], Awaitable[Result]]) -> None:
        self.info = server.info
        self.running = 0
        self._server = server
        self._answer = answer

    @property
    def handle(self) -> Handler:
        async def handle(call: Call) -> Result:
            if call.method == DISCOVER:
                return await self._answer()
            return await self._server.handle(call)

        return handle

    async def start(self) -> None:
        self.running += 1
        await self._server.start()

    async def stop(self) -> None:
        self.running -= 1
        await self._server.stop()


async def no_such_method() -> Result:
    raise RpcError(METHOD_NOT_FOUND, "no such method")


async def nonsense() -> Result:
    return RawResult(body=Raw(b'{"supportedVersions":7}'))


@pytest.mark.parametrize("answer", [no_such_method, nonsense])
async def test_a_service_that_is_not_modern_is_greeted_over_a_channel(
    answer: Callable[[], Awaitable[Result]],
):
    service = Older(Bench().server, answer)
    async with a_client(service) as client:
        assert client.revision == "2025-11-25"
        assert service.running == 1
        assert (await client.call_tool("echo", {"text": "a"})).text == "a"
    assert service.running == 0
    listener.violations.clear()  # It said what no server may.


async def test_whoever_gives_up_connecting_leaves_the_service_stopped():
    asked = asyncio.Event()

    async def never() -> Result:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    service = Older(Bench().server, never)
    connecting = asyncio.create_task(a_client(service).connect())
    await asked.wait()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert service.running == 0


async def test_neither_side_holds_what_is_the_others():
    server = Server("s")
    kept: list[dict[str, Any]] = []

    @server.tool
    async def keep(value: dict[str, Any]) -> dict[str, Any]:
        kept.append(value)
        return value

    async with a_client(server) as client:
        ours: dict[str, Any] = {"list": [1, {"a": "b"}]}
        result = await client.call_tool("keep", {"value": ours})
        assert result.structured == kept[0] == ours
        kept[0]["list"].append("theirs")
        ours["list"].append("ours")
        assert result.structured == {"list": [1, {"a": "b"}]}


async def test_what_cannot_cross_a_wire_does_not():
    async with a_client(Bench().server) as client:
        with pytest.raises(TypeError):
            await client.call_tool("echo", {"text": object()})


async def test_text_that_is_none_is_refused_either_way():
    """Somebody's own JSON may stand within ours, and is held against what a wire allows."""
    answers = {"bad text": Raw(b'{"content":[],"x":"\xff"}'), "no JSON": Raw(b'{"content":[}')}

    def say(handler: Handler) -> Handler:
        async def handle(call: Call) -> Result:
            params = call.params
            if isinstance(params, CallToolParams) and params.name in answers:
                return RawResult(body=answers[params.name])
            return await handler(call)

        return handle

    async with a_client(Bench(middleware=[say]).server) as client:
        assert (await client.call_tool("echo", {"text": "Grüße"})).text == "Grüße"
        with pytest.raises(RpcError) as caught:
            await client.call_tool("echo", {"text": Raw(b'"\xff"')})
        assert caught.value.code == -32700
        for name in answers:
            with pytest.raises(InvalidMessage):
                await client.call_tool(name)
        listener.violations.clear()  # We said what nobody may.


async def test_errors_are_what_they_are_over_a_wire(caplog: pytest.LogCaptureFixture):
    server = Server("s")

    @server.tool
    async def refuse() -> None:
        raise RpcError(7, "no", {"why": 1})

    @server.prompt
    async def broken() -> str:
        raise ZeroDivisionError("a secret")

    async with a_client(server) as client:
        with pytest.raises(RpcError, match="no") as caught:
            await client.call_tool("refuse")
        assert (caught.value.code, caught.value.data) == (7, {"why": 1})
        with pytest.raises(RpcError, match="Internal error") as caught:
            await client.get_prompt("broken")
        assert caught.value.code == INTERNAL_ERROR
    assert "a secret" in caplog.text


async def test_a_handler_that_waits_for_what_was_cancelled_is_answered_all_the_same(
    caplog: pytest.LogCaptureFixture,
):
    server = Server("s")

    @server.prompt
    async def wait() -> str:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        return await gone

    async with a_client(server) as client:
        with pytest.raises(RpcError, match="Internal error"):
            await client.get_prompt("wait")
    assert "incident" in caplog.text


async def test_whoever_calls_in_a_loop_lets_others_have_their_turn():
    async with a_client(Bench().server) as client:
        done = asyncio.Event()
        asyncio.get_running_loop().call_soon(done.set)
        while not done.is_set():
            await client.call_tool("echo", {"text": "a"})


seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


async def test_a_handler_runs_in_a_task_and_a_context_of_its_own():
    server = Server("s")
    tasks: list[asyncio.Task[Any] | None] = []

    @server.tool
    async def look() -> str:
        tasks.append(asyncio.current_task())
        was = seen.get()
        seen.set("theirs")
        return was

    async with a_client(server) as client:
        seen.set("ours")
        assert (await client.call_tool("look")).text == "nothing"
        assert (await client.call_tool("look")).text == "nothing"
        assert seen.get() == "ours"
    assert asyncio.current_task() not in tasks


async def test_a_timeout_within_a_handler_is_the_handlers():
    server = Server("s")

    @server.tool
    async def brief() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "late"
        return "never"

    async with a_client(server) as client:
        assert (await client.call_tool("brief")).text == "late"


async def test_servers_may_call_one_another():
    inner = Bench().server
    outer = Server("outer")
    async with a_client(inner) as within:

        @outer.tool
        async def relay(text: str) -> str:
            return (await within.call_tool("echo", {"text": text})).text

        async with a_client(outer) as client:
            assert (await client.call_tool("relay", {"text": "a"})).text == "a"


async def test_a_call_that_is_cancelled_returns_at_once_and_ends_its_handler():
    server = Server("s")
    reached, left, go = asyncio.Event(), asyncio.Event(), asyncio.Event()
    calls: list[Call] = []

    @server.tool
    async def cling(ctx: Context) -> str:
        calls.append(ctx.call)
        reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await go.wait()
            left.set()
        return "nobody hears this"

    async with a_client(server) as client:
        calling = asyncio.create_task(client.call_tool("cling"))
        await reached.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert calls[0].cancelled
        assert not left.is_set()
        go.set()
        await soon(left.wait())


async def test_a_call_may_be_cancelled_before_its_first_turn():
    bench = Bench()
    async with a_client(bench.server) as client:
        calling = asyncio.create_task(client.call_tool("wait"))
        await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert (await client.call_tool("echo", {"text": "a"})).text == "a"
        assert not bench.reached.is_set() or bench.left.is_set()


async def test_patience_runs_out_and_ends_the_handler():
    bench = Bench()
    async with a_client(bench.server) as client:
        with pytest.raises(TimedOut, match=r"no answer and no progress for 0\.01 s"):
            await client.call_tool("wait", timeout=0.01)
        await soon(bench.left.wait())
        with pytest.raises(TimedOut, match="longer than its deadline"):
            await client.call_tool("wait", deadline=0.01)


async def test_progress_comes_before_the_result_and_within_no_handler(
    caplog: pytest.LogCaptureFixture,
):
    server = Server("s")
    running: list[bool] = []
    inside = False

    @server.tool
    async def work(ctx: Context) -> str:
        nonlocal inside
        inside = True
        for step in range(1, 4):
            await ctx.report_progress(step, 3)
        inside = False
        return "done"

    heard: list[float] = []

    def hear(notice: ProgressNotice) -> None:
        running.append(inside)
        heard.append(notice.progress)
        raise ValueError("the callback's own mistake")

    async with a_client(server) as client:
        assert (await client.call_tool("work", on_progress=hear)).text == "done"
        assert heard == [1, 2, 3]
        assert running == [False] * 3
    assert "the callback's own mistake" in caplog.text


async def test_notices_that_nobody_takes_are_dropped_beyond_a_bound():
    server = Server("s")
    line = "x" * (HIGH_WATER // 8)

    @server.tool
    async def spill(ctx: Context) -> None:
        for _ in range(100):
            ctx.call.outlet.notify("notifications/message", Raw(LINE % line.encode()))
        await ctx.call.outlet.drain()
        ctx.call.outlet.notify("notifications/message", Raw(LINE % b"last"))

    heard: list[Any] = []

    def hear(notice: Any) -> None:
        heard.append(notice.data)

    async with a_client(server, on_log=hear) as client:
        await client.call_tool("spill")
        assert len(heard) == 8 + 1
        assert heard[-1] == "last"


LINE = b'{"level":"info","data":"%b"}'


async def test_what_a_call_left_behind_is_heard_no_more():
    server = Server("s")
    outlets: list[Any] = []
    heard: list[Any] = []

    @server.tool
    async def leave(ctx: Context) -> None:
        outlets.append(ctx.call.outlet)

    async with a_client(server, on_log=heard.append) as client:
        await client.call_tool("leave")
        outlets[0].notify("notifications/message", Raw(LINE % b"late"))
        await outlets[0].drain()
        await client.call_tool("leave")
        assert heard == []
        with pytest.raises(RpcError):
            await outlets[0].ask("roots/list", Raw(b"{}"))


async def test_changes_are_heard_and_their_subscription_ends_with_the_client():
    bench = Bench()
    changes: asyncio.Queue[str] = asyncio.Queue()
    async with a_client(bench.server, on_change=changes.put_nowait) as client:
        bench.server.changed("tools")
        assert await soon(changes.get()) == "tools"
        assert len(bench.server.subscriptions) == 1
        assert client.link
    assert len(bench.server.subscriptions) == 0


async def test_closing_ends_what_waits_and_what_runs():
    bench = Bench()
    client = a_client(bench.server)
    await client.connect()
    link = link_of(client)
    calling = asyncio.create_task(client.call_tool("wait"))
    await bench.reached.wait()
    await asyncio.gather(client.close(), client.close(), link.close())
    with pytest.raises(ConnectionLost):
        await calling
    assert bench.left.is_set()
    assert await link.wait_lost() is None
    with pytest.raises(ConnectionLost):
        await link.discover(link.envelope.revision)


async def test_more_calls_at_once_than_a_peer_may_have_are_refused():
    bench = Bench()
    async with a_client(bench.server) as client:
        calls = [asyncio.create_task(client.call_tool("wait")) for _ in range(RUNNING_LIMIT)]
        for _ in range(3):
            await asyncio.sleep(0)  # Their first steps: each waits by then.
        with pytest.raises(RpcError, match="calls at once") as caught:
            await client.call_tool("echo", {"text": "a"})
        assert caught.value.code == INVALID_REQUEST
        bench.go.set()
        assert {(await call).text for call in calls} == {"done"}
        assert (await client.call_tool("echo", {"text": "a"})).text == "a"


async def test_whoever_listens_hears_every_message_as_a_wire_would_carry_it():
    said: list[tuple[str, bytes]] = []
    server = Server("s")

    @server.tool
    async def work(ctx: Context, text: str) -> str:
        await ctx.report_progress(1)
        return text

    async with a_client(server) as client:
        link = link_of(client)
        hear = link._hear  # pyright: ignore[reportPrivateUsage]
        assert hear is not None

        def both(side: Any, message: bytes) -> None:
            said.append((side, message))
            hear(side, message)

        link._hear = both  # pyright: ignore[reportPrivateUsage]
        await client.call_tool("work", {"text": "a"})
        with pytest.raises(RpcError):
            await client.call_tool("none")
        link.notify("notifications/cancelled", Raw(b'{"requestId":99}'))
    (asked, progress, answered, unknown, refused, told) = said
    assert asked[0] == unknown[0] == told[0] == "client"
    assert asked[1].startswith(b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name"')
    assert progress == (
        "server",
        (
            b'{"jsonrpc":"2.0","method":"notifications/progress",'
            b'"params":{"progressToken":2,"progress":1}}'
        ),
    )
    assert answered[1].startswith(b'{"jsonrpc":"2.0","id":2,"result":{"content"')
    assert refused[1].startswith(b'{"jsonrpc":"2.0","id":3,"error":{"code":-32602')
