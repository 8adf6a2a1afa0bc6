"""Finding out what a server speaks, whatever it does at first; over pipes, channels and HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import uvicorn
from tests.peers import LEGACY, MODERN, Json, soon
from tests.scripted import Answer, Peer, discovery, greeting

from interlock import Client, Server
from interlock.client.answers import AnswerDesk, Answers
from interlock.client.connect import open_link
from interlock.client.greeting import Wish, wished
from interlock.errors import (
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    InterlockError,
    PeerError,
    ServerExited,
    TimedOut,
)
from interlock.transport.http.asgi import App
from interlock.wire.meta import ClientCapabilities, Implementation


@asynccontextmanager
async def connected(
    peer: Peer, revision: str = "auto", probe: float = 30, timeout: float = 60
) -> AsyncGenerator[str]:
    """The revision that a client settles on with *peer*."""
    modern, legacy = wished(revision)
    info = Implementation(name="tests", version="1")
    wish = Wish(
        name="peer",
        info=info,
        capabilities=ClientCapabilities(),
        desk=AnswerDesk(info, Answers()),
        modern=modern,
        legacy=legacy,
        timeout=timeout,
        probe=probe,
    )
    link = await open_link(peer.open, wish)
    try:
        yield link.envelope.revision.name
    finally:
        await link.close()
        for task in peer.running:
            task.cancel()


async def test_a_server_that_answers_discovery_is_modern():
    peer = Peer(server_discover=discovery())
    async with connected(peer) as revision:
        assert revision == MODERN
    assert peer.heard == ["server/discover"]


@pytest.mark.parametrize(
    "answer",
    [-32601, -32602, -32600, -32000, -32603, 404, {}, {"tools": []}, {"supportedVersions": 3}],
)
async def test_any_other_answer_leads_to_the_handshake(answer: Answer):
    """2026-07-28 § Versioning: the fallback MUST NOT hang on one error code."""
    peer = Peer(server_discover=answer, initialize=greeting())
    async with connected(peer) as revision:
        assert revision == "2025-11-25"
    assert peer.heard[:3] == ["server/discover", "initialize", "notifications/initialized"]


async def test_silence_leads_to_the_handshake():
    peer = Peer(server_discover=None, initialize=greeting())
    async with connected(peer, probe=0.01) as revision:
        assert revision == "2025-11-25"
    assert peer.heard[:2] == ["server/discover", "initialize"]


async def test_a_modern_server_that_is_slow_to_start_is_not_taken_for_a_legacy_one():
    """It answers the first question only once the handshake has been refused."""
    first: list[Json] = []

    async def keep(peer: Peer, message: Json) -> None:
        first.append(message)

    async def refuse(peer: Peer, message: Json) -> None:
        peer.reply(message, -32601)
        peer.reply(first[0], discovery())

    peer = Peer(server_discover=keep, initialize=refuse)
    async with connected(peer, probe=0.5) as revision:
        assert revision == MODERN


async def test_an_answer_to_discovery_that_comes_after_the_handshake_changes_nothing():
    first: list[Json] = []

    async def keep(peer: Peer, message: Json) -> None:
        first.append(message)

    async def late(peer: Peer, message: Json) -> None:
        peer.reply(first[0], discovery())

    peer = Peer(server_discover=keep, initialize=greeting(), notifications_initialized=late)
    async with connected(peer, probe=0.01) as revision:
        assert revision == "2025-11-25"


async def test_a_server_that_dies_at_the_first_question_is_started_again_and_greeted():
    async def die(peer: Peer, message: Json) -> None:
        assert peer.channel is not None
        await peer.channel.close()

    peer = Peer(server_discover=die, initialize=greeting("2025-03-26"))
    async with connected(peer) as revision:
        assert revision == "2025-03-26"
    assert peer.opened == 2
    assert peer.heard[:2] == ["server/discover", "initialize"]


async def test_a_server_that_dies_at_everything_is_lost():
    async def die(peer: Peer, message: Json) -> None:
        assert peer.channel is not None
        await peer.channel.close()

    peer = Peer(server_discover=die, initialize=die)
    with pytest.raises(ConnectionLost):
        async with connected(peer):
            pass
    assert peer.opened == 2


@pytest.mark.parametrize("version", LEGACY)
async def test_the_servers_choice_of_a_legacy_revision_is_taken(version: str):
    peer = Peer(server_discover=-32601, initialize=greeting(version))
    async with connected(peer) as revision:
        assert revision == version


@pytest.mark.parametrize("version", ["1999-01-01", MODERN, ""])
async def test_a_revision_that_nobody_knows_ends_it(version: str):
    peer = Peer(server_discover=-32601, initialize=greeting(version))
    with pytest.raises(ConnectFailed, match="wants to speak"):
        async with connected(peer):
            pass


async def test_a_modern_server_of_other_revisions_ends_it_with_both_lists():
    async def refuse(peer: Peer, message: Json) -> None:
        assert peer.channel is not None
        error = {
            "code": -32022,
            "message": "no",
            "data": {"supported": ["2099-01-01"], "requested": MODERN},
        }
        peer.channel.send(
            json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode()
        )

    for peer in (Peer(server_discover=refuse), Peer(server_discover=discovery("2099-01-01"))):
        with pytest.raises(ConnectFailed, match="speaks 2099-01-01; we speak 2026-07-28"):
            async with connected(peer):
                pass


async def test_a_server_whose_discovery_names_legacy_revisions_only_is_greeted():
    peer = Peer(server_discover=discovery("2025-06-18"), initialize=greeting("2025-06-18"))
    async with connected(peer) as revision:
        assert revision == "2025-06-18"


async def test_a_server_that_refuses_both_says_why():
    peer = Peer(server_discover=-32601, initialize=-32000)
    with pytest.raises(ConnectFailed, match=r"did not complete the handshake: no \(error -32000\)"):
        async with connected(peer):
            pass
    silent = Peer(server_discover=None, initialize=-32000)
    with pytest.raises(ConnectFailed, match=r"error -32000"):
        async with connected(silent, probe=0.01):
            pass


async def test_a_silent_server_times_out():
    with pytest.raises(TimedOut, match=r"was not ready within 0.05 s"):
        async with connected(Peer(), timeout=0.05):
            pass


async def test_a_wish_for_one_era_asks_only_that():
    modern = Peer(server_discover=discovery())
    async with connected(modern, "modern") as revision:
        assert revision == MODERN
    legacy = Peer(initialize=greeting())
    async with connected(legacy, "legacy") as revision:
        assert revision == "2025-11-25"
    assert "server/discover" not in legacy.heard
    with pytest.raises(ConnectFailed, match="revision='auto' finds out"):
        async with connected(Peer(server_discover=-32601), "modern"):
            pass
    with pytest.raises(ConnectFailed, match="revision='auto' finds out"):
        async with connected(Peer(initialize=-32601), "legacy"):
            pass


def test_a_revision_is_an_era_or_a_date():
    for name in ("auto", "modern", "legacy", *LEGACY, MODERN):
        assert wished(name) != (None, None)
    with pytest.raises(
        ConfigError, match="'2020-01-01' is no revision: auto, modern, legacy or one of"
    ):
        wished("2020-01-01")


# Programs.

ODD = """
import json, sys
mode = sys.argv[1]
seen = 0
for line in sys.stdin:
    message = json.loads(line)
    seen += 1
    def reply(**body):
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}), flush=True)
    method = message["method"]
    if method == "initialize":
        if mode == "dies always":
            print("cannot open the database", file=sys.stderr, flush=True)
            sys.exit(7)
        reply(result={"protocolVersion": message["params"]["protocolVersion"], "capabilities": {},
                      "serverInfo": {"name": mode, "version": "1"}})
    elif method == "tools/call":
        if mode == "dies in a call":
            print("first line", file=sys.stderr)
            print("out of memory", file=sys.stderr, flush=True)
            sys.exit(9)
        reply(result={"content": [{"type": "text", "text": str(seen)}]})
    elif "id" in message and mode.startswith("dies") and seen == 1:
        sys.exit(3)
    elif "id" in message and mode == "noisy":
        print("Traceback (most recent call last): not JSON", flush=True)
        print("[1, 2]", flush=True)
        reply(error={"code": -32601, "message": "no"})
