"""The official Python client, 1.x: everything the fixture server offers.

Usage: python1.py PREFIX URL|COMMAND [ARGUMENT...]; PREFIX is the gateway's name for the server, or
"" where there is no gateway.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl

PREFIX, *TARGET = sys.argv[1:]
TOOL = f"{PREFIX}__" if PREFIX else ""
URI = f"{PREFIX}+" if PREFIX else ""


def equal(what: str, got: object, expected: object) -> None:
    if got != expected:
        sys.exit(f"{what}: expected {expected!r}, got {got!r}")


async def main() -> None:
    command, *arguments = TARGET
    if command.startswith("http"):
        way = streamable_http_client(command)
    else:
        way = stdio_client(StdioServerParameters(command=command, args=arguments))
    async with (
        way as (receive, send, *_),
        ClientSession(receive, send, timedelta(seconds=10)) as client,
    ):
        hello = await client.initialize()
        equal("revision", hello.protocolVersion, "2025-11-25")

        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        equal("tools", sorted(tools), sorted(TOOL + name for name in ("add", "echo", "slow")))
        equal("required", tools[TOOL + "echo"].inputSchema.get("required"), ["text"])
        said = await client.call_tool(TOOL + "echo", {"text": "héllo"})
        equal("echo", [block.text for block in said.content], ["héllo"])
        added = await client.call_tool(TOOL + "add", {"a": 2, "b": 3})
        equal("add", added.structuredContent, {"total": 5})

        heard: list[tuple[float, float | None, str | None]] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, total, message))

        walked = await client.call_tool(TOOL + "slow", {"steps": 3}, progress_callback=hear)
        equal("slow", [block.text for block in walked.content], ["3 steps"])
        equal("progress", heard, [(step, 3, f"step {step}") for step in (1, 2, 3)])

        resources = (await client.list_resources()).resources
        equal("resources", [str(resource.uri) for resource in resources], [URI + "note://welcome"])
        note = await client.read_resource(AnyUrl(URI + "note://welcome"))
        equal("read", [part.text for part in note.contents], ["Welcome aboard."])
        templates = (await client.list_resource_templates()).resourceTemplates
        equal("templates", [one.uriTemplate for one in templates], [URI + "greeting://{name}"])
        greeting = await client.read_resource(AnyUrl(URI + "greeting://ada"))
        equal("read by template", [part.text for part in greeting.contents], ["Hello, ada!"])

        prompts = (await client.list_prompts()).prompts
        equal("prompts", sorted(one.name for one in prompts), [TOOL + "ask", TOOL + "review"])
        asked = await client.get_prompt(TOOL + "ask", {"topic": "time"})
        equal("prompt", [message.content.text for message in asked.messages], ["What is time?"])


asyncio.run(main())
