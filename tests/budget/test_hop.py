"""What a hop through the gateway costs in function calls, its pipe to the upstream included."""

from __future__ import annotations

import cProfile
import gc
import json
import os
import pstats
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

from tests.peers import modern

import interlock
from interlock import Server
from interlock.gateway.config import load
from interlock.gateway.gateway import Gateway
from interlock.protocol.call import Call, Service
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.exchange import Exchange
from interlock.protocol.session import Session
from interlock.wire.methods import TO_SERVER

Where: TypeAlias = tuple[str, int, str]
Entry: TypeAlias = tuple[int, int, float, float, dict[Where, tuple[int, int, float, float]]]

HOP_CALLS = 60
HERE = str(Path(interlock.__file__).parent)

UPSTREAM = """
from interlock import Server, run
server = Server("budget")
@server.tool
async def echo(text: str) -> str:
    return text
run(server)
"""


def ask(name: str) -> bytes:
    return modern("tools/call", 1, {"name": name, "arguments": {"text": "hi"}})


async def our_calls(service: Service, message: bytes) -> int:
    """Calls of this package's functions, and of builtins by them, that answering *message* takes.

    The event loop's own are left out: they differ between Python versions, and between loops.
    """
    exchange: Exchange[Any] = Exchange(TO_SERVER, Session())
    dispatch = Dispatch(service)

    async def once() -> bytes:
        call = exchange.receive(message)
        assert isinstance(call, Call)
        body, _ = await dispatch.respond(call)
        return bytes(body)

    for _ in range(3):
        assert json.loads(await once())["result"]["content"] == [{"type": "text", "text": "hi"}]
    profile = cProfile.Profile()
    gc.disable()
    try:
        profile.enable()
        await once()
        profile.disable()
    finally:
        gc.enable()
    # By function, where it stands first: primitive calls, calls, own time, time, callers.
    entries = cast("dict[Where, Entry]", vars(pstats.Stats(profile))["stats"])
    total = 0
    for (file, _, _), (_, calls, _, _, callers) in entries.items():
        if file.startswith(HERE):
            total += calls
        elif file == "~":
            total += sum(callers[where][0] for where in callers if where[0].startswith(HERE))
    return total


@asynccontextmanager
async def gateway_over(folder: Path, servers: int) -> AsyncGenerator[Gateway]:
    entry = {"command": sys.executable, "args": ["-c", UPSTREAM]}
    path = folder / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": {f"s{n}": entry for n in range(servers)}}))
    gateway = Gateway(load(path, os.environ))
    await gateway.start()
    try:
        await gateway.settled(20)
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


async def test_a_hop_costs_the_same_with_more_servers(tmp_path: Path) -> None:
    async with gateway_over(tmp_path, 1) as gateway:
        one = await our_calls(gateway, ask("s0__echo"))
    async with gateway_over(tmp_path, 4) as gateway:
        assert await our_calls(gateway, ask("s3__echo")) == one
