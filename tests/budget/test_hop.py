"""What a hop through the gateway costs in function calls, its pipe to the upstream included."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.budget.counting import own_calls
from tests.peers import modern

from interlock import Server
from interlock.gateway.config import load
from interlock.gateway.gateway import Gateway
from interlock.protocol.call import LOCAL, Call, Principal, Service
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.exchange import Exchange
from interlock.protocol.session import Session
from interlock.wire.methods import TO_SERVER

HOP_CALLS = 58
LEGACY_CALLS = 13
"""What a server of the handshake era adds: what it asks comes in the middle of a call."""
LIST_CALLS = 27
"""A list of all that there is, however many servers it is of."""
MANY = 100

UPSTREAM = """
from interlock import Server, run
server = Server("budget")
@server.tool
async def echo(text: str) -> str:
    return text
run(server)
"""


# Fifty tools, in the words of the handshake era: little to start, as there are many of it.
SMALL = """
import json, sys
schema = {"type": "object", "properties": {"text": {"type": "string"}}}
tools = [{"name": f"echo{n or ''}", "description": "Says it again.", "inputSchema": schema}
         for n in range(50)]
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    answer = {"error": {"code": -32601, "message": "no"}}
    if asked["method"] == "initialize":
        answer = {"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                             "serverInfo": {"name": "small", "version": "1"}}}
    elif asked["method"] == "tools/list":
        answer = {"result": {"tools": tools}}
    elif asked["method"] == "tools/call":
        text = asked["params"]["arguments"]["text"]
        answer = {"result": {"content": [{"type": "text", "text": text}]}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
"""
LIST = modern("tools/list")


def ask(name: str) -> bytes:
    return modern("tools/call", 1, {"name": name, "arguments": {"text": "hi"}})


def says_hi(result: Any) -> bool:
    return result["content"] == [{"type": "text", "text": "hi"}]


async def our_calls(
    service: Service,
    message: bytes,
    right: Callable[[Any], bool] = says_hi,
    principal: Principal = LOCAL,
) -> int:
    """Calls of this package's functions, and of builtins by them, that answering *message* takes.

    The event loop's own are left out: they differ between Python versions, and between loops.
    """
    exchange: Exchange[Any] = Exchange(TO_SERVER, Session(), principal)
    dispatch = Dispatch(service)

    async def once() -> bytes:
        call = exchange.receive(message)
        assert isinstance(call, Call)
        body, _ = await dispatch.respond(call)
        return bytes(body)

    for _ in range(3):
        assert right(json.loads(await once())["result"])
    return await own_calls(once)


@asynccontextmanager
async def gateway_over(
    folder: Path, servers: int, program: str = UPSTREAM
) -> AsyncGenerator[Gateway]:
    bare = ["-I", "-S"] if program is SMALL else []
    entry = {"command": sys.executable, "args": [*bare, "-c", program]}
    path = folder / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": {f"s{n}": entry for n in range(servers)}}))
    gateway = Gateway(load(path, os.environ))
    await gateway.start()
    try:
        await gateway.settled(60)
        assert {each.state for each in gateway.status()} == {"running"}
        yield gateway
    finally:
        await gateway.stop()


def a_server() -> Server:
    server = Server("budget")

    @server.tool
    async def echo(text: str) -> str:
        return text

    return server


async def test_a_hop_costs_little_more_than_a_call(tmp_path: Path) -> None:
    alone = await our_calls(a_server(), ask("echo"))
    async with gateway_over(tmp_path, 1) as gateway:
        assert await our_calls(gateway, ask("s0__echo")) <= alone + HOP_CALLS


async def test_a_hop_for_who_comes_over_http_costs_the_same(tmp_path: Path) -> None:
    anybody = Principal(scopes=frozenset())
    async with gateway_over(tmp_path, 1) as gateway:
        ours = await our_calls(gateway, ask("s0__echo"))
        assert await our_calls(gateway, ask("s0__echo"), principal=anybody) == ours


async def test_a_call_and_a_list_cost_the_same_however_many_servers_there_are(
    tmp_path: Path,
) -> None:
    costs: list[tuple[int, int]] = []
    for servers in (1, MANY):
        tools = 50 * servers
        async with gateway_over(tmp_path, servers, SMALL) as gateway:
            a_call = await our_calls(gateway, ask(f"s{servers - 1}__echo"))
            a_list = await our_calls(
                gateway, LIST, lambda result, tools=tools: len(result["tools"]) == tools
            )
        costs.append((a_call, a_list))
    assert costs[0] == costs[1]
    alone = await our_calls(a_server(), ask("echo"))
    assert costs[0][0] <= alone + HOP_CALLS + LEGACY_CALLS
    assert costs[0][1] <= LIST_CALLS
