"""The official Python client, 2.x: everything the fixture server offers, in one of its modes.

Usage: python2.py MODE PREFIX URL|COMMAND [ARGUMENT...]; PREFIX is the gateway's name for the
server, or "" where there is no gateway.
"""

from __future__ import annotations

import asyncio
import sys

from mcp import Client
from mcp.client.stdio import StdioServerParameters

MODE, PREFIX, *TARGET = sys.argv[1:]
TOOL = f"{PREFIX}__" if PREFIX else ""
URI = f"{PREFIX}+" if PREFIX else ""


def equal(what: str, got: object, expected: object) -> None:
    if got != expected:
        sys.exit(f"{what}: expected {expected!r}, got {got!r}")


async def main() -> None:
    command, *arguments = TARGET
    target = (
        command
        if command.startswith("http")
        else StdioServerParameters(command=command, args=arguments)
    )
    async with Client(target, mode=MODE, read_timeout_seconds=10) as client:
        equal(
            "revision", client.protocol_version, "2025-11-25" if MODE == "legacy" else "2026-07-28"
        )

        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        equal("tools", sorted(tools), sorted(TOOL + name for name in ("add", "echo", "slow")))
        equal("required", tools[TOOL + "echo"].input_schema.get("required"), ["text"])
        said = await client.call_tool(TOOL + "echo", {"text": "héllo"})
        equal("echo", [block.text for block in said.content], ["héllo"])
        added = await client.call_tool(TOOL + "add", {"a": 2, "b": 3})
        equal("add", added.structured_content, {"total": 5})

        heard: list[tuple[float, float | None, str | None]] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, total, message))

        walked = await client.call_tool(TOOL + "slow", {"steps": 3}, progress_callback=hear)
        equal("slow", [block.text for block in walked.content], ["3 steps"])
        equal("progress", heard, [(step, 3, f"step {step}") for step in (1, 2, 3)])

        resources = (await client.list_resources()).resources
        equal("resources", [str(resource.uri) for resource in resources], [URI + "note://welcome"])
        note = await client.read_resource(URI + "note://welcome")
        equal("read", [part.text for part in note.contents], ["Welcome aboard."])
        equal("read back at", [str(part.uri) for part in note.contents], [URI + "note://welcome"])
        templates = (await client.list_resource_templates()).resource_templates
        equal("templates", [one.uri_template for one in templates], [URI + "greeting://{name}"])
        greeting = await client.read_resource(URI + "greeting://ada")
        equal("read by template", [part.text for part in greeting.contents], ["Hello, ada!"])

        prompts = (await client.list_prompts()).prompts
        equal("prompts", sorted(one.name for one in prompts), [TOOL + "ask", TOOL + "review"])
        asked = await client.get_prompt(TOOL + "ask", {"topic": "time"})
        equal("prompt", [message.content.text for message in asked.messages], ["What is time?"])


asyncio.run(main())
