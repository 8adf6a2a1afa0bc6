"""What the tests of several rooms talk with: messages as a peer writes them, and a small service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

from interlock.errors import METHOD_NOT_FOUND, RpcError
from interlock.protocol.call import Call, Handler
from interlock.wire.content import Text
from interlock.wire.lifecycle import DiscoverResult, InitializeResult, ServerCapabilities
from interlock.wire.meta import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    PROTOCOL_VERSION,
    EmptyResult,
    Implementation,
    Result,
)
from interlock.wire.tools import CallToolParams, CallToolResult, ListToolsResult, Tool

T = TypeVar("T")
Json: TypeAlias = dict[str, Any]
Run: TypeAlias = Callable[[Call], Awaitable[Result]]

MODERN = "2026-07-28"
LATEST = "2025-11-25"
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


def meta(version: Any = MODERN, **more: Any) -> Json:
    """The `_meta` of a modern request; *more* by the last part of the key."""
    info = {"name": "tests", "version": "1"}
    keys: Json = {PROTOCOL_VERSION: version, CLIENT_CAPABILITIES: {}, CLIENT_INFO: info, **more}
    return {key: value for key, value in keys.items() if value is not ...}


def ask(method: str, id: Any = 1, params: Any = ...) -> bytes:
    """A request as a legacy peer sends it."""
    message: Json = {"jsonrpc": "2.0", "id": id, "method": method}
    return json.dumps(message if params is ... else {**message, "params": params}).encode()


def modern(method: str, id: Any = 1, params: Json | None = None, **keys: Any) -> bytes:
    """A request as a modern peer sends it."""
    return ask(method, id, {**(params or {}), "_meta": meta(**keys)})


def say(method: str, params: Any = ...) -> bytes:
    message: Json = {"jsonrpc": "2.0", "method": method}
    return json.dumps(message if params is ... else {**message, "params": params}).encode()


def reply(id: Any, result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()


def hello(version: str = LATEST, id: Any = "hello", capabilities: Json | None = None) -> bytes:
    """The first message of a legacy client."""
    info = {"name": "tests", "version": "1"}
    params = {"protocolVersion": version, "capabilities": capabilities or {}, "clientInfo": info}
    return ask("initialize", id, params)


def said(text: str) -> CallToolResult:
    return CallToolResult(content=[Text(text=text)])


async def soon(awaitable: Awaitable[T], seconds: float = 10) -> T:
    """What must come, and would fail the test rather than hang it."""
    return await asyncio.wait_for(awaitable, seconds)


class Desk:
    """A service whose tools are plain coroutines from Call to Result, under their names."""

    def __init__(self, **tools: Run) -> None:
        self.info = Implementation(name="desk", version="1")
        self.handle: Handler = self._handle
        self.tools = tools
        self.starts = 0
        self.stops = 0

    async def start(self) -> None:
        self.starts += 1

    async def stop(self) -> None:
        self.stops += 1

    async def _handle(self, call: Call) -> Result:
        match call.method:
            case "initialize":
                return InitializeResult(
                    protocol_version=call.envelope.revision.name,
                    capabilities=ServerCapabilities(tools=None),
                    server_info=self.info,
                )
            case "server/discover":
                return DiscoverResult(
                    supported_versions=[MODERN], capabilities=ServerCapabilities()
                )
            case "ping":
                return EmptyResult()
            case "tools/list":
                schema: Json = {"type": "object"}
                return ListToolsResult(
                    tools=[Tool(name=name, input_schema=schema) for name in self.tools]
                )
            case method:
                tool = None
                if isinstance(call.params, CallToolParams):
                    tool = self.tools.get(call.params.name)
                tool = tool or self.tools.get(method)
                if tool is None:
                    raise RpcError(METHOD_NOT_FOUND, f"The desk has no {method}")
                return await tool(call)


async def echo(call: Call) -> CallToolResult:
    assert isinstance(call.params, CallToolParams)
    return said(bytes(call.params.arguments).decode())


class Latch:
    """A tool that says when it was reached and waits to be let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> CallToolResult:
        self.calls.append(call)
        self.reached.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return said("let go")
