"""The official Python client, through our gateway to server-everything: what travels beside answers.

Usage: relayed.py MODE URL; behind URL stand `everything` (2025-11-25 over stdio) and `remote` (the
same over Streamable HTTP).
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from contextlib import AsyncExitStack
from typing import Any

import mcp_types as types
from mcp import Client

MODE, URL = sys.argv[1:]
MODERN = MODE != "legacy"
WAIT = 20

# In its eyes logging and subscribing by request are of the past; for half of the modes they are not.
warnings.simplefilter("ignore")


def equal(what: str, got: object, expected: object) -> None:
    if got != expected:
        sys.exit(f"{what}: expected {expected!r}, got {got!r}")


def holds(what: str, got: str, *parts: str) -> None:
    for part in parts:
        if part not in got:
            sys.exit(f"{what}: expected {part!r} in {got!r}")


def text_of(result: Any) -> str:
    return "\n".join(block.text for block in result.content if block.type == "text")


async def asks(name: str) -> None:
    answers = iter(
        [
            types.ElicitResult(action="accept", content={"name": "Ada", "integer": 7}),
            types.ElicitResult(action="decline"),
            types.ElicitResult(action="accept"),
        ]
    )
    messages: list[str] = []

    async def sample(context: Any, params: types.CreateMessageRequestParams) -> Any:
        said = types.TextContent(type="text", text="Forty-two.")
        return types.CreateMessageResult(role="assistant", content=said, model="m")

    async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        messages.append(params.message)
        return next(answers)

    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri="file:///srv/project")])

    async with Client(
        URL,
        mode=MODE,
        read_timeout_seconds=WAIT,
        sampling_callback=sample,
        elicitation_callback=elicit,
        list_roots_callback=roots,
    ) as client:

        async def call(tool: str, **arguments: Any) -> str:
            return text_of(await client.call_tool(f"{name}__{tool}", arguments))

        holds("sampling", await call("trigger-sampling-request", prompt="Why?"), "Forty-two.")
        holds("form", await call("trigger-elicitation-request"), "Name: Ada", "Integer: 7")
        holds("declined", await call("trigger-elicitation-request"), "declined")
        visit = await call("trigger-url-elicitation", url="https://login.example/x")
        holds("visit", visit, "completed the URL elicitation flow")
        equal("says who asks", {message[: len(name) + 2] for message in messages}, {f"[{name}]"})
        holds("roots", await call("get-roots-list"), "file:///srv/project")


async def says(name: str) -> None:
    lines: asyncio.Queue[Any] = asyncio.Queue()
    updates: asyncio.Queue[str] = asyncio.Queue()
    steps: asyncio.Queue[float] = asyncio.Queue()
    uri = f"{name}+demo://resource/dynamic/text/7"

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        lines.put_nowait(params.data)

    async def hear(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            updates.put_nowait(str(message.params.uri))

    async def step(progress: float, total: float | None, message: str | None) -> None:
        steps.put_nowait(progress)

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            Client(
                URL,
                mode=MODE,
                read_timeout_seconds=WAIT,
                logging_callback=log,
                log_level="debug" if MODERN else None,
                message_handler=hear,
            )
        )
        if MODERN:
            listening = await stack.enter_async_context(client.listen(resource_subscriptions=[uri]))

            async def pass_on() -> None:
                async for event in listening:
                    updates.put_nowait(str(event.uri))

            passing = asyncio.create_task(pass_on())
            stack.callback(passing.cancel)
        else:
            await client.set_logging_level("debug")
            await client.subscribe_resource(uri)
        for what in ("simulated-logging", "subscriber-updates"):
            await client.call_tool(f"{name}__toggle-{what}", {})
        operation = asyncio.create_task(
            client.call_tool(
                f"{name}__trigger-long-running-operation",
                {"duration": 600, "steps": 6000},
                progress_callback=step,
            )
        )
        while "message" not in str(await lines.get()):
            pass
        equal(f"{name} update", await updates.get(), uri)
        equal(f"{name} steps", await steps.get(), 1)
        operation.cancel()
        await asyncio.wait([operation])
        for what in ("simulated-logging", "subscriber-updates"):
            stopped = await client.call_tool(f"{name}__toggle-{what}", {})
            holds(f"{name} {what}", text_of(stopped), "Stopped")


async def main() -> None:
    async with asyncio.timeout(WAIT):
        for name in ("everything", "remote"):
            await asks(name)
        await asyncio.gather(says("everything"), says("remote"))


asyncio.run(main())
