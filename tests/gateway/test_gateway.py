"""The gateway with real servers behind it: both eras in front, one dead server hurting nobody."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.doors import ERAS, gateway_over
from tests.peers import modern
from tests.transport.http.host import Host

from interlock import Client, RpcError
from interlock.errors import HEADER_MISMATCH, ResourceNotFound
from interlock.gateway.config import load
from interlock.gateway.gateway import Gateway
from interlock.transport.http.asgi import App
from interlock.wire.completion import PromptReference, TemplateReference

BUSY = Path(__file__).parent / "servers" / "busy.py"
Events = list[tuple[str, str, str]]


def program(*args: str) -> dict[str, Any]:
    return {"command": sys.executable, "args": list(args)}


def busy() -> dict[str, Any]:
    return program(str(BUSY))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway_over(tmp_path, {"one": busy(), "two": busy()}) as gateway:
        yield gateway


MIRRORING = """
from typing import Annotated
from interlock import Server, run
from interlock.server.shape import Header
server = Server("mirroring")
@server.tool
async def where(region: Annotated[str, Header("Region")]) -> str:
    return region
run(server)
"""


async def test_mirrored_arguments_are_held_against_their_headers_at_the_door(
    tmp_path: Path,
) -> None:
    """Whoever processes the body validates `Mcp-Param-*` (checklist GW-04)."""
    async with gateway_over(tmp_path, {"one": program("-c", MIRRORING)}) as gateway:
        app = App(gateway)
        await app.start()
        host = Host(app)
        call = modern("tools/call", 1, {"name": "one__where", "arguments": {"region": "eu"}})
        answer = await host.modern(call, mcp_param_region="eu").json()
        assert answer["result"]["content"][0]["text"] == "eu"
        asked = host.modern(call, mcp_param_region="us")
        assert (await asked.json())["error"]["code"] == HEADER_MISMATCH
        assert asked.status == 400
        await app.stop()


@pytest.mark.parametrize("era", ERAS)
async def test_everything_is_listed_under_its_servers_name(gateway: Gateway, era: str) -> None:
    async with Client(gateway, revision=era) as client:
        tools = [tool.name for tool in await client.list_tools()]
        assert tools[0] == "one__echo"
        assert "two__echo" in tools
        assert len(tools) == 2 * 7
        resources = [resource.uri for resource in await client.list_resources()]
        assert resources == ["one+note://first", "two+note://first"]
        templates = [t.uri_template for t in await client.list_resource_templates()]
        assert templates == ["one+note://{name}", "two+note://{name}"]
        assert [p.name for p in await client.list_prompts()] == ["one__review", "two__review"]
        assert client.instructions is not None
        assert "Be quick." in client.instructions


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_reaches_the_server_it_names(gateway: Gateway, era: str) -> None:
    async with Client(gateway, revision=era) as client:
        assert (await client.call_tool("one__echo", {"text": "ü\n{"})).text == "ü\n{"
        one = (await client.call_tool("one__pid")).structured
        two = (await client.call_tool("two__pid")).structured
        assert one != two


@pytest.mark.parametrize("era", ERAS)
async def test_resources_prompts_and_completion_are_relayed(gateway: Gateway, era: str) -> None:
    async with Client(gateway, revision=era) as client:
        read = await client.read_resource("two+note://ada")
        assert [(c.uri, c.text) for c in read.contents] == [("two+note://ada", "note ada")]
        prompt = await client.get_prompt("one__review", {"topic": "x"})
        assert "Review x." in str(prompt.messages[0].content)
        prompt_topic = PromptReference(name="one__review")
        assert (await client.complete(prompt_topic, "topic", "con")).values == ["contract"]
        template = TemplateReference(uri="one+note://{name}")
        assert (await client.complete(template, "name", "a")).values == []
        with pytest.raises(ResourceNotFound) as missing:
            await client.read_resource("two+other://x")
        assert missing.value.uri == "two+other://x"
        with pytest.raises(RpcError, match="Unknown tool"):
            await client.call_tool("three__echo", {"text": ""})


@pytest.mark.parametrize("era", ERAS)
async def test_progress_comes_under_the_callers_own_token(gateway: Gateway, era: str) -> None:
    async with Client(gateway, revision=era) as client:
        heard: list[tuple[float, str | None]] = []
        result = await client.call_tool(
            "one__steps", {"count": 3}, on_progress=lambda p: heard.append((p.progress, p.message))
        )
        assert result.text == "done"
        assert heard == [(1.0, "step 1"), (2.0, "step 2"), (3.0, "step 3")]


@pytest.mark.parametrize("era", ERAS)
async def test_a_cancelled_call_is_cancelled_at_its_server(gateway: Gateway, era: str) -> None:
    async with Client(gateway, revision=era) as client:
        waits = asyncio.Event()
        call = asyncio.create_task(
            client.call_tool("one__hang", {"name": era}, on_progress=lambda _: waits.set())
        )
        await asyncio.wait_for(waits.wait(), 5)
        call.cancel()
        async with asyncio.timeout(5):
            while era not in (await client.call_tool("one__was_cancelled")).text:
                pass


@pytest.mark.parametrize("era", ERAS)
async def test_a_changed_list_is_heard_through_the_gateway(gateway: Gateway, era: str) -> None:
    """2025-11-25 and 2026-07-28 § Tools, List changed notification."""
    changed: asyncio.Queue[str] = asyncio.Queue()
    async with Client(gateway, revision=era, on_change=changed.put_nowait) as client:
        await client.call_tool("two__grow", {"name": f"new_{era}"})
        assert await asyncio.wait_for(changed.get(), 5) == "tools"
        names = [tool.name for tool in await client.list_tools()]
        assert f"two__new_{era}" in names
        assert (await client.call_tool(f"two__new_{era}")).text == f"I am new_{era}"


async def test_killing_a_server_fails_its_call_at_once_and_no_other(tmp_path: Path) -> None:
    """Ours: the failed call names the server and its last words, others finish, it comes back."""
    events: Events = []
    back = asyncio.Event()

    def heard(server: str, what: str, detail: str) -> None:
        events.append((server, what, detail))
        if (server, what) == ("one", "running") and any(e[1] == "ended" for e in events):
            back.set()

    async with (
        gateway_over(tmp_path, {"one": busy(), "two": busy()}, heard) as gateway,
        Client(gateway) as client,
    ):
        await client.call_tool("one__complain", {"text": "I feel unwell"})
        pid = (await client.call_tool("one__pid")).structured["result"]
        waits, other_waits = asyncio.Event(), asyncio.Event()
        doomed = asyncio.create_task(
            client.call_tool("one__hang", {"name": "x"}, on_progress=lambda _: waits.set())
        )
        other = asyncio.create_task(
            client.call_tool("two__hang", {"name": "y"}, on_progress=lambda _: other_waits.set())
        )
        await asyncio.wait_for(asyncio.gather(waits.wait(), other_waits.wait()), 5)
        loop = asyncio.get_running_loop()
        before = loop.time()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(RpcError, match="'one' was ended by signal 9") as failure:
            await asyncio.wait_for(doomed, 2)
        assert "I feel unwell" in str(failure.value)
        assert failure.value.data["stderr"] == ["I feel unwell"]
        assert not other.done()
        assert (await client.call_tool("two__echo", {"text": "alive"})).text == "alive"
        await asyncio.wait_for(back.wait(), 2 - (loop.time() - before))
        assert (await client.call_tool("one__echo", {"text": "again"})).text == "again"
        status = {s.name: s for s in gateway.status()}
        assert status["one"].restarts == 1
        told = [event.what for event in status["one"].events]
        assert told == ["starting", "running", "ended", "backing off", "starting", "running"]
        assert "I feel unwell" in status["one"].events[2].detail
        other.cancel()


async def test_servers_that_cannot_start_hurt_nobody(tmp_path: Path) -> None:
    crash = "import sys; print('no licence', file=sys.stderr); sys.exit(3)"
    servers = {
        "crash": program("-c", crash),
        "missing": {"command": "no-such-program-anywhere"},
        "gone": {"type": "http", "url": "http://127.0.0.1:9/mcp"},
        "silent": program("-c", "import sys; sys.stdin.read()"),
        "good": busy(),
    }
    path = tmp_path / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    ready = asyncio.Event()

    def heard(server: str, what: str, detail: str) -> None:
        if (server, what) == ("good", "running"):
            ready.set()

    gateway = Gateway(load(path, os.environ), on_event=heard)
    await gateway.start()
    try:
        await asyncio.wait_for(ready.wait(), 10)
        async with Client(gateway) as client:
            assert (await client.call_tool("good__echo", {"text": "hi"})).text == "hi"
            with pytest.raises(RpcError, match=r"its server 'missing' is (starting|backing off)"):
                await client.call_tool("missing__x")
        await asyncio.wait_for(gateway.upstream("crash").settled.wait(), 10)  # type: ignore[union-attr]
        status = {s.name: s for s in gateway.status()}
        assert "no licence" in (status["crash"].error or "")
        assert "no-such-program-anywhere" in (status["missing"].error or "")
        assert status["good"].state == "running"
    finally:
        await gateway.stop()


async def test_log_lines_are_relayed_at_the_level_the_caller_asked_for(gateway: Gateway) -> None:
    lines: list[Any] = []
    async with Client(gateway, revision="legacy", on_log=lambda n: lines.append(n.data)) as client:
        await client.call_tool("one__complain", {"text": "careful"})
    assert lines == ["careful"]


async def test_stopping_leaves_no_process(tmp_path: Path) -> None:
    async with gateway_over(tmp_path, {"one": busy()}) as gateway, Client(gateway) as client:
        pid = (await client.call_tool("one__pid")).structured["result"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
