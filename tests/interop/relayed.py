"""Our client, through our gateway, to the official server-everything: whatever travels beside answers.

Usage: relayed.py ERA URL; behind URL stand `everything` (2025-11-25 over stdio) and `remote` (the
same over Streamable HTTP).
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from interlock import Client, RpcError
from interlock.wire.content import Text
from interlock.wire.inputs import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
)
from interlock.wire.notices import LogNotice, ProgressNotice

ERA, URL = sys.argv[1:]
WAIT = 25.0


def equal(what: str, got: object, expected: object) -> None:
    if got != expected:
        sys.exit(f"{what}: expected {expected!r}, got {got!r}")


def holds(what: str, got: str, *parts: str) -> None:
    for part in parts:
        if part not in got:
            sys.exit(f"{what}: expected {part!r} in {got!r}")


class Person:
    """Someone at a client, whose answers follow one another."""

    def __init__(self, *answers: Any) -> None:
        self.asked: list[ElicitParams | CreateMessageParams] = []
        self._answers = iter(answers)

    async def answer(self, asked: Any) -> Any:
        self.asked.append(asked)
        return next(self._answers)


async def asks(name: str) -> None:
    """Sampling, both ways of elicitation, and roots: each on its caller's word."""
    said = CreateMessageResult(role="assistant", content=Text(text="Forty-two."), model="m")
    form = {"name": "Ada", "integer": 7, "untitledMultipleSelectEnum": ["Piano", "Drums"]}
    person = Person(said, form, None, ElicitResult(action="cancel"), True, False, True, True)
    async with Client(
        URL,
        revision=ERA,
        timeout=WAIT,
        on_elicit=person.answer,
        on_elicit_url=person.answer,
        on_sample=person.answer,
        roots=["file:///srv/project"],
    ) as client:

        async def call(tool: str, **arguments: Any) -> str:
            result = await client.call_tool(f"{name}__{tool}", arguments)
            return "\n".join(block.text for block in result.content if isinstance(block, Text))

        text = await call("trigger-sampling-request", prompt="Why?", maxTokens=50)
        holds(f"{name} sampling", text, "Forty-two.")
        text = await call("trigger-elicitation-request")
        holds(f"{name} form", text, "Name: Ada", "Favorite Integer: 7", "Favorite Number: 3.14")
        holds(f"{name} form declined", await call("trigger-elicitation-request"), "declined")
        holds(f"{name} form cancelled", await call("trigger-elicitation-request"), "cancelled")
        where = {"url": "https://login.example/x", "elicitationId": f"{name}-{ERA}"}
        text = await call("trigger-url-elicitation", **where)
        holds(f"{name} visit", text, "completed the URL elicitation flow")
        text = await call("trigger-url-elicitation", **where)
        holds(f"{name} visit declined", text, "declined to open the URL")
        if ERA == "modern":
            # What a legacy server refuses until it was done is asked for like anything else.
            text = await call("trigger-url-elicitation", **where, errorPath=True)
            equal(f"{name} visits", len(person.asked), 8)
        else:
            try:
                sys.exit(await call("trigger-url-elicitation", **where, errorPath=True))
            except RpcError as error:
                equal(f"{name} refusal", error.code, -32042)
            text = await call("trigger-url-elicitation", **where, errorPath=True)
        holds(f"{name} visit that came first", text, "completed the URL elicitation flow")
        asked = [each for each in person.asked if isinstance(each, ElicitParams)]
        equal(
            f"{name} says who asks",
            {each.message[: len(name) + 2] for each in asked},
            {f"[{name}]"},
        )
        holds(f"{name} roots", await call("get-roots-list"), "file:///srv/project")


async def asks_nobody(name: str) -> None:
    """A caller that declares nothing is asked nothing, and its call ends."""
    async with Client(URL, revision=ERA, timeout=WAIT) as client:
        arguments = {"prompt": "Why?", "maxTokens": 50}
        result = await client.call_tool(f"{name}__trigger-sampling-request", arguments)
        equal(f"{name} asks nobody", result.is_error, True)
        holds(f"{name} asks nobody", result.text, "sampling/createMessage")


async def says(name: str) -> None:
    """Progress, log lines, updates of a resource, and a cancelled call, all at its caller."""
    lines: asyncio.Queue[LogNotice] = asyncio.Queue()
    updates: asyncio.Queue[str] = asyncio.Queue()
    uri = f"{name}+demo://resource/dynamic/text/7"
    async with Client(
        URL,
        revision=ERA,
        timeout=WAIT,
        log_level="debug",
        on_log=lines.put_nowait,
        on_update=updates.put_nowait,
    ) as client:
        await client.subscribe(uri)
        for what in ("simulated-logging", "subscriber-updates"):
            await client.call_tool(f"{name}__toggle-{what}")
        steps: asyncio.Queue[ProgressNotice] = asyncio.Queue()
        operation = asyncio.create_task(
            client.call_tool(
                f"{name}__trigger-long-running-operation",
                {"duration": 600, "steps": 6000},
                on_progress=steps.put_nowait,
            )
        )
        # It speaks every five seconds; modern callers hear it in a call only.
        while "message" not in str((await lines.get()).data):
            pass
        equal(f"{name} update", await updates.get(), uri)
        equal(f"{name} steps", [(s.progress, s.total) for s in (await steps.get(),)], [(1, 6000)])
        operation.cancel()
        await asyncio.wait([operation])
        await client.unsubscribe(uri)
        for what in ("simulated-logging", "subscriber-updates"):
            stopped = await client.call_tool(f"{name}__toggle-{what}")
            holds(f"{name} {what}", stopped.text, "Stopped")


async def researches(name: str) -> None:
    """A tool that its server runs as a task only, and that asks in the middle."""
    person = Person({"interpretation": "historical"})
    async with Client(URL, revision=ERA, timeout=WAIT, on_elicit=person.answer) as client:
        arguments = {"topic": "bridges", "ambiguous": True}
        report = await client.call_tool(f"{name}__simulate-research-query", arguments)
        holds(f"{name} task", report.text, "Research Report: bridges", "historical")
        (asked,) = person.asked
        assert isinstance(asked, ElicitParams)
        holds(f"{name} task asks", asked.message, f"[{name}]", "multiple interpretations")


async def listed() -> None:
    """Wait for the tools that the server adds once it knows what its client can do."""
    changes: asyncio.Queue[str] = asyncio.Queue()
    async with Client(URL, revision=ERA, timeout=WAIT, on_change=changes.put_nowait) as client:
        wanted = {f"{name}__trigger-url-elicitation" for name in ("everything", "remote")}
        while wanted - {tool.name for tool in await client.list_tools()}:
            await changes.get()


async def main() -> None:
    async with asyncio.timeout(WAIT):
        await listed()
        for name in ("everything", "remote"):
            await asks(name)
            await asks_nobody(name)
        both = ("everything", "remote")
        await asyncio.gather(*(each(name) for each in (says, researches) for name in both))


asyncio.run(main())
