"""The official SDK's client, over HTTP or before a server in this process."""

from harness import TEXT, measure, options, run
from mcp.client.client import Client
from mcp.server.mcpserver import MCPServer

server = MCPServer("bench", version="1.0.0", log_level="WARNING")


@server.tool()
async def echo(text: str) -> str:
    """Return the text unchanged."""
    return text


async def main() -> None:
    chosen = options()
    async with Client(chosen.url or server) as client:

        async def call() -> str:
            result = await client.call_tool("echo", {"text": TEXT})
            return result.content[0].text

        await measure(call, chosen)


run(main, fast=True)