"""


@pytest.fixture
def odd(tmp_path: Path) -> str:
    file = tmp_path / "odd.py"
    file.write_text(ODD)
    return str(file)


@pytest.mark.parametrize("mode", ["dies at first", "noisy"])
async def test_programs_with_odd_manners_are_usable(odd: str, mode: str):
    noise: list[str] = []
    client = Client([odd, mode], on_noise=noise.append)
    async with client:
        assert client.revision == "2025-11-25"
        assert client.server_info is not None
        assert client.server_info.name == mode
        assert (await client.call_tool("x")).text.isdigit()
    assert bool(noise) == (mode == "noisy")


async def test_a_program_that_dies_always_says_its_last_words(odd: str):
    with pytest.raises(ServerExited) as caught:
        await Client([odd, "dies always"]).connect()
    assert caught.value.returncode == 7
    assert "cannot open the database" in caught.value.stderr
    assert "exited with code 7" in str(caught.value)
    assert "cannot open the database" in str(caught.value)


async def test_a_program_that_dies_in_a_call_fails_it_at_once_and_all_later_ones(odd: str):
    client = Client([odd, "dies in a call"], revision="legacy")
    async with client:
        for _ in range(2):
            with pytest.raises(ServerExited) as caught:
                await client.call_tool("x")
            assert caught.value.returncode == 9
            assert caught.value.stderr[-1] == "out of memory"


async def test_a_command_that_is_not_there_says_so():
    with pytest.raises(InterlockError, match="no-such-program-anywhere"):
        await Client("no-such-program-anywhere --flag").connect()


async def test_connecting_that_fails_leaves_no_process(tmp_path: Path):
    file = tmp_path / "silent.py"
    pid = tmp_path / "pid"
    file.write_text(
        f"import os, sys\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        "print('up', file=sys.stderr, flush=True)\n"
        "for line in sys.stdin: pass\n"
    )
    up = asyncio.Event()
    client = Client(file, on_stderr=lambda line: up.set())
    connecting = asyncio.create_task(client.connect())
    await soon(up.wait())
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


# HTTP.

Reply: TypeAlias = tuple[int, str, bytes]


@asynccontextmanager
async def listening(app: Any) -> AsyncGenerator[str]:
    """The URL of an ASGI app on a free port."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]  the tests keep theirs
    socket = config.bind_socket()
    socket.listen()  # From here on clients wait instead of being refused.
    task = asyncio.create_task(server.serve(sockets=[socket]))
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        await soon(task)


