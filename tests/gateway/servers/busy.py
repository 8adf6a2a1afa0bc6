"""An upstream for tests: does what it is told, and says what was done to it.

`busy.py` serves over stdio, `busy.py PORT` over HTTP.
"""

from __future__ import annotations

import asyncio
import os
import sys

from interlock import Context, Server, run

server = Server("busy", version="1", instructions="Be quick.")
cancelled: list[str] = []
going: list[str] = []


@server.tool
async def echo(text: str) -> str:
    """Say it back."""
    return text


@server.tool
async def pid() -> int:
    """Which process this is."""
    return os.getpid()


@server.tool
async def steps(count: int, ctx: Context) -> str:
    """Report progress *count* times."""
    for step in range(count):
        await ctx.report_progress(step + 1, count, f"step {step + 1}")
    return "done"


@server.tool
async def hang(name: str, ctx: Context) -> str:
    """Wait until cancelled; reports progress once it waits."""
    going.append(name)
    await ctx.report_progress(1)
    try:
        await asyncio.Event().wait()
    finally:
        cancelled.append(name)
    return "never"


@server.tool
async def was_cancelled() -> list[str]:
    """Which hanging calls were cancelled."""
    return cancelled


@server.tool
async def grow(name: str) -> str:
    """Offer one more tool from now on."""

    @server.tool(name=name)
    async def grown() -> str:
        return f"I am {name}"

    return "grown"


@server.tool
async def complain(text: str, ctx: Context) -> str:
    """Write to stderr, and to the client's log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
    await ctx.warning(text)
    return "said"


@server.resource("note://{name}")
def note(name: str) -> str:
    return f"note {name}"


@server.resource("note://first")
def first() -> str:
    return "the first"


@server.prompt
def review(topic: str) -> str:
    return f"Review {topic}."


@server.completer("review", "topic")
def topics(typed: str, known: object) -> list[str]:
    return [topic for topic in ("code", "contract") if topic.startswith(typed)]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(server, "http", port=int(sys.argv[1]), sse=True, websocket=True)
    else:
        run(server)
