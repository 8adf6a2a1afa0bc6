"""The client as a user holds it: opened and closed from anywhere, called from everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import sys
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.joined import Joined
from tests.peers import soon
from tests.scripted import Peer, greeting

from interlock import Client, Context, RpcError, Server
from interlock.errors import (
    LEGACY_RESOURCE_NOT_FOUND,
    ConfigError,
    ConnectionLost,
    NotConnected,
    ResourceNotFound,
    TimedOut,
    UsageError,
)
from interlock.protocol.call import Call, Handler
from interlock.wire.completion import PromptReference, TemplateReference
from interlock.wire.meta import PagedParams, Result
from interlock.wire.notices import LogNotice


class Bench:
    """A server with tools that wait, and the events they wait for."""

    def __init__(self, **options: Any) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.server = Server("bench", **options)

        @self.server.tool
        async def echo(text: str) -> str:
            return text

        @self.server.tool
        async def wait(ctx: Context) -> str:
            self.reached.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return "done"

        @self.server.tool
        async def keep_busy(ctx: Context) -> str:
            step = 0
            while not self.go.is_set():
                step += 1
                await ctx.report_progress(step)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.go.wait(), 0.01)
            return "done"

        @self.server.resource("note://{id}")
        def note(id: str) -> str | None:
            return id if id != "gone" else None

        @self.server.prompt
        def ask(topic: str) -> str:
            return topic


async def test_it_is_opened_in_one_task_and_closed_in_another(joined: Joined, era: str):
    """needs.md A5: no cancel scope may leak to whoever holds a client."""
    client = joined(Bench().server, era)
    await asyncio.create_task(client.connect())
    assert (await asyncio.create_task(client.call_tool("echo", {"text": "a"}))).text == "a"
    await asyncio.create_task(client.close())


async def test_two_are_closed_in_any_order(joined: Joined, era: str):
    first, second = joined(Bench().server, era), joined(Bench().server, era)
    await first.connect()
    await second.connect()
    await first.close()
    assert (await second.call_tool("echo", {"text": "b"})).text == "b"
    await second.close()


async def test_it_may_be_held_by_a_generator_that_another_task_ends(joined: Joined, era: str):
    """As fixtures of test frameworks do."""

    async def fixture() -> AsyncGenerator[Client]:
        async with joined(Bench().server, era) as client:
            yield client

    generator = fixture()
    client = await asyncio.create_task(anext(generator))
    assert (await client.call_tool("echo", {"text": "a"})).text == "a"
    with pytest.raises(StopAsyncIteration):
        await asyncio.create_task(anext(generator))


async def test_connecting_and_closing_twice_is_as_once(joined: Joined, era: str):
    client = joined(Bench().server, era)
    await asyncio.gather(client.connect(), client.connect())
    link = client.link
    await client.connect()
    assert client.link is link
    await asyncio.gather(client.close(), client.close())
    await client.close()


async def test_a_closed_client_can_be_connected_again(joined: Joined, era: str):
    client = joined(Bench().server, era)
    for text in "ab":
        async with client:
            assert (await client.call_tool("echo", {"text": text})).text == text


async def test_without_a_connection_it_says_what_to_do(joined: Joined):
    client = joined(Bench().server)
    for attempt in (lambda: client.revision, lambda: client.capabilities, lambda: client.link):
        with pytest.raises(NotConnected, match="use `async with`, or await connect"):
            attempt()
    with pytest.raises(NotConnected):
        await client.call_tool("echo")
    with pytest.raises(NotConnected):
        await client.list_tools()
    async with client:
        pass
    with pytest.raises(NotConnected):
        await client.read_resource("note://1")


class Slow:
    """A lifespan that says when it was entered and waits before it lets go on."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.go = asyncio.Event()
        self.left = asyncio.Event()

    @asynccontextmanager
    async def __call__(self) -> AsyncGenerator[None]:
        self.entered.set()
        try:
            await self.go.wait()
            yield
        finally:
            self.left.set()


async def test_cancelling_connect_leaves_nothing_and_it_can_be_tried_again():
    slow = Slow()
    client = Client(Bench(lifespan=slow).server)
    connecting = asyncio.create_task(client.connect())
    await soon(slow.entered.wait())
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert slow.left.is_set()
    slow.go.set()
    async with client:
        assert (await client.call_tool("echo", {"text": "a"})).text == "a"


async def test_cancelling_one_of_two_who_connect_does_not_hurt_the_other():
    slow = Slow()
    client = Client(Bench(lifespan=slow).server)
    one, other = asyncio.create_task(client.connect()), asyncio.create_task(client.connect())
    await soon(slow.entered.wait())
    one.cancel()
    await asyncio.wait([one])
    slow.go.set()
    await soon(other)
    assert (await client.call_tool("echo", {"text": "a"})).text == "a"
    await client.close()