def scripted(answer: Callable[[Json], Reply], heard: list[str]) -> Any:
    async def app(scope: Json, receive: Any, send: Any) -> None:
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        message = json.loads(body) if body else {"method": scope["method"]}
        heard.append(message["method"])
        status, kind, content = answer(message)
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


def result(message: Json, value: Json) -> Reply:
    body = {"jsonrpc": "2.0", "id": message["id"], "result": value}
    return 200, "application/json", json.dumps(body).encode()


def error(message: Json, code: int, status: int, data: Any = None) -> Reply:
    body = {
        "jsonrpc": "2.0",
        "id": message["id"],
        "error": {"code": code, "message": "no", "data": data},
    }
    return status, "application/json", json.dumps(body).encode()


@pytest.mark.parametrize(
    "first",
    [
        (400, "text/plain", b"Bad Request: no session"),
        (404, "text/html", b"<h1>Not found</h1>"),
        (405, "text/plain", b""),
        (406, "application/json", b"{}"),
        (200, "text/html", b"<h1>Hello</h1>"),
        (200, "application/json", b"not json"),
        -32601,
        -32600,
        -32000,
    ],
)
async def test_over_http_whatever_is_no_modern_answer_leads_to_the_handshake(first: Reply | int):
    heard: list[str] = []

    def answer(message: Json) -> Reply:
        match message["method"]:
            case "server/discover":
                return error(message, first, 400) if isinstance(first, int) else first
            case "initialize":
                return result(message, greeting())
            case "notifications/initialized":
                return 202, "text/plain", b""
            case "tools/call":
                return result(message, {"content": []})
            case _:
                return 405, "text/plain", b""

    async with listening(scripted(answer, heard)) as url, Client(url) as client:
        assert client.revision == "2025-11-25"
        assert (await client.call_tool("x")).content == []
    assert heard[:3] == ["server/discover", "initialize", "notifications/initialized"]


