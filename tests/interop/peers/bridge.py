"""The official Python client, through the gateway to servers of others: each side in its own era.

Usage: bridge.py MODE URL; behind URL stand `time` (2026-07-28 over stdio), `everything` (2025-11-25
over stdio) and `remote` (the same over Streamable HTTP).
"""

from __future__ import annotations

import asyncio
import json
import sys

from mcp import Client
from mcp_types import PromptReference, ResourceTemplateReference

MODE, URL = sys.argv[1:]


def equal(what: str, got: object, expected: object) -> None:
    if got != expected:
        sys.exit(f"{what}: expected {expected!r}, got {got!r}")


async def main() -> None:
    async with Client(URL, mode=MODE, read_timeout_seconds=10) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        wanted = {"time__convert_time", "everything__echo", "remote__echo"}
        equal("missing tools", wanted - tools, set())
        arguments = {"source_timezone": "Etc/UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        converted = await client.call_tool("time__convert_time", arguments)
        answer = json.loads(converted.content[0].text)
        equal("time", answer["target"]["datetime"][10:], "T21:00:00+09:00")
        for name in ("everything", "remote"):
            await relayed(client, name)


async def relayed(client: Client, name: str) -> None:
    said = await client.call_tool(f"{name}__echo", {"message": "héllo"})
    equal(f"{name} echo", said.content[0].text, "Echo: héllo")
    where = {"location": "New York"}
    weather = await client.call_tool(f"{name}__get-structured-content", where)
    expected = {"temperature": 33, "conditions": "Cloudy", "humidity": 82}
    equal(f"{name} structured", weather.structured_content, expected)

    heard: list[tuple[float, float | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total))

    steps = {"duration": 0.3, "steps": 3}
    operation = f"{name}__trigger-long-running-operation"
    await client.call_tool(operation, steps, progress_callback=hear)
    equal(f"{name} progress", heard, [(1, 3), (2, 3), (3, 3)])

    uri = f"{name}+demo://resource/dynamic/text/7"
    read = (await client.read_resource(uri)).contents[0]
    equal(f"{name} read back at", str(read.uri), uri)
    equal(f"{name} read", read.text[:10], "Resource 7")
    resources = {str(one.uri) for one in (await client.list_resources()).resources}
    document = f"{name}+demo://resource/static/document/features.md"
    equal(f"{name} missing resources", {document} - resources, set())
    templates = {
        one.uri_template for one in (await client.list_resource_templates()).resource_templates
    }
    template = f"{name}+demo://resource/dynamic/text/{{resourceId}}"
    equal(f"{name} missing templates", {template} - templates, set())

    prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
    equal(f"{name} missing prompts", {f"{name}__args-prompt"} - prompts, set())
    asked = await client.get_prompt(f"{name}__args-prompt", {"city": "Oslo"})
    equal(f"{name} prompt", "Oslo" in asked.messages[0].content.text, True)
    ref = PromptReference(type="ref/prompt", name=f"{name}__completable-prompt")
    argument = {"name": "name", "value": ""}
    completed = await client.complete(ref, argument, {"department": "Sales"})
    equal(f"{name} complete", completed.completion.values, ["David", "Eve", "Frank"])
    ref = ResourceTemplateReference(type="ref/resource", uri=template)
    completed = await client.complete(ref, {"name": "resourceId", "value": "7"})
    equal(f"{name} complete a template", completed.completion.values, ["7"])


asyncio.run(main())
