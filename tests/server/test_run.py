"""A server that is run: as somebody's child over stdio, and over HTTP, as real as they come."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.peers import soon

from interlock import Client, Context, Server, run
from interlock.errors import ConfigError
from interlock.server.web import allowed_hosts, serve_http
from interlock.transport.http.asgi import App

SCRIPT = """
from __future__ import annotations
import asyncio, os, sys, threading
print("at import, to stdout")
from interlock import Context, Server, run

server = Server("script", version="7")

@server.tool
async def add(a: int, b: int = 2) -> dict[str, int]:
    print("in a handler, to stdout")
    os.write(1, b"past Python, to stdout\\n")
    return {"sum": a + b}

@server.tool
async def slowly(ctx: Context) -> str:
    await ctx.report_progress(1, 2)
    await ctx.info("half way")
    return "done"

@server.tool
def stuck(ctx: Context) -> None:
    print("stuck", file=sys.stderr, flush=True)
    threading.Event().wait()

@server.tool
async def leave() -> None:
    print("goodbye", file=sys.stderr, flush=True)
    os._exit(3)

@server.resource("env://{name}")
def env(name: str) -> str | None:
    return os.environ.get(name)

@server.resource("big://{size}")
def big(size: int) -> str:
    return "x" * size

if __name__ == "__main__":
    run(server)
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    file = tmp_path / "server with a space.py"
    file.write_text(SCRIPT)
    return str(file)


@pytest.mark.parametrize("era", ["legacy", "modern", "auto"])
async def test_over_stdio(script: str, era: str):
    """Issue 2, 7: stray prints at import and in handlers do not break it."""
    stderr: list[str] = []
    progress: list[float] = []
    logs: list[Any] = []
    client = Client(
        script,
        revision=era,
        on_stderr=stderr.append,
        on_log=lambda notice: logs.append(notice.data),
    )
    async with client:
        assert client.server_info is not None
        assert client.server_info.version == "7"
        assert (await client.call_tool("add", {"a": 1})).structured == {"sum": 3}
        result = await client.call_tool("slowly", on_progress=lambda n: progress.append(n.progress))
        assert result.text == "done"
        (contents,) = (await client.read_resource("big://3000000")).contents
        assert len(contents.text or "") == 3_000_000
        many = await asyncio.gather(*(client.call_tool("add", {"a": n}) for n in range(50)))
        assert [each.structured["sum"] for each in many] == [n + 2 for n in range(50)]
    assert (progress, logs) == ([1], ["half way"])
    assert "in a handler, to stdout" in stderr
    assert "past Python, to stdout" in stderr


SETTLING = """
import asyncio, gc, weakref
from interlock import Server, run
from interlock.server import run as room

class Knot:
    def __init__(self) -> None:
        self.itself = self

left = weakref.ref(Knot())
server = Server("settling")

@server.tool
async def frozen() -> int:
    return gc.get_freeze_count()

@server.tool
async def settled() -> bool:
    while left() is not None:
        await asyncio.sleep(0)
    return gc.get_freeze_count() > 1000

room.SETTLED = 0.2
gc.disable()  # Or the knot might be gone before it is looked for.
run(server)
"""


async def test_collections_pass_over_what_starting_made_but_not_over_its_garbage(tmp_path: Path):
    (tmp_path / "settling.py").write_text(SETTLING)
    async with Client(str(tmp_path / "settling.py")) as client:
        assert (await client.call_tool("frozen")).structured["result"] > 1000
        assert (await soon(client.call_tool("settled"))).structured == {"result": True}


def test_it_leaves_when_its_client_does_even_with_a_thread_that_is_stuck(script: str):
    child = subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdin is not None
        assert child.stderr is not None
        meta = (
            '{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
            '"io.modelcontextprotocol/clientCapabilities":{}}'
        )
        child.stdin.write(
            '{"jsonrpc":"2.0","id":1,"method":"tools/call",'
            f'"params":{{"name":"stuck","_meta":{meta}}}}}\n'
        )
        child.stdin.flush()
        while child.stderr.readline() != "stuck\n":
            pass
        child.stdin.close()
        assert child.wait(timeout=10) == 0


