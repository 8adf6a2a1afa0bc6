"""A server that has something of everything, and what can be asked of it."""

from __future__ import annotations

import asyncio

from tests.peers import MODERN, Json

from interlock import Context, Server, ToolError


class Kitchen(Server):
    """*hold* is a tool that waits; `reached` and `cancelled` tell how it goes, `go` lets it end."""

    def __init__(self, **options: object) -> None:
        super().__init__("kitchen", version="1", **options)  # type: ignore[arg-type]
        self.reached = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.go = asyncio.Event()
        self.tool(echo)
        self.tool(steps)
        self.tool(logs)
        self.tool(refuses)
        self.tool(breaks)
        self.tool(where)
        self.tool(self.hold)
        self.resource("note://one")(one)
        self.resource("notes://{name}")(named)
        self.prompt(greet)
        self.completer("greet", "name")(names)

    async def hold(self, ctx: Context) -> str:
        await ctx.report_progress(1)
        self.reached.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "let go"


async def echo(text: str = "") -> str:
    return text


async def steps(ctx: Context, count: int = 3) -> str:
    for step in range(count):
        await ctx.report_progress(step + 1, count)
    return "done"


async def logs(ctx: Context) -> str:
    await ctx.debug("small")
    await ctx.error("large")
    return "done"


async def refuses() -> str:
    raise ToolError("not today")


async def breaks() -> str:
    raise ZeroDivisionError


async def where(ctx: Context) -> str:
    return ", ".join(root.uri for root in await ctx.roots())


def one() -> str:
    return "one"


def named(name: str) -> str | None:
    return None if name == "nobody" else name


def greet(name: str) -> str:
    return f"Hello {name}"


def names(typed: str) -> list[str]:
    return ["Ada", "Alan"]


def answered(revision: str) -> list[tuple[str, Json]]:
    """Requests of this revision that get a result, one for each method that a server has."""
    asked: list[tuple[str, Json]] = [
        ("tools/list", {}),
        ("tools/call", {"name": "echo", "arguments": {"text": "ü"}}),
        ("tools/call", {"name": "refuses"}),
        ("resources/list", {}),
        ("resources/templates/list", {}),
        ("resources/read", {"uri": "note://one"}),
        ("prompts/list", {}),
        ("prompts/get", {"name": "greet", "arguments": {"name": "Ada"}}),
        (
            "completion/complete",
            {
                "ref": {"type": "ref/prompt", "name": "greet"},
                "argument": {"name": "name", "value": "A"},
            },
        ),
    ]
    if revision == MODERN:
        return [("server/discover", {}), *asked]
    return [
        ("ping", {}),
        *asked,
        ("logging/setLevel", {"level": "error"}),
        ("resources/subscribe", {"uri": "note://one"}),
        ("resources/unsubscribe", {"uri": "note://one"}),
    ]


def refused(revision: str) -> list[tuple[str, Json, int]]:
    """Requests that are answered with an error, and with which code."""
    gone = -32602 if revision == MODERN else -32002
    return [
        ("tools/explode", {}, -32601),
        ("tools/call", {}, -32602),
        ("tools/call", {"name": "nobody"}, -32602),
        ("tools/list", {"cursor": 5}, -32602),
        ("tools/list", {"cursor": "made up"}, -32602),
        ("prompts/get", {"name": "nobody"}, -32602),
        ("resources/read", {"uri": "note://nobody"}, gone),
        ("completion/complete", {}, -32602),
        *([] if revision == MODERN else [("logging/setLevel", {"level": "loud"}, -32602)]),
    ]
