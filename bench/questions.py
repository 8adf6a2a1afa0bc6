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
    heads: int = 1
    """How many heads say it in turn on a connection, as those of as many tools would; 0 if none is
    ever said again, so that no server has read such a head before."""

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

    def headers(self, era: str, session: str | None, version: str = "") -> dict[str, str]:
        """What stands above the request; *version* is what a handshake settled."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": version or ERAS[era],
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


def echo(name: str, text: str, *, tools: int = 2, heads: int = 1) -> Question:
    return Question(
        name,
        "tools/call",
        _call("echo", text=text),
        lambda result: result["content"][0]["text"] == text,
        mirrored="echo",
        tools=tools,
        heads=heads,
    )


def listing(tools: int) -> Question:
    return Question(
        f"list {tools}",
        "tools/list",
        {},
        lambda result: len(result["tools"]) == tools and result.get("nextCursor") is None,
        tools=tools,
    )


def blob(size: int) -> Question:
    """An answer of so many bytes of text to a short question."""
    return Question(
        f"blob {size}",
        "tools/call",
        _call("blob", size=size),
        lambda result: len(result["content"][0]["text"]) == size,
        mirrored="blob",
    )


QUESTIONS = {
    question.name: question
    for question in (
        echo("echo", TEXT),
        echo("echo, 9 heads", TEXT, heads=9),
        echo("echo, new heads", TEXT, heads=0),
        Question(
            "add",
            "tools/call",
            _call("add", a=20, b=22),
            lambda result: result["structuredContent"] == {"sum": 42},
            mirrored="add",
        ),
        echo("echo 16 kB", LONG),
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
        listing(100),
    )
}

# What servers that ship compiled, with tools of their own, are asked in place of an echo: the
# cheapest of their tools that compute and touch nothing.
CHEAPEST = {
    "rmcp": Question(
        "echo",
        "tools/call",
        _call("compute_duration", start="2026-01-01T00:00:00Z", end="2026-01-02T00:00:00Z"),
        lambda result: '"total_seconds": 86400' in result["content"][0]["text"],
    ),
    "mcp-go": Question(
        "echo",
        "tools/call",
        _call("compare_time", time_a="2026-01-01T00:00:00Z", time_b="2026-01-02T00:00:00Z"),
        lambda result: result["content"][0]["text"] == "-1",
    ),
}


def question(spec: Mapping[str, Any]) -> Question:
    """The question that a run's description names."""
    name: str = spec["question"]
    kind, _, size = name.rpartition(" ")
    if spec.get("key") in CHEAPEST:
        asked = replace(CHEAPEST[spec["key"]], heads=QUESTIONS[name].heads)
    elif name in QUESTIONS:
        asked = QUESTIONS[name]
    elif kind == "blob":
        asked = blob(int(size))
    elif kind == "text":
        asked = echo(name, "x" * int(size))
    else:
        asked = listing(int(size))
    through = spec.get("through")
    return asked if through is None else asked.through(through)


WHO = Question("who", "tools/call", _call("who"), lambda result: True, mirrored="who")
"""Which process of a crew answers: its pid, as text."""
