"""What a peer can get wrong, as one table over every transport: the right answer, and life goes on.

Each row is sent in the middle of a working conversation. What comes back must be what the table
says, valid by the official schema, and the same conversation must still answer a call afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol, TypeAlias

import aiohttp
import hypercorn.asyncio
import hypercorn.config
import pytest
import uvicorn
from tests.official import complaint
from tests.peers import LATEST, MODERN, ask, hello, meta, modern, reply, say, soon
from tests.transport.http.host import BOTH, Host, mirrored

from interlock import Server
from interlock.transport.duplex import serve
from interlock.transport.http.asgi import App
from interlock.transport.http.h1 import H1, Connection
from interlock.transport.stdio import Claimed, StdioChannel
from interlock.wire.meta import CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, PROTOCOL_VERSION

PARSE, INVALID, METHOD, PARAMS, VERSION, HEADERS = -32700, -32600, -32601, -32602, -32022, -32020
SILENCE = "silence"
"""Nothing on stdio, 202 over HTTP."""
TOOL = "tool"
"""A result with `isError`: the model is to see what it got wrong (SEP-1303)."""
LIMIT = 500_000

Verdict: TypeAlias = int | str


class Row(NamedTuple):
    name: str
    data: bytes
    verdict: Verdict
    status: int
    """Over HTTP; on stdio there is none."""
    id: Any = 1
    """What the answer echoes; None where the id was not legible."""


def noise(name: str, data: bytes, verdict: Verdict, id: Any = None) -> Row:
    return Row(name, data, verdict, 400, id)


def deep(opening: bytes, closing: bytes, levels: int) -> bytes:
    return opening * levels + b"1" + closing * levels


def body(members: str) -> bytes:
    return b'{"jsonrpc":"2.0",%b}' % members.encode()


NOISE = [
    noise("half an object", b'{"jsonrpc":"2.0","id":1,"method":"pi', PARSE),
    noise("no JSON at all", b"hello?", PARSE),
    noise("an HTTP request line", b"POST /mcp HTTP/1.1", PARSE),
    noise("single quotes", b"{'jsonrpc':'2.0','id':1,'method':'ping'}", PARSE),
    noise("a trailing comma", body('"id":1,"method":"ping",'), PARSE),
    noise("a comment", body('"id":1,/* hi */"method":"ping"'), PARSE),
    noise("two objects", body('"id":1,"method":"ping"') * 2, PARSE),
    noise("something after the object", body('"id":1,"method":"ping"') + b";", PARSE),
    noise("a byte order mark", b"\xef\xbb\xbf" + body('"id":1,"method":"ping"'), PARSE),
    noise("UTF-16", body('"id":1,"method":"ping"').decode().encode("utf-16-be"), PARSE),
    noise("binary noise", bytes(b for b in range(256) if b not in b"\r\n"), PARSE),
    noise("zero bytes", b"\x00" * 64, PARSE),
    noise("compressed data", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\x56", PARSE),
    noise("not a number", body('"id":1,"method":"ping","params":{"x":NaN}'), PARSE),
    noise("infinity", body('"id":1,"method":"ping","params":{"x":-Infinity}'), PARSE),
    noise("a leading zero", body('"id":01,"method":"ping"'), PARSE),
    noise("a raw control character", body('"id":1,"method":"pi\x01ng"'), PARSE),
    noise("an unknown escape", body(r'"id":1,"method":"\x70ing"'), PARSE),
    noise("a lone surrogate in the method", body(r'"id":1,"method":"\ud83d"'), PARSE),
    noise(
        "a lone surrogate in params", body(r'"id":1,"method":"a","params":{"x":"\ud83d."}'), PARSE
    ),
    noise("an encoded surrogate", b'{"jsonrpc":"2.0","id":1,"method":"\xed\xa0\x80"}', PARSE),
    noise("overlong UTF-8", b'{"jsonrpc":"2.0","id":1,"method":"\xc0\xaf"}', PARSE),
    noise("cut UTF-8", b'{"jsonrpc":"2.0","id":1,"method":"\xf0\x9f\x98"}', PARSE),
    noise("deep arrays", b'{"params":%b}' % deep(b"[", b"]", 100_000), PARSE),
    noise("deep objects", deep(b'{"a":', b"}", 50_000), PARSE),
    noise("deep and never closed", b'{"a":' + b"[" * 100_000, PARSE),
    noise("null", b"null", INVALID),
    noise("a number", b"42", INVALID),
    noise("a string", b'"ping"', INVALID),
    noise("an empty array", b"[]", INVALID),
    noise("a batch", b"[%b]" % ask("ping"), INVALID),
    noise("a batch of nonsense", b"[1,2,3]", INVALID),
    noise("an empty object", b"{}", INVALID),
    noise("no jsonrpc", b'{"id":1,"method":"ping"}', INVALID, 1),
    noise("another jsonrpc", b'{"jsonrpc":"1.0","id":1,"method":"ping"}', INVALID, 1),
    noise("jsonrpc as a number", b'{"jsonrpc":2.0,"id":"x","method":"ping"}', INVALID, "x"),
    noise("no method", body('"id":0'), INVALID, 0),
    noise("no method, but params", body('"id":"","params":{}'), INVALID, ""),
    noise("a method of null", body('"id":1,"method":null'), INVALID, 1),
    noise("a method of number", body('"id":1,"method":7'), INVALID, 1),
    noise("a method of object", body('"id":1,"method":{}'), INVALID, 1),
    noise("an id of null", body('"id":null,"method":"ping"'), INVALID),
    noise("an id of float", body('"id":1.5,"method":"ping"'), INVALID),
    noise("an id of whole float", body('"id":1.0,"method":"ping"'), INVALID),
    noise("an id of exponent", body('"id":1e3,"method":"ping"'), INVALID),
    noise("an id of bool", body('"id":true,"method":"ping"'), INVALID),
    noise("an id of array", body('"id":[1],"method":"ping"'), INVALID),
    noise("an id of object", body('"id":{"a":1},"method":"ping"'), INVALID),
    noise("an id of 5000 digits", body('"id":%s,"method":"ping"' % ("9" * 5000)), INVALID),
]
"""What is no message in any era."""

CALL: dict[str, Any] = {"name": "echo", "arguments": {"text": "x"}}
MANY = 10**30


def both_eras(name: str, method: str, params: Any, verdict: Verdict, status: int = 0) -> list[Row]:
    """The same mistake in both eras; in the modern one `_meta` is right where params allow one."""
    stamped = {**params, "_meta": {**meta(), **params.get("_meta", {})}}
    modern_status = status or (400 if verdict == PARAMS else 404 if verdict == METHOD else 200)
    return [
        Row(f"{name} (legacy)", ask(method, params=params), verdict, 200),
        Row(f"{name} (modern)", ask(method, params=stamped), verdict, modern_status),
    ]


PAIRS = [
    *both_eras("an unknown method", "tools/explode", {}, METHOD),
    *both_eras("a method without a name", "", {}, METHOD),
    *both_eras("a method in capitals", "Tools/List", {}, METHOD),
    *both_eras("a notification's method with an id", "notifications/cancelled", {}, METHOD),
    *both_eras("what only a client answers", "sampling/createMessage", {}, METHOD),
    *both_eras("a call without a name", "tools/call", {"arguments": {}}, PARAMS),
    *both_eras("a call with a name of null", "tools/call", {"name": None}, PARAMS),
    *both_eras("a call with a name of number", "tools/call", {"name": 1}, PARAMS),
    *both_eras("a call with a name of array", "tools/call", {"name": ["echo"]}, PARAMS),
    *both_eras("a call of an unknown tool", "tools/call", {"name": "nobody"}, PARAMS, 200),
    *both_eras("arguments of array", "tools/call", {**CALL, "arguments": ["x"]}, PARAMS, 200),
    *both_eras("arguments of string", "tools/call", {**CALL, "arguments": "x"}, PARAMS, 200),
    *both_eras("arguments of a wrong type", "tools/call", {**CALL, "arguments": {"text": 1}}, TOOL),
    *both_eras("arguments that lack one", "tools/call", {**CALL, "arguments": {}}, TOOL),
    *both_eras("no arguments", "tools/call", {"name": "echo"}, TOOL),
    *both_eras("huge arguments", "tools/call", {**CALL, "arguments": {"text": MANY}}, TOOL),
    *both_eras("a read without a URI", "resources/read", {}, PARAMS),
    *both_eras("a read with a URI of number", "resources/read", {"uri": 1}, PARAMS),
    *both_eras("a prompt without a name", "prompts/get", {}, PARAMS),
    *both_eras("an unknown prompt", "prompts/get", {"name": "nobody"}, PARAMS, 200),
    *both_eras(
        "prompt arguments of number", "prompts/get", {"name": "p", "arguments": {"a": 1}}, PARAMS
    ),
    *both_eras("a cursor of number", "tools/list", {"cursor": 1}, PARAMS),
    *both_eras("a cursor of our own making", "tools/list", {"cursor": "!!!"}, PARAMS, 200),
    *both_eras("a completion of nothing", "completion/complete", {}, PARAMS),
    *both_eras(
        "a progress token of float", "tools/list", {"_meta": {"progressToken": 0.5}}, PARAMS
    ),
    *both_eras(
        "a progress token of object", "tools/list", {"_meta": {"progressToken": {}}}, PARAMS
    ),
    *both_eras(
        "params nested deep", "tools/list", {"cursor": json.loads("[" * 400 + "]" * 400)}, PARAMS
    ),
]

LEGACY_ROWS = [
    *(row for row in PAIRS if row.name.endswith("(legacy)")),
    Row("params of null", ask("tools/list", params=None), PARAMS, 200),
    Row("params of array", ask("tools/list", params=[]), PARAMS, 200),
    Row("params of number", ask("tools/list", params=1), PARAMS, 200),
    Row("params of string", ask("tools/list", params="x"), PARAMS, 200),
    Row("a _meta of array", ask("tools/list", params={"_meta": []}), PARAMS, 200),
    Row("a call without params", ask("tools/call"), PARAMS, 200),
    Row("a second handshake", hello(id=1), INVALID, 400),
    Row("a second handshake without params", ask("initialize"), INVALID, 400),
    Row("a method of the other era", ask("server/discover"), METHOD, 200),
    Row("a subscription of the other era", ask("subscriptions/listen"), METHOD, 200),
    Row("a resource that is not there", ask("resources/read", params={"uri": "a:b"}), -32002, 200),
    Row("a level that is none", ask("logging/setLevel", params={"level": "loud"}), PARAMS, 200),
    Row("a subscription to nothing", ask("resources/subscribe", params={}), PARAMS, 200),
    Row("a result that nobody asked for", reply(99, {}), SILENCE, 202),
    Row("a result for our own question", reply("s1", {}), SILENCE, 202),
    Row(
        "an error that nobody asked for",
        body('"id":9,"error":{"code":1,"message":"x"}'),
        SILENCE,
        202,
    ),
    Row("an error for nothing", body('"id":null,"error":{"code":1,"message":"x"}'), SILENCE, 202),
    Row("a result without an id", body('"result":{}'), SILENCE, 202),
    Row("an unknown notification", say("notifications/nonsense"), SILENCE, 202),
    Row("a notification with bad params", say("notifications/initialized", []), SILENCE, 202),
    Row(
        "a cancellation of nothing", say("notifications/cancelled", {"requestId": 77}), SILENCE, 202
    ),
    Row(
        "a malformed cancellation", say("notifications/cancelled", {"requestId": {}}), SILENCE, 202
    ),
    Row("a cancellation without params", say("notifications/cancelled"), SILENCE, 202),
    Row(
        "progress of nothing",
        say("notifications/progress", {"progressToken": 5, "progress": 1}),
        SILENCE,
        202,
    ),
    Row("a request's method without an id", say("tools/call", CALL), SILENCE, 202),
]


def without(*keys: str, **changed: Any) -> bytes:
    """A modern `tools/list` whose `_meta` lacks *keys*."""
    return ask("tools/list", params={"_meta": {k: v for k, v in meta().items() if k not in keys}})


def stamped(**changed: Any) -> bytes:
    keys = {
        "version": PROTOCOL_VERSION,
        "capabilities": CLIENT_CAPABILITIES,
        "info": CLIENT_INFO,
        "level": LOG_LEVEL,
    }
    return ask("tools/list", params={"_meta": meta() | {keys[k]: v for k, v in changed.items()}})


MODERN_ROWS = [
    *(row for row in PAIRS if row.name.endswith("(modern)")),
    Row("no capabilities", without(CLIENT_CAPABILITIES), PARAMS, 400),
    Row("capabilities of null", stamped(capabilities=None), PARAMS, 400),
    Row("capabilities of array", stamped(capabilities=[]), PARAMS, 400),
    Row("a capability of number", stamped(capabilities={"sampling": 1}), PARAMS, 400),
    Row("a version of number", stamped(version=20260728), PARAMS, 400),
    Row("a version of null", stamped(version=None), PARAMS, 400),
    Row("a version to come", stamped(version="2099-01-01"), VERSION, 400),
    Row("a version gone by", stamped(version="2025-11-25"), VERSION, 400),
    Row("a version without text", stamped(version=""), VERSION, 400),
    Row("client info of string", stamped(info="x"), PARAMS, 400),
    Row("client info without a name", stamped(info={"version": "1"}), PARAMS, 400),
    Row("a level that is none", stamped(level="loud"), PARAMS, 400),
    Row("a ping, which is gone", modern("ping"), METHOD, 404),
    Row("a handshake, which is gone", modern("initialize"), METHOD, 404),
    Row("a level to set, which is gone", modern("logging/setLevel"), METHOD, 404),
    Row(
        "a resource that is not there", modern("resources/read", params={"uri": "a:b"}), PARAMS, 200
    ),
    Row("a subscription without a filter", modern("subscriptions/listen"), PARAMS, 400),
]

DISCOVER = ask("server/discover")
HEADER_ROWS: list[tuple[str, bytes, dict[str, str | None], int]] = [
    ("no version", modern("tools/call", params=CALL), {"mcp-protocol-version": None}, HEADERS),
    ("another version", modern("tools/list"), {"mcp-protocol-version": "2025-11-25"}, HEADERS),
    ("an unknown version", modern("tools/list"), {"mcp-protocol-version": "2099-01-01"}, HEADERS),
    ("no method", modern("tools/list"), {"mcp-method": None}, HEADERS),
    ("another method", modern("tools/list"), {"mcp-method": "tools/call"}, HEADERS),
    ("a method in capitals", modern("tools/list"), {"mcp-method": "TOOLS/LIST"}, HEADERS),
    ("no name", modern("tools/call", params=CALL), {"mcp-name": None}, HEADERS),
    ("another name", modern("tools/call", params=CALL), {"mcp-name": "other"}, HEADERS),
    ("a name in capitals", modern("tools/call", params=CALL), {"mcp-name": "ECHO"}, HEADERS),
    (
        "a name in broken Base64",
        modern("tools/call", params=CALL),
        {"mcp-name": "=?base64?%?="},
        HEADERS,
    ),
    ("a name in raw Latin-1", modern("tools/call", params=CALL), {"mcp-name": "caf\xe9"}, HEADERS),
    ("modern headers without _meta", ask("tools/list"), mirrored(modern("tools/list")), PARAMS),
    ("a modern method without anything", DISCOVER, {}, PARAMS),
    ("a legacy method without a session", ask("tools/list"), {}, INVALID),
    ("a session that is not there", ask("tools/list"), {"mcp-session-id": "gone"}, -32001),
    ("a session of nonsense", ask("tools/list"), {"mcp-session-id": "\xff \x7f"}, -32001),
    ("a handshake in a session that is not there", hello(), {"mcp-session-id": "gone"}, -32001),
    ("an answer without a session", reply(1, {}), {}, INVALID),
    ("another host", modern("tools/list"), {"host": "evil.example.com"}, INVALID),
    ("another origin", modern("tools/list"), {"origin": "https://evil.example.com"}, INVALID),
    ("an origin of null", modern("tools/list"), {"origin": "null"}, INVALID),
    ("text for JSON", modern("tools/list"), {"content-type": "text/plain"}, INVALID),
    ("a form for JSON", modern("tools/list"), {"content-type": "multipart/form-data"}, INVALID),
    ("no type", modern("tools/list"), {"content-type": None}, INVALID),
    ("packed JSON", modern("tools/list"), {"content-encoding": "gzip"}, INVALID),
    ("nothing that it takes", modern("tools/list"), {"accept": "image/png"}, INVALID),
    ("a length of words", modern("tools/list"), {"content-length": "many"}, INVALID),
    ("a length beyond all limits", modern("tools/list"), {"content-length": "9" * 15}, INVALID),
]
STATUS = {
    "another host": 403,
    "another origin": 403,
    "an origin of null": 403,
    "text for JSON": 415,
    "a form for JSON": 415,
    "no type": 415,
    "packed JSON": 415,
    "nothing that it takes": 406,
    "a length beyond all limits": 413,
    "a session that is not there": 404,
    "a session of nonsense": 404,
    "a handshake in a session that is not there": 404,
}


def test_the_table_is_large_enough_and_names_its_rows_apart():
    rows = [*NOISE, *LEGACY_ROWS, *MODERN_ROWS]
    assert len(NOISE) + len(PAIRS) // 2 + len(HEADER_ROWS) >= 100
    assert len({row.name for row in NOISE}) == len(NOISE)
    assert len({(row.name, row.data) for row in rows}) == len(rows)


class Peer(Protocol):
    """Our end of a working conversation."""

    async def send(self, row: Row) -> tuple[int | None, list[bytes]]:
        """The HTTP status, and the messages that came back before the next call was answered."""
        ...

    async def echo(self) -> None:
        """Make a call that must be answered."""
        ...


Joined: TypeAlias = Callable[[], Any]


def make_server() -> Server:
    server = Server("table", version="1")

    @server.tool
    async def echo(text: str) -> str:
        return text

    @server.prompt
    def p(a: str) -> str:
        return a

    @server.resource("note://{name}")
    def note(name: str) -> None:
        return None

    return server


def check(revision: str, data: bytes) -> dict[str, Any]:
    message = json.loads(data)
    assert complaint(revision, "JSONRPCMessage", message) is None
    return message


def check_echo(revision: str, data: bytes, text: str) -> None:
    message = check(revision, data)
    assert message["result"]["content"] == [{"type": "text", "text": text}]
    assert complaint(revision, "CallToolResult", message["result"]) is None


class Lines:
    """A conversation over two pipes, written to byte by byte as the row has it."""

    def __init__(self, revision: str, reader: asyncio.StreamReader, sink: asyncio.WriteTransport):
        self.revision = revision
        self.reader = reader
        self.sink = sink
        self.count = 0

    async def line(self) -> bytes:
        return await soon(self.reader.readline())

    def call(self, text: str) -> bytes:
        params = {"name": "echo", "arguments": {"text": text}}
        write = modern if self.revision == MODERN else ask
        return write("tools/call", f"echo-{text}", params)

    async def send(self, row: Row) -> tuple[int | None, list[bytes]]:
        self.sink.write(row.data + b"\n" + self.call("marker") + b"\n")
        came: list[bytes] = []
        while b"echo-marker" not in (line := await self.line()):
            came.append(line)
        check_echo(self.revision, line, "marker")
        return None, came

    async def echo(self) -> None:
        self.count += 1
        self.sink.write(self.call(str(self.count)) + b"\n")
        check_echo(self.revision, await self.line(), str(self.count))


@asynccontextmanager
async def over_pipes(revision: str) -> AsyncGenerator[Lines]:
    (source, far_sink), (far_source, sink) = os.pipe(), os.pipe()
    serving = asyncio.create_task(
        serve(make_server(), await StdioChannel.open(Claimed(source, sink), limit=LIMIT))
    )
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LIMIT * 2)
    incoming, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(far_source, "rb", buffering=0)
    )
    outgoing, _ = await loop.connect_write_pipe(
        asyncio.BaseProtocol, os.fdopen(far_sink, "wb", buffering=0)
    )
    peer = Lines(revision, reader, outgoing)
    if revision != MODERN:
        outgoing.write(hello(revision) + b"\n" + say("notifications/initialized") + b"\n")
        assert json.loads(await peer.line())["result"]["protocolVersion"] == revision
    yield peer
    outgoing.close()
    await soon(serving)
    incoming.close()


class Posts:
    """A conversation over HTTP; *post* sends a body with headers and gives status and body."""

    def __init__(self, revision: str, post: Callable[..., Any]) -> None:
        self.revision = revision
        self.post = post
        self.session: str | None = None
        self.count = 0

    def headers(self, data: bytes) -> dict[str, str | None]:
        if self.revision != MODERN:
            return {"mcp-session-id": self.session}
        try:
            asked = json.loads(data)
            headers = mirrored(data)
            version = asked["params"]["_meta"].get(PROTOCOL_VERSION)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return mirrored(modern("tools/list"))
        if isinstance(version, str):
            headers["mcp-protocol-version"] = version
        return headers

    async def send(self, row: Row) -> tuple[int | None, list[bytes]]:
        status, _, content = await self.post(row.data, self.headers(row.data))
        return status, [content] if content else []

    async def echo(self) -> None:
        self.count += 1
        text = str(self.count)
        params = {"name": "echo", "arguments": {"text": text}}
        data = (modern if self.revision == MODERN else ask)("tools/call", 1, params)
        status, _, content = await self.post(data, self.headers(data))
        assert status == 200
        check_echo(self.revision, content, text)

    async def begin(self) -> None:
        if self.revision != MODERN:
            _, headers, _ = await self.post(hello(self.revision), {})
            self.session = headers["mcp-session-id"]
            await self.post(say("notifications/initialized"), self.headers(b""))


@asynccontextmanager
async def over_asgi(revision: str) -> AsyncGenerator[Posts]:
    app = App(make_server(), body_limit=LIMIT)
    host = Host(app)

    async def post(data: bytes, headers: dict[str, str | None]) -> tuple[int, Any, bytes]:
        asked = host.post(data, headers)
        content = await asked.whole()
        return asked.status, asked.headers, content

    peer = Posts(revision, post)
    await peer.begin()
    yield peer
    await app.stop()


def listening() -> socket.socket:
    # Said to be TCP, or asyncio leaves Nagle's algorithm on and every answer waits for 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


@asynccontextmanager
async def by_ourselves(app: App) -> AsyncGenerator[int]:
    shared = H1(app, app)
    listener = listening()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(shared), sock=listener)
    shared.start()
    yield listener.getsockname()[1]
    app.close()
    server.close()
    shared.close()
    await shared.drain(1)


@asynccontextmanager
async def by_uvicorn(app: App) -> AsyncGenerator[int]:
    listener = listening()
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none")  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield listener.getsockname()[1]
    app.close()
    server.should_exit = True
    await soon(serving)


@asynccontextmanager
async def by_hypercorn(app: App) -> AsyncGenerator[int]:
    listener = listening()
    port = listener.getsockname()[1]
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    config.graceful_timeout = 1.0
    leave = asyncio.Event()
    serving = asyncio.create_task(
        hypercorn.asyncio.serve(app, config, shutdown_trigger=leave.wait)  # type: ignore[arg-type]
    )
    yield port
    app.close()
    leave.set()
    await soon(serving)


SERVERS = {"h1": by_ourselves, "uvicorn": by_uvicorn, "hypercorn": by_hypercorn}


@asynccontextmanager
async def over_socket(revision: str, by: str) -> AsyncGenerator[Posts]:
    app = App(make_server(), body_limit=LIMIT)
    async with SERVERS[by](app) as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/mcp"

        async def post(data: bytes, headers: dict[str, str | None]) -> tuple[int, Any, bytes]:
            sent = {"accept": BOTH, "content-type": "application/json"} | {
                name: value for name, value in headers.items() if value is not None
            }
            async with session.post(url, data=data, headers=sent) as response:
                return response.status, response.headers, await response.read()

        peer = Posts(revision, post)
        await peer.begin()
        yield peer
    await app.stop()


WAYS = {
    "stdio legacy": (over_pipes, LATEST),
    "stdio modern": (over_pipes, MODERN),
    "HTTP legacy": (over_asgi, LATEST),
    "HTTP modern": (over_asgi, MODERN),
}
TABLE = [
    pytest.param(way, row, id=f"{way}: {row.name}")
    for way in WAYS
    for row in [*NOISE, *(MODERN_ROWS if "modern" in way else LEGACY_ROWS)]
]


def judge(row: Row, revision: str, status: int | None, came: list[bytes]) -> None:
    if status is not None:
        assert status == row.status
    if row.verdict == SILENCE:
        assert came == []
        return
    assert len(came) == 1
    message = check(revision, came[0])
    assert message.get("id") == row.id
    assert type(message.get("id")) is type(row.id)
    if row.verdict == TOOL:
        assert message["result"]["isError"] is True
        assert complaint(revision, "CallToolResult", message["result"]) is None
    else:
        assert message["error"]["code"] == row.verdict
        assert len(came[0]) < 2000, "an error repeats what it was sent"


@pytest.mark.parametrize(("way", "row"), TABLE)
async def test_every_row_gets_its_answer_and_the_conversation_goes_on(way: str, row: Row):
    joined, revision = WAYS[way]
    async with joined(revision) as peer:
        for _ in range(2):
            status, came = await peer.send(row)
            judge(row, revision, status, came)
            await peer.echo()


@pytest.mark.parametrize("by", SERVERS)
@pytest.mark.parametrize("revision", [LATEST, MODERN])
async def test_the_whole_table_in_one_conversation_over_a_real_socket(revision: str, by: str):
    async with over_socket(revision, by) as peer:
        for row in [*NOISE, *(MODERN_ROWS if revision == MODERN else LEGACY_ROWS)]:
            status, came = await peer.send(row)
            judge(row, revision, status, came)
        await peer.echo()


@pytest.mark.parametrize("revision", [LATEST, MODERN])
async def test_the_whole_table_in_one_conversation_over_pipes(revision: str):
    async with over_pipes(revision) as peer:
        for row in [*NOISE, *(MODERN_ROWS if revision == MODERN else LEGACY_ROWS)]:
            _, came = await peer.send(row)
            judge(row, revision, None, came)
        await peer.echo()


@pytest.mark.parametrize(
    ("data", "headers", "code", "status"),
    [
        pytest.param(data, headers, code, STATUS.get(name, 400), id=name)
        for name, data, headers, code in HEADER_ROWS
    ],
)
async def test_wrong_headers_are_refused_and_conversations_of_both_eras_go_on(
    data: bytes, headers: dict[str, str | None], code: int, status: int
):
    app = App(make_server())
    host = Host(app)
    session = await host.greet(hello())
    sent = headers
    if PROTOCOL_VERSION.encode() in data:
        sent = {**mirrored(data), **headers}
    for _ in range(2):
        asked = host.post(data, sent)
        error = check(MODERN, await asked.whole())["error"]
        assert (asked.status, error["code"]) == (status, code)
        check_echo(LATEST, await host.legacy(session, ask("tools/call", 1, CALL)).whole(), "x")
        check_echo(MODERN, await host.modern(modern("tools/call", 1, CALL)).whole(), "x")
    await app.stop()


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_too_long_is_refused_and_the_conversation_goes_on(way: str):
    joined, revision = WAYS[way]
    async with joined(revision) as peer:
        for _ in range(2):
            long = ask("tools/call", 1, {"name": "echo", "arguments": {"text": "x" * LIMIT}})
            status, came = await peer.send(Row("too long", long, PARSE, 413))
            if isinstance(peer, Lines) and not came:
                came = [await peer.line()]  # What followed the line overtook the verdict on it.
            message = check(revision, came[0])
            assert message["error"]["code"] == (PARSE if status is None else INVALID)
            assert status in (None, 413)
            assert "id" not in message
            await peer.echo()


@pytest.mark.parametrize("revision", [LATEST, MODERN])
async def test_lines_of_nothing_are_nothing(revision: str):
    async with over_pipes(revision) as peer:
        for data in (b"", b"\n\n\n", b" \t \r\n\r\n"):
            assert await peer.send(Row("blank", data, SILENCE, 0)) == (None, [])
        await peer.echo()


@pytest.mark.parametrize("revision", [LATEST, MODERN])
async def test_a_body_of_nothing_is_a_parse_error(revision: str):
    async with over_asgi(revision) as peer:
        for data in (b"", b" ", b"\r\n"):
            status, came = await peer.send(Row("blank", data, PARSE, 400))
            judge(Row("blank", data, PARSE, 400, None), revision, status, came)
        await peer.echo()


@pytest.mark.parametrize("revision", [LATEST, MODERN])
async def test_many_lines_of_noise_at_once_are_each_answered(revision: str):
    async with over_pipes(revision) as peer:
        noisy = b"\n".join([b"garbage", b"[]", b"\xff\xfe", b"", b"{}"] * 20)
        _, came = await peer.send(Row("noise", noisy, PARSE, 0))
        assert len(came) == 80
        assert {check(revision, line)["error"]["code"] for line in came} == {PARSE, INVALID}
        await peer.echo()


async def test_before_the_handshake_a_legacy_peer_is_told_to_shake_hands():
    async with over_pipes(MODERN) as peer:
        for data in (ask("tools/list"), ask("nonsense"), ask("tools/call", params=CALL)):
            row = Row("too early", data, INVALID, 0)
            status, came = await peer.send(row)
            judge(row, MODERN, status, came)
        peer.sink.write(hello() + b"\n")
        assert "result" in json.loads(await peer.line())
        peer.sink.write(ask("tools/list", 5) + b"\n")
        assert json.loads(await peer.line())["id"] == 5
        await peer.echo()


@pytest.mark.parametrize("revision", [LATEST, MODERN])
async def test_an_id_that_is_in_use_is_refused_without_harm_to_the_call_that_has_it(revision: str):
    server = make_server()
    go = asyncio.Event()

    @server.tool
    async def wait() -> str:
        await go.wait()
        return "waited"

    (source, far_sink), (far_source, sink) = os.pipe(), os.pipe()
    ours = await StdioChannel.open(Claimed(far_source, far_sink))
    serving = asyncio.create_task(serve(server, await StdioChannel.open(Claimed(source, sink))))
    write = modern if revision == MODERN else ask
    if revision != MODERN:
        ours.send(hello())
        await soon(ours.receive())
    for number in (0, 7, "", "seven"):
        go.clear()
        ours.send(write("tools/call", number, {"name": "wait"}))
        ours.send(write("tools/list", number))
        (refused,) = await soon(ours.receive())
        message = check(revision, refused)
        assert (message["id"], message["error"]["code"]) == (number, INVALID)
        go.set()
        (answered,) = await soon(ours.receive())
        assert check(revision, answered)["id"] == number
        assert b"waited" in answered
    await ours.close()
    await soon(serving)


def written(data: bytes, headers: dict[str, str | None]) -> bytes:
    """A POST of *data*, byte by byte as *headers* have it."""
    fields: dict[str, str | None] = {
        "host": "localhost",
        "accept": BOTH,
        "content-type": "application/json",
        "content-length": str(len(data)),
        **headers,
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join(["POST /mcp HTTP/1.1", *lines, "", ""]).encode("latin-1") + data


async def test_wrong_headers_are_refused_by_our_own_server_and_the_next_who_comes_is_answered():
    app = App(make_server())
    async with by_ourselves(app) as port:
        for name, data, headers, code in HEADER_ROWS:
            expected = (STATUS.get(name, 400), code)
            if name == "a session of nonsense":
                # It has a character that no field may have, and is no request at all here.
                expected = (400, INVALID)
            sent = {**mirrored(data), **headers} if PROTOCOL_VERSION.encode() in data else headers
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(written(data, sent))
            head = await soon(reader.readuntil(b"\r\n\r\n"))
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            error = check(MODERN, await soon(reader.readexactly(length)))["error"]
            assert (int(head.split(b" ")[1]), error["code"]) == expected, name
            if b"connection: close" in head:
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            good = modern("tools/call", 1, CALL)
            writer.write(written(good, {**mirrored(good), "connection": "close"}))
            _, _, body = (await soon(reader.read())).partition(b"\r\n\r\n")
            check_echo(MODERN, body, "x")
            writer.close()
    await app.stop()
