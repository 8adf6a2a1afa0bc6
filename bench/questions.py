"""What the bench asks, as bytes in either era, and what a right answer looks like.

Ids have a fixed width, so that every request of a run has the same length and so has every answer.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

FIRST_ID = 100_000_000
ERAS = {"modern": "2026-07-28", "legacy": "2025-11-25"}

TEXT = "The quick brown fox."
LONG = "0123456789abcdef" * 1024


@dataclass(frozen=True)
class Question:
    name: str
    method: str
    params: Mapping[str, Any]
    right: Callable[[Any], bool]
    mirrored: str | None = None
    """What Mcp-Name says in the modern era."""
    tools: int = 2
    """How many tools the server must have."""

    def body(self, era: str) -> tuple[bytes, bytes]:
        """The request around its id."""
        params = dict(self.params)
        if era == "modern":
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": ERAS[era],
                "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1.0.0"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        message = encode(
            {"jsonrpc": "2.0", "id": FIRST_ID, "method": self.method, "params": params}
        )
        before, _, after = message.partition(b"%d" % FIRST_ID)
        return before, after

    def through(self, server: str) -> "Question":
        """The same question under the name a gateway gives it."""
        params = dict(self.params)
        mirrored = self.mirrored
        if "name" in params:
            params["name"] = mirrored = f"{server}__{params['name']}"
        if "uri" in params:
            params["uri"] = mirrored = f"{server}+{params['uri']}"
        return replace(self, params=params, mirrored=mirrored)

    def headers(self, era: str, session: str | None) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": ERAS[era],
        }
        if era == "modern":
            headers["Mcp-Method"] = self.method
            if self.mirrored is not None:
                headers["Mcp-Name"] = self.mirrored
        if session is not None:
            headers["Mcp-Session-Id"] = session
        return headers


def encode(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def decode(data: bytes) -> Any:
    """The answer in a body that is JSON, or a stream of events whose last one is the answer."""
    if data.lstrip().startswith(b"{"):
        return json.loads(data)
    last = [line for line in data.splitlines() if line.startswith(b"data:")][-1]
    return json.loads(last.removeprefix(b"data:"))


def initialize() -> bytes:
    params = {
        "protocolVersion": ERAS["legacy"],
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1.0.0"},
    }
    return encode({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})


INITIALIZED = encode({"jsonrpc": "2.0", "method": "notifications/initialized"})


def _call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"name": tool, "arguments": arguments}


QUESTIONS = {
    question.name: question
    for question in (
        Question(
            "echo",
            "tools/call",
            _call("echo", text=TEXT),
            lambda result: result["content"][0]["text"] == TEXT,
            mirrored="echo",
        ),
        Question(
            "add",
            "tools/call",
            _call("add", a=20, b=22),
            lambda result: result["structuredContent"] == {"sum": 42},
            mirrored="add",
        ),
        Question(
            "echo 16 kB",
            "tools/call",
            _call("echo", text=LONG),
            lambda result: result["content"][0]["text"] == LONG,
            mirrored="echo",
        ),
        Question(
            "read",
            "resources/read",
            {"uri": "greeting://ada"},
            lambda result: result["contents"][0]["text"] == "Hello, ada!",
            mirrored="greeting://ada",
        ),
        Question(
            "prompt",
            "prompts/get",
            {"name": "ask", "arguments": {"topic": "rivers"}},
            lambda result: result["messages"][0]["content"]["text"] == "Tell me about rivers.",
            mirrored="ask",
        ),
        Question(
            "list 100",
            "tools/list",
            {},
            lambda result: len(result["tools"]) == 100 and result.get("nextCursor") is None,
            tools=100,
        ),
    )
}