@asynccontextmanager
async def served(server: Server, **options: Any) -> AsyncGenerator[str]:
    """The URL of *server* over HTTP, ended as Ctrl-C would end it."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    app = App(server, **options)
    task = asyncio.create_task(serve_http(app, "127.0.0.1", 0, port.set_result))
    done, _ = await asyncio.wait([task, port], return_when=asyncio.FIRST_COMPLETED)
    if task in done:
        await task
    try:
        yield f"http://127.0.0.1:{port.result()}/mcp"
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await soon(task)


def a_server() -> Server:
    server = Server("web", version="8")

    @server.tool
    async def add(a: int, b: int = 2) -> dict[str, int]:
        return {"sum": a + b}

    @server.tool
    async def slowly(ctx: Context) -> str:
        await ctx.report_progress(1, 2)
        await ctx.info("half way")
        return "done"

    @server.resource("note://{id}")
    def note(id: str) -> str:
        return f"note {id}"

    @server.prompt
    def ask(topic: str) -> str:
        return f"about {topic}"

    @server.tool
    def touch() -> None:
        server.updated("note://1")
        server.changed("tools")

    return server


@pytest.mark.parametrize("era", ["2025-03-26", "2025-11-25", "modern", "auto"])
async def test_over_http(era: str):
    progress: list[float] = []
    logs: list[Any] = []
    updates: asyncio.Queue[str] = asyncio.Queue()
    changes: asyncio.Queue[str] = asyncio.Queue()
    async with served(a_server()) as url:
        client = Client(
            url,
            revision=era,
            on_log=lambda notice: logs.append(notice.data),
            on_update=updates.put_nowait,
            on_change=changes.put_nowait,
        )
        async with client:
            assert client.server_info is not None
            assert client.server_info.name == "web"
            assert (await client.call_tool("add", {"a": 1})).structured == {"sum": 3}
            result = await client.call_tool(
                "slowly", on_progress=lambda n: progress.append(n.progress)
            )
            assert result.text == "done"
            assert (await client.read_resource("note://7")).contents[0].text == "note 7"
            assert len((await client.get_prompt("ask", {"topic": "x"})).messages) == 1
            await client.subscribe("note://1")
            await client.call_tool("touch")
            assert await soon(updates.get()) == "note://1"
            assert await soon(changes.get()) == "tools"
            many = await asyncio.gather(*(client.call_tool("add", {"a": n}) for n in range(20)))
            assert [each.structured["sum"] for each in many] == [n + 2 for n in range(20)]
    assert (progress, logs) == ([1], ["half way"])


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_ending_does_not_wait_for_open_streams(era: str):
    loop = asyncio.get_running_loop()
    client = Client("http://127.0.0.1:1/mcp")
    async with served(a_server()) as url:
        client = Client(url, revision=era, on_change=lambda kind: None)
        await client.connect()
        ended = loop.time()
    assert loop.time() - ended < 3
    await client.close()


async def test_after_one_was_cancelled_the_next_in_the_same_loop_is_reached():
    """The loop must not go on to watch what was listened on: its descriptor becomes the next's."""
    loop = asyncio.get_running_loop()
    for _ in range(2):
        port: asyncio.Future[int] = loop.create_future()
        serving = asyncio.create_task(serve_http(App(a_server()), "127.0.0.1", 0, port.set_result))
        async with Client(f"http://127.0.0.1:{await soon(port)}/mcp") as client:
            assert (await soon(client.call_tool("add", {"a": 1}))).structured == {"sum": 3}
        serving.cancel()
        await asyncio.wait([serving])


async def test_an_address_in_use_says_so():
    async with served(a_server()) as url:
        port = int(url.split(":")[2].split("/")[0])
        with pytest.raises(ConfigError, match=f"Something else listens on 127.0.0.1:{port}"):
            await serve_http(App(a_server()), "127.0.0.1", port)


async def test_an_address_that_is_not_ours_says_so():
    with pytest.raises(ConfigError, match=r"Cannot listen on 192\.0\.2\.1:0"):
        await serve_http(App(a_server()), "192.0.2.1", 0)


def test_an_unknown_transport_says_which_there_are():
    with pytest.raises(ConfigError, match="'stdio' or 'http' is expected"):
        run(a_server(), transport="carrier-pigeon")  # type: ignore[arg-type]  the mistake


def test_over_http_in_a_program_of_its_own_until_it_is_told_to_stop(tmp_path: Path):
    program = tmp_path / "web.py"
    program.write_text(
        "import sys\n"
        "from interlock import Server, run\n"
        "server = Server('web')\n"
        "try:\n"
        "    run(server, transport='http', port=0)\n"
        "finally:\n"
        "    print('ended')\n"
    )
    child = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    with child:
        while not _listens(child.pid):
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        assert child.stdout is not None
        assert child.stdout.read() == "ended\n"
        assert child.wait(timeout=10) == 0


def _listens(pid: int) -> bool:
    """Whether the process has a listening socket: state 0A in its table."""
    inodes: set[str] = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(fd.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[3] == "0A" and row[9] in inodes for row in rows)


def test_the_host_header_may_name_loopback_what_was_bound_and_what_was_said():
    assert "127.0.0.1" in allowed_hosts("127.0.0.1", [])
    assert "example.com" in allowed_hosts("127.0.0.1", ["example.com"])
    assert "192.0.2.7" in allowed_hosts("192.0.2.7", [])
    assert "0.0.0.0" not in allowed_hosts("0.0.0.0", [])


def test_as_many_connections_are_taken_as_there_are_files_for():
    script = (
        "import resource; from interlock.server.web import fitting, Limits;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400));"
        "print(fitting(Limits()).connections, fitting(Limits(connections=7)).connections)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["300", "7"]
