"""One server behind the gateway: what it lists is checked, and its way back is found."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec import Raw
from tests.heard import OURS

from interlock.errors import ConnectFailed, PeerError
from interlock.gateway.config import load
from interlock.gateway.upstream import LISTED_AT_MOST, Upstream
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.transport.warden import Warden
from interlock.wire.meta import LogLevel
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import Kind
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import LATEST_MODERN

BUSY = Path(__file__).parent / "servers" / "busy.py"

# A legacy server by hand: pages without end, and entries that are none.
ENDLESS = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method = asked["method"]
    if method == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                  "serverInfo": {"name": "endless", "version": "1"}}
    elif method == "tools/list":
        page = int(asked["params"].get("cursor", "0"))
        result = {"tools": [{"name": f"t{page}-{i}", "inputSchema": {}} for i in range(500)],
                  "nextCursor": str(page + 1)}
    else:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"],
                          "error": {"code": -32601, "message": "no"}}), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


# Another, whose lists say how often they were asked for; a call changes its tools.
COUNTING = """
import json, sys
asked_for = {}
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method = asked["method"]
    times = asked_for[method] = asked_for.get(method, 0) + 1
    name = f"after-{times}"
    if method == "initialize":
        changes = {"listChanged": True}
        say(id=asked["id"], result={
            "protocolVersion": "2025-06-18", "serverInfo": {"name": "counting", "version": "1"},
            "capabilities": {"tools": changes, "prompts": changes}})
    elif method == "tools/list":
        say(id=asked["id"], result={"tools": [{"name": name, "inputSchema": {}}]})
    elif method == "prompts/list":
        say(id=asked["id"], result={"prompts": [{"name": name}]})
    elif method == "tools/call":
        say(method="notifications/tools/list_changed")
        say(id=asked["id"], result={"content": []})
    else:
        say(id=asked["id"], error={"code": -32601, "message": "no"})