@pytest.mark.parametrize(
    ("status", "complaint"),
    [(401, "401"), (403, "403"), (500, "500"), (503, "503"), (302, "redirects to")],
)
async def test_over_http_refusals_and_outages_are_no_evidence_of_an_era(
    status: int, complaint: str
):
    heard: list[str] = []
    async with listening(scripted(lambda message: (status, "text/plain", b""), heard)) as url:
        with pytest.raises(PeerError, match=complaint):
            await Client(url).connect()
    assert heard == ["server/discover"]


async def test_over_http_a_modern_server_that_wants_it_said_again_is_asked_again():
    tries: list[int] = []

    def answer(message: Json) -> Reply:
        tries.append(1)
        if len(tries) == 1:
            return error(message, -32022, 400, {"supported": [MODERN], "requested": MODERN})
        return result(message, discovery())

    async with listening(scripted(answer, [])) as url, Client(url) as client:
        assert client.revision == MODERN


async def test_over_http_other_revisions_end_it_with_both_lists():
    def answer(message: Json) -> Reply:
        return error(message, -32022, 400, {"supported": ["2099-01-01"], "requested": MODERN})

    async with listening(scripted(answer, [])) as url:
        with pytest.raises(ConnectFailed, match="speaks 2099-01-01; we speak 2026-07-28"):
            await Client(url).connect()


async def test_over_http_a_server_that_is_not_there_says_so():
    async with listening(App(Server("s"))) as url:
        pass
    with pytest.raises(ConnectFailed, match="Nothing answers at"):
        await Client(url).connect()


async def test_over_http_a_server_that_never_answers_times_out():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with listening(app) as url:
        with pytest.raises(TimedOut, match=r"was not ready within 0.2 s"):
            await Client(url, connect_timeout=0.2).connect()


async def test_over_http_a_session_that_the_server_forgot_is_begun_anew():
    """2025-11-25 § Transports: on 404 a client MUST start a new session; the call is sent again."""
    server = Server("s")

    @server.tool
    async def echo(text: str) -> str:
        return text

    @server.resource("note://{id}")
    def note(id: str) -> str:
        return id

    apps = [App(server)]

    async def front(scope: Any, receive: Any, send: Any) -> None:
        await apps[-1](scope, receive, send)

    updates: asyncio.Queue[str] = asyncio.Queue()
    changes: list[str] = []
    async with listening(front) as url:
        client = Client(
            url, revision="legacy", on_update=updates.put_nowait, on_change=changes.append
        )
        async with client:
            await client.subscribe("note://1")
            apps.append(App(server))
            results = await asyncio.gather(
                *(client.call_tool("echo", {"text": str(number)}) for number in range(5))
            )
            assert [result.text for result in results] == list("01234")
            assert await soon(updates.get()) == "note://1"
            assert changes == ["tools", "resources"]
            server.updated("note://1")
            assert await soon(updates.get()) == "note://1"
        for app in apps:
            await app.stop()
