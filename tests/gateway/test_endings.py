"""Calls that end badly while something is asked, and what a restart of a server leaves standing."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.doors import ERAS, gateway_over, over_http
from tests.gateway.test_matrix import Person, an_upstream, structured
from tests.peers import soon

from interlock import Client, RpcError
from interlock.errors import INVALID_PARAMS
from interlock.gateway.gateway import Gateway

WAYS = list(itertools.product(ERAS, ("pipes", "http")))
"""The server's era, and how the gateway reaches it."""


@pytest.fixture
async def stack() -> AsyncGenerator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def a_gateway(stack: AsyncExitStack, folder: Path, theirs: str, inside: str) -> Gateway:
    upstream = await an_upstream(stack, theirs, inside)
    return await stack.enter_async_context(gateway_over(folder, {"k": upstream}))


@pytest.mark.parametrize("outside", ["memory", "http"])
@pytest.mark.parametrize("inside", ["pipes", "http"])
async def test_a_caller_that_leaves_while_it_is_asked_ends_the_question(
    stack: AsyncExitStack,
    tmp_path: Path,
    outside: str,
    inside: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A legacy server gets an error, and goes on; modern callers are never waited for by it."""
    gateway = await a_gateway(stack, tmp_path, "legacy", inside)
    door = await stack.enter_async_context(over_http(gateway)) if outside == "http" else gateway
    person = Person({"name": "Ada"})
    person.hesitates.clear()
    leaving = person.client(door, "legacy")
    await leaving.connect()
    call = asyncio.create_task(leaving.call_tool("k__form", {"message": "leave"}))
    await soon(person.was_asked.wait())
    await leaving.close()
    await asyncio.wait([call])
    assert call.exception() is not None
    async with Person().client(gateway, "legacy") as other:
        await soon(other.call_tool("k__until", {"what": "over leave"}))
    assert "incident" not in caplog.text


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("theirs", ERAS)
async def test_a_server_that_dies_while_it_asks_fails_the_call_soon(
    stack: AsyncExitStack, tmp_path: Path, era: str, theirs: str
) -> None:
    gateway = await a_gateway(stack, tmp_path, theirs, "pipes")
    person = Person({"name": "Ada"})
    person.hesitates.clear()
    async with person.client(gateway, era) as client:
        call = asyncio.create_task(client.call_tool("k__form"))
        await soon(person.was_asked.wait())
        with pytest.raises(RpcError, match="'k' exited with code 3"):
            await client.call_tool("k__die")
        person.hesitates.set()
        # A modern one is called again, and knows nothing of the state that its last run gave.
        words = "requestState" if theirs == "modern" else "'k' exited with code 3"
        with pytest.raises(RpcError, match=words):
            await soon(call)
        assert (await soon(client.call_tool("k__steps", {"count": 1}))).text == "done"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("theirs", "inside"), WAYS)
async def test_a_server_that_is_restarted_while_it_asks_fails_the_call_soon(
    stack: AsyncExitStack, tmp_path: Path, era: str, theirs: str, inside: str
) -> None:
    gateway = await a_gateway(stack, tmp_path, theirs, inside)
    upstream = gateway.upstream("k")
    assert upstream is not None
    person = Person({"name": "Ada"})
    person.hesitates.clear()
    async with person.client(gateway, era) as client:
        call = asyncio.create_task(structured(client, "form"))
        await soon(person.was_asked.wait())
        await soon(upstream.restart())
        person.hesitates.set()
        if (theirs, inside) == ("modern", "http"):
            # Only the connection was made anew: the server is the same, and knows its state.
            assert (await soon(call))["action"] == "accept"
        else:
            with pytest.raises(RpcError):
                await soon(call)
        assert (await soon(client.call_tool("k__steps", {"count": 1}))).text == "done"


@pytest.mark.parametrize(("theirs", "inside"), WAYS)
async def test_a_gateway_that_stops_waits_for_no_answer(
    stack: AsyncExitStack, tmp_path: Path, theirs: str, inside: str
) -> None:
    gateway = await a_gateway(stack, tmp_path, theirs, inside)
    url = await stack.enter_async_context(over_http(gateway))
    calls: list[asyncio.Task[Any]] = []
    people = [Person({"name": "Ada"}) for _ in range(6)]
    for person, era in zip(people, itertools.cycle(ERAS)):
        person.hesitates.clear()
        # Over a pipe nothing tells which of two calls asks; one at a time waits there.
        client = await stack.enter_async_context(person.client(url, era))
        calls.append(asyncio.create_task(client.call_tool("k__form")))
        await soon(person.was_asked.wait())
    await gateway.stop()  # Whoever serves it at the door still uses it.
    await soon(gateway.stop(), 5)
    for person in people:
        person.hesitates.set()
    for call in calls:
        with pytest.raises(RpcError):
            await soon(call)
    await gateway.start()
    await gateway.start()


@pytest.mark.parametrize(("theirs", "inside"), WAYS)
async def test_what_is_watched_is_told_as_changed_and_watched_again_after_a_restart(
    stack: AsyncExitStack, tmp_path: Path, theirs: str, inside: str
) -> None:
    gateway = await a_gateway(stack, tmp_path, theirs, inside)
    upstream = gateway.upstream("k")
    assert upstream is not None
    heard: dict[str, asyncio.Queue[str]] = {era: asyncio.Queue() for era in ERAS}
    clients: list[Client] = []
    for era in ERAS:
        client = Person().client(gateway, era, on_update=heard[era].put_nowait)
        clients.append(await stack.enter_async_context(client))
        await client.subscribe("k+note://a")
    client = clients[0]
    await client.call_tool("k__until", {"what": "watched note://a"})
    if inside == "pipes":
        with pytest.raises(RpcError):
            await client.call_tool("k__die")
    else:
        await upstream.restart()
    for queue in heard.values():
        assert await soon(queue.get()) == "k+note://a"
    # The last subscription may end after the new one began: one of many touches is told.
    touching = asyncio.create_task(touch(client, "note://a"))
    for queue in heard.values():
        assert await soon(queue.get()) == "k+note://a"
    touching.cancel()


async def touch(client: Client, uri: str) -> None:
    while True:
        await client.call_tool("k__touch", {"uri": uri})


# A legacy server by hand: asks after it was told that its call was cancelled.
LATE = """
import json, sys
answers = []
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    heard = json.loads(line)
    method, number = heard.get("method"), heard.get("id")
    if method == "initialize":
        say(id=number, result={"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                               "serverInfo": {"name": "late", "version": "1"}})
    elif method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("hang", "told")]
        say(id=number, result={"tools": tools})
    elif method == "tools/call" and heard["params"]["name"] == "hang":
        token = heard["params"]["_meta"]["progressToken"]
        say(method="notifications/progress", params={"progressToken": token, "progress": 1})
    elif method == "notifications/cancelled":
        form = {"type": "object", "properties": {}}
        say(id="late", method="elicitation/create",
            params={"message": "Still there?", "requestedSchema": form})
    elif method is None:
        answers.append(heard["error"]["code"])
    elif method == "tools/call":
        text = json.dumps(answers)
        say(id=number, result={"content": [{"type": "text", "text": text}]})
    elif number is not None:
        say(id=number, error={"code": -32601, "message": "no"})
"""


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_asks_after_its_call_was_cancelled_asks_nobody(
    stack: AsyncExitStack, tmp_path: Path, era: str
) -> None:
    late = {"command": sys.executable, "args": ["-c", LATE]}
    gateway = await stack.enter_async_context(gateway_over(tmp_path, {"k": late}))
    person, waits = Person({}), asyncio.Event()
    async with person.client(gateway, era) as client:
        call = asyncio.create_task(client.call_tool("k__hang", on_progress=lambda _: waits.set()))
        await soon(waits.wait())
        call.cancel()
        await asyncio.wait([call])
    # Whoever calls next may be asked, over a pipe; this one cannot be.
    async with Client(gateway, revision=era) as other:
        while (told := (await soon(other.call_tool("k__told"))).text) == "[]":
            pass
    assert told in ("[-32601]", f"[{INVALID_PARAMS}]")
    assert not person.asked
