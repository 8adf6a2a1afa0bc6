"""The bench's tools on fastmcp, set up as its users would in production.

JSON answers, sessions for legacy clients, uvicorn with uvloop and httptools, warnings only.
"""

import logging
from typing import TypedDict

from asked import asked
from fastmcp import FastMCP


class Sum(TypedDict):
    sum: int


async def echo(text: str) -> str:
    """Return the text unchanged. Call it to see whether the server answers."""
    return text


async def add(a: int, b: int) -> Sum:
    """Add two whole numbers. Call it when a sum is wanted as data."""
    return {"sum": a + b}


async def extra(text: str, count: int = 1) -> str:
    """Repeat a text. One of many tools that make the list long."""
    return text * count


async def greet(name: str) -> str:
    """A greeting for a name."""
    return f"Hello, {name}!"


async def ask(topic: str) -> str:
    """Ask about a topic."""
    return f"Tell me about {topic}."


def build(tools: int) -> FastMCP:
    server = FastMCP("bench", version="1.0.0")
    server.tool(echo)
    server.tool(add)
    for number in range(tools - 2):
        server.tool(extra, name=f"extra_{number:03}")
    server.resource("greeting://{name}")(greet)
    server.prompt(ask)
    return server


def main() -> None:
    options = asked(http=None, tools=2, blobs=False)
    logging.disable(logging.INFO)
    server = build(options["tools"])
    if options["http"] is None:
        server.run("stdio", show_banner=False)
        return

    import uvicorn

    uvicorn.run(
        server.http_app(path="/mcp", json_response=True),
        host="127.0.0.1",
        port=options["http"],
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )


main()