async def test_closing_ends_a_connect_that_is_under_way():
    slow = Slow()
    client = Client(Bench(lifespan=slow).server)
    connecting = asyncio.create_task(client.connect())
    await soon(slow.entered.wait())
    await client.close()
    with pytest.raises(NotConnected, match="closed while it connected"):
        await connecting
    assert slow.left.is_set()


async def test_what_a_server_in_this_process_raises_when_it_starts_comes_out_as_it_is():
    @asynccontextmanager
    async def broken() -> AsyncGenerator[None]:
        raise ValueError("no database")
        yield

    with pytest.raises(ValueError, match="no database"):
        await Client(Bench(lifespan=broken).server).connect()


async def test_closing_while_calls_wait_fails_them_and_cancels_their_handlers(
    joined: Joined, era: str
):
    bench = Bench()
    client = joined(bench.server, era)
    await client.connect()
    call = asyncio.create_task(client.call_tool("wait"))
    await soon(bench.reached.wait())
    await client.close()
    with pytest.raises(ConnectionLost):
        await soon(call)
    await soon(bench.cancelled.wait())


async def test_a_call_that_takes_too_long_is_given_up_at_both_ends(joined: Joined, era: str):
    bench = Bench()
    async with joined(bench.server, era) as client:
        with pytest.raises(TimedOut, match=r"no answer and no progress for 0.05 s"):
            await client.call_tool("wait", timeout=0.05)
        await soon(bench.cancelled.wait())
        assert (await client.call_tool("echo", {"text": "still here"})).text == "still here"


async def test_progress_renews_patience_but_not_the_deadline(joined: Joined, era: str):
    """Issue 2: a per-call timeout that progress renews; and a hard cap beside it."""
    bench = Bench()
    loop = asyncio.get_running_loop()
    async with joined(bench.server, era) as client:
        loop.call_later(0.6, bench.go.set)
        result = await client.call_tool("keep_busy", timeout=0.3)
        assert result.text == "done"
        bench.go.clear()
        with pytest.raises(TimedOut, match="deadline"):
            await client.call_tool("keep_busy", timeout=10, deadline=0.05)
        bench.go.set()


async def test_patience_may_be_the_clients_the_calls_or_endless(joined: Joined):
    bench = Bench()
    async with joined(bench.server, timeout=0.02) as client:
        with pytest.raises(TimedOut, match=r"0.02 s"):
            await client.call_tool("wait")
        bench.go.set()
        assert (await client.call_tool("wait", timeout=math.inf)).text == "done"


async def test_calls_run_side_by_side_and_answers_find_their_callers(joined: Joined, era: str):
    bench = Bench()
    async with joined(bench.server, era) as client:
        waiting = asyncio.create_task(client.call_tool("wait"))
        await soon(bench.reached.wait())
        results = await asyncio.gather(
            *(client.call_tool("echo", {"text": str(number)}) for number in range(100))
        )
        assert [result.text for result in results] == [str(number) for number in range(100)]
        bench.go.set()
        assert (await waiting).text == "done"


async def test_errors_of_the_server_are_raised_as_what_they_are(joined: Joined, era: str):
    async with joined(Bench().server, era) as client:
        with pytest.raises(RpcError) as caught:
            await client.call_tool("nope")
        assert caught.value.code == -32602
        with pytest.raises(ResourceNotFound) as missing:
            await client.read_resource("note://gone")
        assert missing.value.uri == "note://gone"


async def test_a_legacy_servers_code_says_enough_of_a_missing_resource():
    """Its data is optional (2025-11-25 § Resources, Error Handling)."""
    peer = Peer(initialize=greeting(), resources_read=LEGACY_RESOURCE_NOT_FOUND)
    async with Client(peer.open, revision="legacy") as client:
        with pytest.raises(ResourceNotFound) as missing:
            await client.read_resource("note://gone")
    assert missing.value.uri == "note://gone"


async def test_meta_travels_with_a_call(joined: Joined, era: str):
    server = Server("s")

    @server.tool
    async def look(ctx: Context) -> str:
        return bytes(ctx.call.raw).decode()

    async with joined(server, era) as client:
        params = json.loads((await client.call_tool("look", meta={"example.com/a": [1]})).text)
    assert params["_meta"]["example.com/a"] == [1]
    assert params["name"] == "look"


