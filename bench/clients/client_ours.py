"""Interlock's client, over HTTP or before a server in this process."""

from harness import TEXT, measure, options, run

from interlock import Client, Server

server = Server("bench", version="1.0.0")


@server.tool
async def echo(text: str) -> str:
    """Return the text unchanged."""
    return text


async def main() -> None:
    chosen = options()
    async with Client(chosen.url or server) as client:

        async def call() -> str:
            return (await client.call_tool("echo", {"text": TEXT})).text

        await measure(call, chosen)


run(main, fast=True)
