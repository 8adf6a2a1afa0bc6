"""Our client against servers of others.

Usage: ours.py time|git|everything [URL]; over stdio unless an address is given.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from interlock import Client
from interlock.wire.completion import PromptReference
from interlock.wire.content import Image, Text
from interlock.wire.notices import ProgressNotice

PEERS = Path(__file__).resolve().parent.parent.parent / ".peers"
PYTHON = PEERS / "py-git/bin"
NODE = PEERS / "node/bin/node"
EVERYTHING = PEERS / "node/node_modules/@modelcontextprotocol/server-everything/dist/index.js"


def equal(what: str, got: object, expected: object) -> None:
    if got != expected:
        sys.exit(f"{what}: expected {expected!r}, got {got!r}")


def offers(what: str, got: Collection[str], *wanted: str) -> None:
    for name in wanted:
        if name not in got:
            sys.exit(f"{what}: expected {name!r} among {sorted(got)}")


def holds(what: str, got: str, part: str) -> None:
    if part not in got:
        sys.exit(f"{what}: expected {part!r} in {got!r}")


async def the_time() -> None:
    async with Client([str(PYTHON / "mcp-server-time")]) as client:
        equal("revision", client.revision, "2026-07-28")
        tools = [tool.name for tool in await client.list_tools()]
        equal("tools", sorted(tools), ["convert_time", "get_current_time"])
        arguments = {"source_timezone": "Etc/UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        converted = json.loads((await client.call_tool("convert_time", arguments)).text)
        holds("convert_time", converted["target"]["datetime"], "T21:00:00+09:00")
        equal("resources", [*await client.list_resources()], [])
        equal("prompts", [*await client.list_prompts()], [])
        wrong = {"timezone": "Nowhere/Nothing"}
        refused = await client.call_tool("get_current_time", wrong)
        equal("is_error", refused.is_error, True)


async def git() -> None:
    folder = Path.cwd() / "repository"
    folder.mkdir()

    def run(*words: str) -> None:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)

    run("init", "--quiet", "--initial-branch=main")
    (folder / "note.txt").write_text("one\n")
    run("add", ".")
    run("commit", "--quiet", "--message", "Begin the note")
    (folder / "note.txt").write_text("two\n")

    command = [str(PYTHON / "mcp-server-git"), "--repository", str(folder)]
    async with Client(command) as client:
        tools = {tool.name for tool in await client.list_tools()}
        offers("tools", tools, "git_log", "git_status", "git_diff_unstaged")
        where = {"repo_path": str(folder)}
        holds("git_log", (await client.call_tool("git_log", where)).text, "Begin the note")
        holds("git_status", (await client.call_tool("git_status", where)).text, "note.txt")
        holds("git_diff", (await client.call_tool("git_diff_unstaged", where)).text, "+two")
        outside = await client.call_tool("git_log", {"repo_path": os.sep})
        equal("is_error outside the repository", outside.is_error, True)


async def everything(target: str | list[str]) -> None:
    async with Client(target) as client:
        equal("revision", client.revision, "2025-11-25")
        tools = {tool.name: tool for tool in await client.list_tools()}
        offers("tools", tools, "echo", "get-sum", "get-tiny-image")
        said = await client.call_tool("echo", {"message": "héllo"})
        equal("echo", said.text, "Echo: héllo")
        weather = await client.call_tool("get-structured-content", {"location": "New York"})
        expected = {"temperature": 33, "conditions": "Cloudy", "humidity": 82}
        equal("structured", weather.structured, expected)
        picture = await client.call_tool("get-tiny-image", {})
        kinds = [block.mime_type for block in picture.content if isinstance(block, Image)]
        equal("image", kinds, ["image/png"])

        heard: list[tuple[float, float | None]] = []

        def hear(notice: ProgressNotice) -> None:
            heard.append((notice.progress, notice.total))

        steps: dict[str, Any] = {"duration": 0.3, "steps": 3}
        await client.call_tool("trigger-long-running-operation", steps, on_progress=hear)
        equal("progress", heard, [(1, 3), (2, 3), (3, 3)])

        resources = {resource.uri for resource in await client.list_resources()}
        uri = "demo://resource/static/document/features.md"
        offers("resources", resources, uri)
        document = await client.read_resource(uri)
        holds("read", document.contents[0].text or "", "#")
        templates = {one.uri_template for one in await client.list_resource_templates()}
        offers("templates", templates, "demo://resource/dynamic/text/{resourceId}")
        dynamic = await client.read_resource("demo://resource/dynamic/text/7")
        holds("read by template", dynamic.contents[0].text or "", "Resource 7")

        prompts = {prompt.name for prompt in await client.list_prompts()}
        offers("prompts", prompts, "args-prompt", "completable-prompt")
        asked = await client.get_prompt("args-prompt", {"city": "Oslo"})
        block = asked.messages[0].content
        holds("prompt", block.text if isinstance(block, Text) else "", "Oslo")
        ref = PromptReference(name="completable-prompt")
        completed = await client.complete(ref, "department", "S")
        equal("complete", completed.values, ["Sales", "Support"])
        completed = await client.complete(ref, "name", "", context={"department": "Sales"})
        equal("complete in context", completed.values, ["David", "Eve", "Frank"])


def main(server: str, url: str = "") -> None:
    if server == "everything":
        asyncio.run(everything(url or [str(NODE), str(EVERYTHING), "stdio"]))
    else:
        asyncio.run({"time": the_time, "git": git}[server]())


if __name__ == "__main__":
    main(*sys.argv[1:])
