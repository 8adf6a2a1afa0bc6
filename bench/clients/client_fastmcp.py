"""FastMCP's client, over HTTP or before a server in this process."""

import logging

from fastmcp import Client, FastMCP
from harness import TEXT, measure, options, run

server = FastMCP("bench", version="1.0.0")


@server.tool
async def echo(text: str) -> str:
    """Return the text unchanged."""
    return text


async def main() -> None:
    chosen = options()
    logging.disable(logging.INFO)
    async with Client(chosen.url or server) as client:

        async def call() -> str:
            result = await client.call_tool("echo", {"text": TEXT})
            return result.content[0].text

        await measure(call, chosen)


run(main, fast=True)
