"""The bench's tools on Interlock, run as its users run it: `run(server)` with its own defaults."""

import os
from typing import TypedDict

from asked import asked

from interlock import Server, run


class Sum(TypedDict):
    sum: int


async def echo(text: str) -> str:
    """Return the text unchanged. Call it to see whether the server answers."""
    return text


async def add(a: int, b: int) -> Sum:
    """Add two whole numbers. Call it when a sum is wanted as data."""
    return {"sum": a + b}


async def blob(size: int) -> str:
    """A text of so many bytes. Call it when a long answer is wanted."""
    return "x" * size


async def extra(text: str, count: int = 1) -> str:
    """Repeat a text. One of many tools that make the list long."""
    return text * count


async def who() -> str:
    """The process that answers. One of several may."""
    return str(os.getpid())


async def greet(name: str) -> str:
    """A greeting for a name."""
    return f"Hello, {name}!"


async def ask(topic: str) -> str:
    """Ask about a topic."""
    return f"Tell me about {topic}."


def build(tools: int, *, blobs: bool = False) -> Server:
    server = Server("bench", version="1.0.0")
    if blobs:
        server.tool(blob)
    server.tool(echo)
    if tools > 1:
        server.tool(add)
    for number in range(tools - 2):
        server.tool(name=f"extra_{number:03}")(extra)
    server.resource("greeting://{name}")(greet)
    server.prompt(ask)
    return server


def main() -> None:
    # What only some versions of `run` know is handed on only if it is asked for.
    options = asked(http=None, tools=2, blobs=False, server=..., workers=...)
    port = options.pop("http")
    server = build(options.pop("tools"), blobs=options.pop("blobs"))
    if "workers" in options:
        server.tool(who)
    if port is None:
        run(server)
    else:
        run(server, transport="http", host="127.0.0.1", port=port, **options)


if __name__ == "__main__":
    main()
