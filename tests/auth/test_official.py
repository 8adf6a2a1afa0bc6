"""The official Python library logs in to us, and we log in to it: real packages, real HTTP.

Its programs run in an environment of their own, which `.ci/test` builds (`.ci/peers.py mcp2`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.client.test_connect import listening
from tests.peers import soon

from interlock import Client, Context, Server
from interlock.auth.credentials import Credentials
from interlock.auth.issuer.issuer import Issuer
from interlock.auth.issuer.settings import Resource
from interlock.auth.oauth import OAuth
from interlock.auth.settings import AuthSettings
from interlock.auth.steps import Visit, Visited
from interlock.transport.http.asgi import App
from interlock.transport.http.engine import AiohttpEngine, Request

HERE = Path(__file__).parent
PYTHON = HERE.parent.parent / ".peers/mcp2/bin/python"


def diary(url: str, issuer: str) -> Server:
    """A server of ours: reading it needs one scope, writing another besides."""
    server = Server(
        "diary",
        auth=AuthSettings(
            issuer_url=issuer, resource_server_url=url, required_scopes=["diary:read"]
        ),
    )
    pages: dict[str, list[str]] = {}

    @server.tool
    async def read(ctx: Context) -> str:
        return " / ".join(pages.get(ctx.principal.subject, ["nothing yet"]))

    @server.tool(scopes=["diary:write"], list_without_scopes=True)
    async def write(text: str, ctx: Context) -> str:
        pages.setdefault(ctx.principal.subject, []).append(text)
        return "Written."

    return server


class Later:
    """An app that is known only once the port is that it answers at."""

    def __init__(self) -> None:
        self.app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@asynccontextmanager
async def guarded() -> AsyncGenerator[tuple[str, Issuer]]:
    """A diary over HTTP behind an issuer of ours over HTTP."""
    door, office = Later(), Later()
    async with listening(office) as there, listening(door) as url:
        scopes = {"diary:read": "Read your diary", "diary:write": "Write into it"}
        resource = Resource(url, scopes, default=("diary:read",))
        issuer = Issuer(there.removesuffix("/mcp"), resources=[resource])
        office.app = issuer
        door.app = App(diary(url, issuer.url))
        await issuer.start()
        await door.app.start()
        try:
            yield url, issuer
        finally:
            await door.app.stop()
            await issuer.stop()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_logs_in_to_a_server_of_ours_and_steps_up(mode: str):
    async with guarded() as (url, issuer):
        program = await asyncio.create_subprocess_exec(
            PYTHON,
            HERE / "peers/official_client.py",
            mode,
            url,
            issuer.people[0].code,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, errors = await soon(program.communicate(), 60)
        finally:
            if program.returncode is None:
                program.kill()
                await program.wait()
    assert program.returncode == 0, errors.decode()
    assert json.loads(said) == {
        "tools": ["read", "write"],
        "texts": [["nothing yet"], ["Written."], ["Dear diary"]],
        "logins": 2,  # The second is for what writing needs besides.
    }


@asynccontextmanager
async def official_server() -> AsyncGenerator[str]:
    program = await asyncio.create_subprocess_exec(
        PYTHON,
        HERE / "peers/guarded_server.py",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )
    assert program.stdout is not None
    try:
        port = int(await soon(program.stdout.readline(), 60))
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        program.kill()
        await program.communicate()


class AtOnce:
    """A person at a page that asks nothing, and sends them back at once."""

    redirect_uri = "http://127.0.0.1:4711/callback"

    def __init__(self) -> None:
        self.visits = 0

    async def __call__(self, visit: Visit) -> Visited:
        self.visits += 1
        engine = AiohttpEngine()
        try:
            response = await engine.send(Request("GET", visit.url, {}))
            query = parse_qs(urlsplit(response.headers["location"]).query)
            response.close()
        finally:
            await engine.close()
        return Visited({name: tuple(values) for name, values in query.items()})


async def test_our_client_logs_in_once_to_a_server_of_the_official_library():
    credentials = Credentials.in_memory()
    person = AtOnce()
    async with official_server() as url:
        async with Client(
            url, auth=OAuth(credentials, visitors=lambda port: contextlib.nullcontext(person))
        ) as client:
            assert (await client.call_tool("whisper", {"word": "hush"})).text == "hush, quietly"
        [login] = await credentials.list()
        assert login.issuer == f"http://{urlsplit(url).netloc}"
        assert login.scopes == ("notes",)
        assert login.refreshable

        # As if this program had been started anew: nobody is there to log in.
        later = OAuth(credentials)
        async with Client(url, auth=later) as client:
            assert (await client.call_tool("whisper", {"word": "yes"})).text == "yes, quietly"

        assert await later.log_out(url)
        assert await credentials.list() == []
    assert person.visits == 1
