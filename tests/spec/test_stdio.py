"""§6 stdio: lines on pipes, and the programs at their ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import textwrap
from ast import literal_eval
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.peers import LATEST, MODERN, Json, ask, hello, meta, modern, say, soon
from tests.spec.kitchen import Kitchen, answered, refused
from tests.spec.marking import STDIO, requirement
from tests.spec.scripts import SAID, Asked, Script, meet
from tests.spec.ways import Way

from interlock import Client
from interlock.gateway.config import load
from interlock.gateway.gateway import Gateway
from interlock.transport.duplex import serve
from interlock.transport.memory import pair
from interlock.transport.stdio import Claimed, StdioChannel
from interlock.wire.meta import SUBSCRIPTION_ID

BUSY = Path(__file__).parent.parent / "gateway" / "servers" / "busy.py"
NOISY = """
    import subprocess, sys
    from interlock import Server, run

    server = Server("noisy")

    @server.tool
    def shout(text: str) -> str:
        print("shouting")
        subprocess.run([sys.executable, "-I", "-S", "-c", "print('so does a child')"], check=True)
        return text

    if __name__ == "__main__":
        run(server)
"""
"""A server of ours whose author prints."""
PROGRAM = """
    import json, os, signal, sys
    revision, folder, deaf = sys.argv[1:]

    def note(what):
        open(os.path.join(folder, what), "w").close()

    signal.signal(signal.SIGTERM, lambda *_: note("terminated"))
    print("ERROR: all is well", file=sys.stderr, flush=True)
    for line in sys.stdin:
        print("heard " + ascii(line), file=sys.stderr, flush=True)
        message = json.loads(line)
        modern = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        results = {
            "initialize": {"protocolVersion": revision, "capabilities": {},
                           "serverInfo": {"name": "p", "version": "1"}},
            "server/discover": {"supportedVersions": [revision], "capabilities": {}, **modern},
            "tools/call": {"content": [{"type": "text", "text": repr(dict(os.environ))}],
                           **({"resultType": "complete"} if revision >= "2026" else {})},
        }
        if "id" in message:
            body = {"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]}
            print(json.dumps(body), flush=True)
    note("eof")
    while deaf == "deaf":
        signal.pause()
"""
"""A small server that talks on stderr and notes how it is ended."""


def program(way: Way, folder: Path, manner: str = "polite") -> list[str]:
    code = textwrap.dedent(PROGRAM)
    return [sys.executable, "-I", "-S", "-c", code, way.revision, str(folder), manner]


@asynccontextmanager
async def running(source: str, folder: Path) -> AsyncGenerator[asyncio.subprocess.Process]:
    path = folder / "server.py"
    path.write_text(textwrap.dedent(source))
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await soon(process.wait())


@requirement("SD-01", "SD-06")
@pytest.mark.parametrize("revision", [LATEST, MODERN])
async def test_a_server_prints_messages_only_a_line_each_and_goes_when_its_input_ends(
    revision: str, tmp_path: Path
):
    """One message a line, in UTF-8; nothing else on stdout or stdin.
    A client ends a program by closing its stdin, then by signals; a server exits when stdin
    ends.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    async with running(NOISY, tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        write = modern if revision == MODERN else ask
        if revision == LATEST:
            process.stdin.write(hello() + b"\n" + say("notifications/initialized") + b"\n")
            assert "result" in json.loads(await soon(process.stdout.readline()))
        arguments = {"text": "one\ntwo\r\nthr\u2028ee ü"}
        process.stdin.write(
            write("tools/call", 1, {"name": "shout", "arguments": arguments}) + b"\n"
        )
        process.stdin.write(write("tools/list", 2) + b"\n")
        process.stdin.close()
        said = await soon(process.stdout.read())
        assert await soon(process.wait()) == 0
    messages = [json.loads(line) for line in said.decode().split("\n") if line]
    by_id = {message["id"]: message["result"] for message in messages}
    assert by_id[1]["content"][0]["text"] == arguments["text"]
    assert by_id.keys() == {1, 2}


@requirement("SD-01", "SD-02", over=[STDIO])
async def test_a_client_writes_messages_only_and_takes_stderr_for_a_log(way: Way, tmp_path: Path):
    """One message a line, in UTF-8; nothing else on stdout or stdin.
    What comes on stderr is a log, and no error.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    lines: list[str] = []
    target = program(way, tmp_path)
    async with Client(target, revision=way.revision, on_stderr=lines.append) as client:
        result = await client.call_tool("tool", {"text": "one\ntwo\u2028 ü"})
        assert not result.is_error
    assert lines[0] == "ERROR: all is well"
    heard = [json.loads(literal_eval(line.removeprefix("heard "))) for line in lines[1:]]
    assert heard[-1]["params"]["arguments"] == {"text": "one\ntwo\u2028 ü"}


@requirement("SD-04", over=[STDIO])
async def test_a_client_tells_subscriptions_apart_by_their_id(way: Way):
    """The client tells subscriptions on one pipe apart by their id.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    updates: asyncio.Queue[str] = asyncio.Queue()

    async def listened(asked: Asked) -> None:
        named = {SUBSCRIPTION_ID: asked.id}
        notice = "notifications/subscriptions/acknowledged"
        await asked.say(notice, {"_meta": named, "notifications": asked.params["notifications"]})
        for number, uri in ((asked.id + 1000, "x://foreign"), (asked.id, "x://1")):
            changed = {"uri": uri, "_meta": {SUBSCRIPTION_ID: number}}
            await asked.say("notifications/resources/updated", changed)
        await asyncio.Event().wait()

    can: Json = {"resources": {"subscribe": True}}
    script = Script(way.revision, {"subscriptions/listen": listened}, capabilities=can)
    async with meet(way, script, on_update=updates.put_nowait) as client:
        await client.subscribe("x://1")
        assert await soon(updates.get()) == "x://1"
        assert updates.empty()


@requirement("SD-05", "CX-02", over=[STDIO])
async def test_what_a_client_cancelled_is_heard_of_no_more(way: Way):
    """A client cancels by `notifications/cancelled`; the server sends nothing more for that id.
    What is cancelled stops and is not answered; unknown and malformed cancellations are
    ignored.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        held = await peer.open("tools/call", {"name": "hold"}, id="held", progressToken="held")
        await soon(kitchen.reached.wait())
        await held.cancel()
        await soon(kitchen.cancelled.wait())
        await peer.ask("tools/list")
    assert [said.get("method") for said in held.heard if "held" in json.dumps(said)] == [
        "notifications/progress"
    ]


@requirement("SD-05", over=[STDIO])
async def test_a_client_cancels_by_a_notification(way: Way):
    """A client cancels by `notifications/cancelled`; the server sends nothing more for that id.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """

    async def silent(asked: Asked) -> None:
        await asyncio.Event().wait()

    script = Script(way.revision, {"tools/call": silent})
    async with meet(way, script) as client:
        call = asyncio.create_task(client.call_tool("tool"))
        asked = await script.hears("tools/call")
        call.cancel()
        told = await script.hears("notifications/cancelled")
        assert told.params["requestId"] == asked.id


@requirement("SD-06", revisions=[MODERN, LATEST], over=[STDIO])
async def test_a_client_ends_a_program_by_closing_its_input(way: Way, tmp_path: Path):
    """A client ends a program by closing its stdin, then by signals; a server exits when stdin
    ends.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    async with Client(program(way, tmp_path), revision=way.revision):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"eof"}


@requirement("SD-06", revisions=[MODERN], over=[STDIO])
async def test_a_client_ends_a_program_that_stays_by_signals(way: Way, tmp_path: Path):
    """A client ends a program by closing its stdin, then by signals; a server exits when stdin
    ends.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    async with Client(program(way, tmp_path, "deaf"), revision=way.revision):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"eof", "terminated"}


@requirement("SD-07")
async def test_a_program_that_died_is_started_again_and_listened_to_again(tmp_path: Path):
    """A program that died is started again, and then its subscriptions are opened again.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    config = {"mcpServers": {"busy": {"command": sys.executable, "args": [str(BUSY)]}}}
    (tmp_path / ".mcp.json").write_text(json.dumps(config))
    starts: asyncio.Queue[str] = asyncio.Queue()

    def heard(server: str, what: str, detail: str) -> None:
        if what == "running":
            starts.put_nowait(server)

    gateway = Gateway(load(tmp_path / ".mcp.json", dict(os.environ)), on_event=heard)
    await gateway.start()
    changes: asyncio.Queue[str] = asyncio.Queue()
    try:
        await soon(starts.get())
        async with Client(gateway, on_change=changes.put_nowait, revision=MODERN) as client:
            os.kill((await client.call_tool("busy__pid")).structured["result"], signal.SIGKILL)
            await soon(starts.get())
            await client.list_tools()
            while not changes.empty():
                changes.get_nowait()
            await client.call_tool("busy__grow", {"name": "more"})
            assert await soon(changes.get()) == "tools"
    finally:
        await gateway.stop()


@requirement("SD-08")
async def test_a_channel_of_ones_own_carries_the_same_messages():
    """Transports of one's own keep the message format, the patterns and the metadata of requests.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/index.mdx
    """
    ours, theirs = pair()
    kitchen = Kitchen()
    serving = asyncio.create_task(serve(kitchen, theirs))
    for method, params in answered(MODERN):
        ours.send(modern(method, 1, params))
        (said,) = await soon(ours.receive())
        assert json.loads(said)["result"]["resultType"] == "complete"
    ours.send(
        ask("tools/list", 2, {"_meta": {**meta(), "io.modelcontextprotocol/clientCapabilities": 5}})
    )
    (said,) = await soon(ours.receive())
    assert json.loads(said)["error"]["code"] == -32602
    await ours.close()
    await soon(serving)


@requirement("SD-09", over=[STDIO])
async def test_there_are_no_headers_to_disagree(way: Way):
    """There are no headers, so -32020 never occurs.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    async with way.join(Kitchen()) as peer:
        for method, params, _ in refused(way.revision):
            assert (await peer.ask(method, params)).code != -32020


@requirement("SD-10", over=[STDIO])
async def test_a_server_bears_what_peers_send(way: Way):
    """CRLF and blank lines are tolerated, lines are bounded, garbage is answered by servers and
    ignored by clients.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    async with way.join(Kitchen()) as peer:
        assert await peer.send(b"\r\n\n \t\n") == []
        (answer,) = await peer.send(peer.request("tools/list", id="crlf") + b"\r")
        assert answer["id"] == "crlf"
        for noise in (b"hello?", b"\xff\xfe", b'{"a":'):
            (refusal,) = await peer.send(noise)
            assert refusal["error"]["code"] == -32700
            assert "id" not in refusal


@requirement("SD-10")
async def test_a_line_without_end_is_refused_and_the_next_is_read():
    """CRLF and blank lines are tolerated, lines are bounded, garbage is answered by servers and
    ignored by clients.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    (source, far_sink), (far_source, sink) = os.pipe(), os.pipe()
    server = await StdioChannel.open(Claimed(source, sink), limit=10_000)
    ours = await StdioChannel.open(Claimed(far_source, far_sink))
    serving = asyncio.create_task(serve(Kitchen(), server))
    ours.send(modern("tools/call", 1, {"name": "echo", "arguments": {"text": "x" * 20_000}}))
    ours.send(modern("tools/list", 2))
    said: list[Json] = []
    while len(said) < 2:
        said += [json.loads(each) for each in await soon(ours.receive())]
    by_id = {message.get("id"): message for message in said}
    assert by_id[None]["error"]["code"] == -32700
    assert "result" in by_id[2]
    await ours.close()
    await soon(serving)


@requirement("SD-10", over=[STDIO])
async def test_a_client_ignores_noise(way: Way):
    """CRLF and blank lines are tolerated, lines are bounded, garbage is answered by servers and
    ignored by clients.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    noise: list[str] = []

    async def noisy(asked: Asked) -> None:
        for line in (b"DEBUG: hello", b"[]", b"{}", b'{"jsonrpc":"2.0","id":77,"result":{}}'):
            await asked.raw(line)
        await asked.result(SAID)

    script = Script(way.revision, {"tools/call": noisy})
    async with meet(way, script, on_noise=noise.append) as client:
        assert (await client.call_tool("tool")).text == "said"
        await client.list_tools()
    assert len(noise) == 4
    assert all(heard.method for heard in script.heard)


@requirement("SD-10", revisions=[MODERN], over=[STDIO])
async def test_a_program_is_told_little_of_our_environment(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """CRLF and blank lines are tolerated, lines are bounded, garbage is answered by servers and
    ignored by clients.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    monkeypatch.setenv("OUR_SECRET", "hush")
    async with Client(program(way, tmp_path), revision=way.revision) as client:
        seen = (await client.call_tool("tool")).text
    assert seen is not None
    assert "PATH" in seen
    assert "hush" not in seen