async def test_arguments_may_be_anything_that_becomes_json(joined: Joined, era: str):
    async with joined(Bench().server, era) as client:
        assert (await client.call_tool("echo", {"text": 'ä\n\u2028"\\'})).text == 'ä\n\u2028"\\'
        with pytest.raises(TypeError):
            await client.call_tool("echo", {"text": object()})
        assert (await client.call_tool("echo", {"text": "on"})).text == "on"


async def test_what_a_callback_raises_is_logged_and_ends_nothing(
    joined: Joined, era: str, caplog: pytest.LogCaptureFixture
):
    server = Server("s")

    @server.tool
    async def speak(ctx: Context) -> str:
        await ctx.report_progress(1)
        await ctx.info("hello")
        server.changed("tools")
        return "done"

    def fail(_: Any) -> None:
        raise ValueError("my mistake")

    async with joined(server, era, on_log=fail, on_change=fail) as client:
        assert (await client.call_tool("speak", on_progress=fail)).text == "done"
        assert (await client.call_tool("speak")).text == "done"
    assert caplog.text.count("my mistake") >= 3


async def test_a_callback_that_would_have_to_be_awaited_is_refused_at_once(joined: Joined):
    async def later(_: Any) -> None: ...

    callback: Any = later
    for name in ("on_log", "on_change", "on_update", "on_stderr", "on_noise"):
        with pytest.raises(ConfigError, match=f"{name} must be a plain function"):
            Client(Server("s"), **{name: callback})
    async with joined(Bench().server) as client:
        with pytest.raises(ConfigError, match="on_progress must be a plain function"):
            await client.call_tool("echo", {"text": ""}, on_progress=callback)


async def test_any_method_of_the_protocol_may_be_sent(joined: Joined, era: str):
    async with joined(Bench().server, era) as client:
        result = await client.request("tools/list", PagedParams())
        assert b'"echo"' in bytes(result.body)
        with pytest.raises(UsageError, match="'tools/nope' is no method"):
            await client.request("tools/nope", PagedParams())


async def test_what_to_complete_may_be_said_in_three_ways(joined: Joined, era: str):
    server = Bench().server

    @server.completer("ask", "topic")
    def topics(typed: str) -> list[str]:
        return [typed + "thon"]

    @server.completer("note://{id}", "id")
    def ids(typed: str) -> list[str]:
        return [typed + "1"]

    async with joined(server, era) as client:
        assert (await client.complete("ask", "topic", "py")).values == ["python"]
        named = PromptReference(name="ask")
        assert (await client.complete(named, "topic", "py")).values == ["python"]
        assert (await client.complete("note://{id}", "id")).values == ["1"]
        template = TemplateReference(uri="note://{id}")
        assert (await client.complete(template, "id", "2")).values == ["21"]


async def test_lists_that_a_server_lacks_are_empty(joined: Joined, era: str):
    async def without(call: Call) -> Result:
        raise RpcError(-32601, f"Method not found: {call.method}")

    def middleware(handle: Handler) -> Handler:
        def route(call: Call) -> Awaitable[Result]:
            return without(call) if call.method == "prompts/list" else handle(call)

        return route

    async with joined(Bench(middleware=[middleware]).server, era) as client:
        assert await client.list_prompts() == []
        assert len(await client.list_tools()) == 3


async def test_logs_of_calls_side_by_side_all_arrive(joined: Joined, era: str):
    server = Server("s")

    @server.tool
    async def speak(number: int, ctx: Context) -> None:
        await ctx.warning(number)

    heard: list[LogNotice] = []
    async with joined(server, era, on_log=heard.append) as client:
        await asyncio.gather(*(client.call_tool("speak", {"number": n}) for n in range(20)))
    assert sorted(notice.data for notice in heard) == list(range(20))


async def test_nothing_is_printed_and_no_logging_is_set_up(
    joined: Joined, era: str, capfd: pytest.CaptureFixture[str]
):
    """needs.md A14: a library never configures logging."""
    before = list(logging.getLogger().handlers)
    async with joined(Bench().server, era) as client:
        await client.call_tool("echo", {"text": "a"})
        await client.call_tool("echo", {"wrong": "a"})
    assert logging.getLogger().handlers == before
    assert not logging.getLogger("interlock").handlers
    assert capfd.readouterr() == ("", "")


async def test_a_program_is_ended_with_its_client(tmp_path: Path):
    script = tmp_path / "server.py"
    ended = tmp_path / "ended"
    script.write_text(
        "import atexit, pathlib\n"
        "from interlock import Server, run\n"
        f"atexit.register(lambda: pathlib.Path({str(ended)!r}).touch())\n"
        "run(Server('child'))\n"
    )
    client = Client([sys.executable, str(script)])
    await client.connect()
    assert client.server_info is not None
    assert client.server_info.name == "child"
    await client.close()
    assert ended.exists()