"""


class Story:
    """What an upstream said happened to it, for waiting on the next of a kind."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._more = asyncio.Event()

    def hear(self, server: str, what: str, detail: str) -> None:
        self.told.append(what)
        self._more.set()

    async def until(self, what: str, times: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.told.count(what) < times:
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def upstream_of(
    folder: Path, entry: dict[str, object]
) -> AsyncGenerator[tuple[Upstream, Story]]:
    path = folder / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": {"it": entry}}))
    story = Story()

    def changed(upstream: Upstream) -> set[Kind]:
        return {"tools"}

    warden = Warden()
    upstream = Upstream(
        load(path, os.environ).servers["it"], warden=warden, changed=changed, on_event=story.hear
    )
    upstream.start()
    try:
        yield upstream, story
    finally:
        await upstream.stop()
        await warden.close()


def call(name: str) -> Call:
    return Call(BY_NAME["tools/call"], CallToolParams(name=name), Envelope(LATEST_MODERN))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def program(*arguments: str) -> Generator[None]:
    process = subprocess.Popen([sys.executable, *arguments])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def busy_at(port: int) -> AbstractContextManager[None]:
    OURS.add(f"http://127.0.0.1:{port}/mcp")
    return program(str(BUSY), str(port))


async def test_an_endless_list_is_cut_and_said_to_be(tmp_path: Path) -> None:
    async with upstream_of(tmp_path, {"command": sys.executable, "args": ["-c", ENDLESS]}) as (
        upstream,
        story,
    ):
        await story.until("running")
        assert len(upstream.definitions.tools) == LISTED_AT_MOST
        assert "cut" in story.told


async def test_only_what_changed_is_listed_again(tmp_path: Path) -> None:
    async with upstream_of(tmp_path, {"command": sys.executable, "args": ["-c", COUNTING]}) as (
        upstream,
        story,
    ):
        await story.until("running")
        await upstream.handle(call("after-1"))
        await story.until("changed")
        listed = upstream.definitions
        assert listed.tools[0]["name"] == Raw(b'"after-2"')
        assert listed.prompts[0]["name"] == Raw(b'"after-1"')
        await upstream.restart()
        assert upstream.definitions.prompts[0]["name"] == Raw(b'"after-1"')
        assert upstream.definitions.tools[0]["name"] == Raw(b'"after-1"')


async def test_a_server_over_http_that_comes_up_late_and_restarts_is_found_again(
    tmp_path: Path,
) -> None:
    """A remote server is never given up: nobody here can start it."""
    port = free_port()
    entry: dict[str, object] = {"type": "http", "url": f"http://127.0.0.1:{port}/mcp"}
    async with upstream_of(tmp_path, entry) as (upstream, story):
        await story.until("backing off")
        with busy_at(port):
            await story.until("running")
            assert b"structuredContent" in bytes((await upstream.handle(call("pid"))).body)
        # The first call may find the connection of the last one broken, the next finds nothing.
        for _ in range(2):
            with pytest.raises(PeerError):
                await upstream.handle(call("pid"))
        await story.until("ended")
        with busy_at(port):
            await story.until("running", 2)
            assert b"structuredContent" in bytes((await upstream.handle(call("pid"))).body)


@pytest.mark.parametrize(
    ("type", "scheme", "path"),
    [("http", "http", "mcp"), ("http", "http", "sse"), ("sse", "http", "sse"), ("ws", "ws", "mcp")],
)
async def test_a_server_at_a_url_is_spoken_to_as_its_entry_says(
    tmp_path: Path, type: str, scheme: str, path: str
) -> None:
    """And one that is said to be of today, but is of 2024, is found out."""
    port = free_port()
    entry: dict[str, object] = {"type": type, "url": f"{scheme}://127.0.0.1:{port}/{path}"}
    with busy_at(port):
        async with upstream_of(tmp_path, entry) as (upstream, story):
            await story.until("running")
            assert b"structuredContent" in bytes((await upstream.handle(call("pid"))).body)
            await upstream.stop()
            assert story.told[-1] == "stopped"


MIRRORING = """
import sys
from typing import Annotated
from interlock import Server, run
from interlock.server.shape import Header
server = Server("mirroring")
@server.tool
async def query(region: Annotated[str, Header("Region")]) -> str:
    return region
run(server, "http", port=int(sys.argv[1]))
"""


async def test_what_a_tool_wants_in_headers_is_written_anew_for_its_server(
    tmp_path: Path,
) -> None:
    """A gateway relays no header: names differ on its two sides, and it knows what was listed."""
    port = free_port()
    entry: dict[str, object] = {"type": "http", "url": f"http://127.0.0.1:{port}/mcp"}
    arguments = Raw('{"region":"Zürich"}'.encode())
    made = Call(
        BY_NAME["tools/call"],
        CallToolParams(name="query", arguments=arguments),
        Envelope(LATEST_MODERN),
        raw=Raw('{"name":"query","arguments":{"region":"Zürich"}}'.encode()),
    )
    with program("-c", MIRRORING, str(port)):
        async with upstream_of(tmp_path, entry) as (upstream, story):
            await story.until("running")
            assert "Zürich".encode() in bytes((await upstream.handle(made)).body)


async def test_a_call_waits_for_a_server_that_starts(tmp_path: Path) -> None:
    async with upstream_of(tmp_path, {"command": sys.executable, "args": [str(BUSY)]}) as (
        upstream,
        story,
    ):
        assert "running" not in story.told
        result = await upstream.handle(call("pid"))
        assert b"structuredContent" in bytes(result.body)


async def test_a_crash_loop_is_given_up_and_can_be_retried(tmp_path: Path) -> None:
    code = "import sys; print('broken', file=sys.stderr); sys.exit(1)"
    async with upstream_of(tmp_path, {"command": sys.executable, "args": ["-c", code]}) as (
        upstream,
        story,
    ):
        await story.until("failed")
        counts = {"tools": 0, "resources": 0, "templates": 0, "prompts": 0}
        status = upstream.status(counts, 0)
        assert status.state == "failed"
        assert "broken" in (status.error or "")
        assert status.stderr[-1] == "broken"
        with pytest.raises(ConnectFailed, match="failed"):
            await upstream.handle(call("pid"))
        with pytest.raises(ConnectFailed):
            await upstream.restart()


async def test_what_lies_within_a_watched_resource_changes_that_one(tmp_path: Path) -> None:
    """2025-11-25 § Resources: the URI of an update may be a part of what was subscribed to."""
    async with upstream_of(tmp_path, {"command": "never-started"}) as (upstream, _):
        for uri in ("file:///a", "file:///a/b/", "file:///c"):
            upstream.watch(uri, watched=True)
        upstream.watch("file:///c", watched=False)
        assert upstream.watched("file:///a") == ["file:///a"]
        assert upstream.watched("file:///a/b/d") == ["file:///a", "file:///a/b/"]
        assert upstream.watched("file:///ab") == []
        assert upstream.watched("file:///c/d") == []


# A legacy server by hand: notes the level it is told, and logs on request.
LEVELS = """
import json, sys
told = []
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, params, answer = asked["method"], asked.get("params"), {}
    if method == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}, "logging": {}},
                  "serverInfo": {"name": "levels", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": "told", "inputSchema": {}}]}
    elif method == "logging/setLevel":
        told.append(params["level"])
        result = {}
    elif method == "tools/call":
        result = {"content": [{"type": "text", "text": " ".join(told)}]}
    else:
        answer = {"error": {"code": -32601, "message": "no"}}
    answer = answer or {"result": result}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
"""


async def test_a_legacy_server_logs_from_the_lowest_level_that_a_caller_asked_for(
    tmp_path: Path,
) -> None:
    """It has one level for all of them; each hears its own. Who asks for none changes nothing."""
    async with upstream_of(tmp_path, {"command": sys.executable, "args": ["-c", LEVELS]}) as (
        upstream,
        _,
    ):

        async def told(level: LogLevel | None) -> str:
            asked = call("told")
            asked.envelope = Envelope(LATEST_MODERN, log_level=level)
            body = (await upstream.handle(asked)).body
            return msgspec.json.decode(body)["content"][0]["text"]

        assert await told(None) == ""
        assert await told("error") == "info"
        assert await told("warning") == "info"
        assert await told("debug") == "info debug"
        assert await told("info") == "info debug"
