"""One tool with a side effect, then a question, then another, then a result: whatever lies between.

Ours (house.md §6): the side effect happens once, over each transport, in each era, through the
gateway with either era on either side, and where the retry reaches another worker.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from tests.asking import kitchen
from tests.asking.kitchen import a_kitchen
from tests.doors import ERAS, ROOT, gateway_over, over_http
from tests.heard import OURS

from interlock import Client
from interlock.client.target import Command
from interlock.wire.content import Text
from interlock.wire.inputs import CreateMessageParams, CreateMessageResult, ElicitParams
from interlock.wire.notices import ProgressNotice

PROGRAM = str(Path(kitchen.__file__))


class Guest:
    """A person at a client: answers every question, and remembers it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.progress: list[float] = []

    async def elicit(self, params: ElicitParams) -> dict[str, Any]:
        self.asked.append(params.message)
        schema = params.requested_schema or {}
        return {"dish": "soup"} if schema.get("properties") else {}

    async def sample(self, params: CreateMessageParams) -> CreateMessageResult:
        self.asked.append("sample")
        return CreateMessageResult(role="assistant", content=Text(text="Mmm."), model="m")

    def client(self, target: Any, revision: str, **options: Any) -> Client:
        return Client(
            target,
            revision=revision,
            on_elicit=self.elicit,
            on_sample=self.sample,
            roots=["file:///kitchen"],
            timeout=20,
            **options,
        )

    def heard(self, notice: ProgressNotice) -> None:
        self.progress.append(notice.progress)


async def dine(client: Client, guest: Guest, tool: str = "order") -> str:
    result = await client.call_tool(tool, {"table": 4}, on_progress=guest.heard)
    assert not result.is_error, result.text
    return result.text


def check(guest: Guest, book: Path, text: str, server: str = "") -> None:
    assert text == "table 4: soup True 1 Mmm."
    said = f"[{server}] " if server else ""
    assert guest.asked == [f"{said}Which dish?", f"{said}soup for table 4?", "sample"]
    assert book.read_text() == "ordered\n"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", ["memory", "pipes", "http"])
async def test_a_side_effect_before_a_question_happens_once(
    book: Path, transport: str, era: str
) -> None:
    guest = Guest()
    async with AsyncExitStack() as stack:
        target: Any = a_kitchen(book)
        if transport == "pipes":
            target = Command(
                sys.executable, [PROGRAM], {"KITCHEN_BOOK": str(book), "PYTHONPATH": ROOT}
            )
        elif transport == "http":
            target = await stack.enter_async_context(over_http(target))
        async with guest.client(target, era) as client:
            check(guest, book, await dine(client, guest))
            assert guest.progress == [1, 2]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("theirs", ERAS)
@pytest.mark.parametrize("outside", ["memory", "http"])
@pytest.mark.parametrize("inside", ["pipes", "http"])
async def test_the_same_through_the_gateway(
    tmp_path: Path, book: Path, era: str, theirs: str, outside: str, inside: str
) -> None:
    guest = Guest()
    async with AsyncExitStack() as stack:
        legacy = theirs == "legacy"
        upstream: dict[str, Any] = {
            "command": sys.executable,
            "args": [PROGRAM, *(["legacy"] if legacy else [])],
            "env": {"KITCHEN_BOOK": str(book), "PYTHONPATH": ROOT},
        }
        if inside == "http":
            url = await stack.enter_async_context(over_http(a_kitchen(book, legacy=legacy)))
            upstream = {"type": "http", "url": url}
        target: Any = await stack.enter_async_context(gateway_over(tmp_path, {"k": upstream}))
        if outside == "http":
            target = await stack.enter_async_context(over_http(target))
        async with guest.client(target, era) as client:
            check(guest, book, await dine(client, guest, "k__order"), server="k")
            assert guest.progress == [1, 2]


async def test_a_retry_that_reaches_another_worker_does_not_do_it_again(book: Path) -> None:
    """Two processes behind one port, taking turns: `ctx.once` and a keyring that both have."""
    guest = Guest()
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(a_worker(book)) for _ in range(2)]
        url, turns = await stack.enter_async_context(taking_turns(ports))
        OURS.add(url)
        async with guest.client(url, "modern") as client:
            check(guest, book, await dine(client, guest))
    calls = [port for method, port in turns if method == "tools/call"]
    # Four questions are five requests; no two in a row reached the same process.
    assert len(calls) == 5
    assert all(one != other for one, other in pairwise(calls))


@asynccontextmanager
async def a_worker(book: Path) -> AsyncGenerator[int]:
    env = {**os.environ, "KITCHEN_BOOK": str(book), "PYTHONPATH": ROOT, "INTERLOCK_KEYS": "k" * 40}
    process = await asyncio.create_subprocess_exec(
        sys.executable, PROGRAM, "once", "http", env=env, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await asyncio.wait_for(process.stdout.readline(), 20))
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 10)


@asynccontextmanager
async def taking_turns(ports: list[int]) -> AsyncGenerator[tuple[str, list[tuple[str, int]]]]:
    """One address whose requests go to each of *ports* in turn; and who got what."""
    turns: list[tuple[str, int]] = []

    async def forward(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        port = ports[len(turns) % len(ports)]
        turns.append((request.headers.get("Mcp-Method", ""), port))
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        url = f"http://127.0.0.1:{port}/mcp"
        async with (
            ClientSession() as session,
            session.request(request.method, url, data=body, headers=headers) as answer,
        ):
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    app = web.Application()
    app.router.add_route("*", "/mcp", forward)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        assert runner.addresses
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp", turns
    finally:
        await runner.cleanup()


_HOP = {"host", "content-length", "connection", "transfer-encoding"}
