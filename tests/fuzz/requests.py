"""Our HTTP server under fire by requests that are hardly any: mutations of the table's cases and of
valid conversations, over real sockets, and at the protocol itself where that is too slow for many.

There every connection must, once nothing runs, have been closed or have a time at which it is; and
that time, when it is made to come, must end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import httptools
from tests.fuzz.mangling import bytewise, cut
from tests.fuzz.watching import Weight, Wrong, nothing_left, watching
from tests.peers import LATEST, Desk, ask, echo, hello, modern, said, say
from tests.transport.http.h1_cases import CASES
from tests.transport.http.host import mirrored

from interlock.protocol.call import Call
from interlock.transport.http.asgi import App
from interlock.transport.http.familiar import Familiar, Room
from interlock.transport.http.h1 import H1, Connection, Limits
from interlock.transport.http.heads import Asked
from interlock.transport.http.sessions import Sessions
from interlock.wire.meta import Result

OPEN: Final = 64
"""Connections over sockets at once."""
ALIKE: Final = 0.05
"""Of how many it is seen that what a connection remembers changes nothing."""
PING_EVERY: Final = 2000
PATIENCE: Final = 10.0

LINES: Final = (
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length: 99999",
    b"Content-Length: 18446744073709551615",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: Upgrade",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Host: localhost",
    b"Host: evil.example",
    b"Origin: https://evil.example",
    b"Accept: text/event-stream",
    b"Mcp-Session-Id: gone",
    b" folded",
    b"",
    b"0",
    b"5;x=y",
    b"X: " + b"x" * 3000,
    b"POST /mcp HTTP/1.1",
    b"GET /mcp HTTP/1.0",
    b"HEAD /x HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1",
    b"PRI * HTTP/2.0",
)
NUMBERS: Final = (
    b"0",
    b"1",
    b"-1",
    b"30",
    b"31",
    b"1e",
    b"65536",
    b"99999999",
    b"9" * 19,
    b"9" * 30,
)


async def wait(call: Call) -> Result:
    await asyncio.get_running_loop().create_future()
    return said("never")


async def big(call: Call) -> Result:
    return said("x" * 66_000)


_OWN: Final = re.compile(rb"\r\n(?:date|mcp-session-id): [^\r]*")
"""What no two answers have in common."""


def desk() -> Desk:
    return Desk(echo=echo, wait=wait, big=big)


def spoken(body: bytes, **more: str) -> bytes:
    fields: dict[str, Any] = {
        "Host": "localhost",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **more,
    }
    lines = ["POST /mcp HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _calls() -> list[bytes]:
    bodies = [
        modern("server/discover"),
        modern("tools/list"),
        *(modern("tools/call", 1, {"name": name}) for name in ("echo", "big", "wait")),
        modern("tools/call", 1, {"name": "echo", "arguments": {"x": "y" * 70_000}}),
    ]
    headed = [
        spoken(body, **{k: v for k, v in mirrored(body).items() if v is not None})
        for body in bodies
    ]
    old = [hello(), say("notifications/initialized"), ask("tools/list")]
    return [*headed, *(spoken(body, **{"MCP-Protocol-Version": LATEST}) for body in old)]


CALLS: Final = _calls()
SEEDS: Final = [*CALLS, *(case.data for case in CASES if 0 < len(case.data) < 10_000)]


def mutated(chance: random.Random) -> bytes:
    """One or several requests, of which something may be wrong."""
    count = 1 if chance.random() < 0.6 else chance.randint(2, 5)
    pool = CALLS if chance.random() < 0.3 else SEEDS
    data = b"".join(chance.choice(pool) for _ in range(count))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 4))):
        match chance.randrange(5):
            case 0:
                data = _by_line(chance, data)
            case 1:
                data = _by_number(chance, data)
            case 2:
                at = chance.randint(0, len(data))
                data = data[:at] + chance.choice(SEEDS) + data[at:]
            case _:
                data = bytewise(chance, data, SEEDS)
    return data


def _by_line(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    at = chance.randrange(len(lines))
    match chance.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            lines[at] = chance.choice(LINES)
        case 3:
            other = chance.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines.insert(at, chance.choice(LINES))
    return chance.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r")).join(lines)


def _by_number(chance: random.Random, data: bytes) -> bytes:
    name = chance.choice((b"Content-Length: ", b"HTTP/1.", b"\r\n"))
    split = data.partition if chance.random() < 0.5 else data.rpartition
    before, found, after = split(name)
    return (
        before
        + found
        + chance.choice(NUMBERS)
        + (after if chance.random() < 0.3 else b"")
        + (b"" if chance.random() < 0.5 else after[after.find(b"\r\n") :])
    )


class Line(asyncio.Transport):
    """A transport whose other end is the fuzzer."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.written: list[bytes] = []
        self.reading = True
        self.closed = False
        self._ended = False
        self._loop = asyncio.get_running_loop()
        connection.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._ended:
            raise RuntimeError("written to after its end")
        if not self.closed:
            self.written.append(bytes(data))

    def write_eof(self) -> None:
        if self.closed:
            raise RuntimeError("ended after it was closed")
        self._ended = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.call_soon(self.connection.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1)


class _Answers:
    """Reads what came back, as a client would."""

    count = 0

    def on_message_complete(self) -> None:
        self.count += 1


async def at_protocol(seed: str, count: int) -> str:
    """*count* mutations at connections in this process."""
    where = "HTTP requests, at the protocol"
    chance = random.Random(f"{seed} requests")
    answers = 0
    with watching(where):
        app = App(desk(), sessions=Sessions(limit=20))
        shared = H1(app, app)
        shared.start()
        await app.start()
        weight = Weight()
        for number in range(1, count + 1):
            data = mutated(chance)
            try:
                answers += await _one(shared, data, chance)
                if chance.random() < ALIKE:
                    await _alike(shared, data)
            except Exception as error:
                raise Wrong(f"{where}: request {number}, {error!r}, {data[:3000]!r}") from error
            if number % PING_EVERY == 0:
                await _ping(shared)
            if number == count // 5:
                gc.collect()
                weight.warm()
        await _ping(shared)
        if shared.connections:
            raise Wrong(f"{where}: {len(shared.connections)} connections are left")
        grown = weight.judge(where)
        app.close()
        shared.close()
        await shared.drain(0)
        await app.stop()
        await nothing_left(where)
    return f"{where}: {count} sent, {answers} answers, {grown // 1024} KiB grown"


async def _one(shared: H1, data: bytes, chance: random.Random) -> int:
    """A connection from its beginning to its end; how many answers came."""
    connection = Connection(shared)
    line = Line(connection)
    for piece in [data] if chance.random() < 0.4 else cut(chance, data):
        if not await _reads(connection, line):
            break
        if not piece:
            continue
        connection.data_received(piece)
        if chance.random() < 0.1:
            connection.pause_writing()
            await asyncio.sleep(0)
            connection.resume_writing()
        if chance.random() < 0.3:
            await asyncio.sleep(0)
    for _ in range(4):
        await asyncio.sleep(0)
    if not line.closed and chance.random() < 0.5:
        await _by_time(connection, line)
    elif not line.closed:
        connection.eof_received()
        line.close()
    await _until(lambda: connection not in shared.connections)
    return _judge(b"".join(line.written), data)


class _Forgetful(Connection):
    """A connection that reads each head as if it were the first."""

    __slots__ = ()

    def __init__(self, server: H1) -> None:
        super().__init__(server)
        self._familiar = _Nobody(0, Room())


class _Nobody(Familiar):
    """Whom nothing is familiar to."""

    __slots__ = ()

    def learn(self, head: bytes, asked: Asked) -> None:
        pass


async def _alike(shared: H1, data: bytes) -> None:
    said: list[bytes] = []
    for kind in (Connection, _Forgetful):
        connection = kind(shared)
        line = Line(connection)
        connection.data_received(data)
        for _ in range(60):
            await asyncio.sleep(0)
        line.close()
        await _until(lambda c=connection: c not in shared.connections)
        said.append(_OWN.sub(b"", b"".join(line.written)))
    if said[0] != said[1]:
        raise Wrong(f"remembering changes {said[1][:1000]!r} into {said[0][:1000]!r}")


async def _reads(connection: Connection, line: Line) -> bool:
    """Whether more is read from a client; if not, something must be there that ends."""
    for _ in range(10):
        if line.closed or line.reading:
            return not line.closed
        await asyncio.sleep(0)
    if connection._turn is None:  # pyright: ignore[reportPrivateUsage]
        raise Wrong("nothing runs on it, and nothing more is read")
    return False


async def _by_time(connection: Connection, line: Line) -> None:
    """Let time pass until the connection is closed."""
    came = 0
    for _ in range(100):
        if line.closed:
            return
        if connection.deadline:
            came += 1
            connection.expire()
        elif connection._turn is None:  # pyright: ignore[reportPrivateUsage]
            raise Wrong("nothing runs on it, and nothing ends it")
        if came > 4:
            raise Wrong("its time has come four times, and it is still there")
        await asyncio.sleep(0)
    line.close()  # A call runs, which may.


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0)
    raise Wrong("it hangs")


def _judge(written: bytes, data: bytes) -> int:
    """What was written must be answers, one after another, and nothing behind a last one."""
    if not written:
        return 0
    if b"HEAD" in data:
        if not written.startswith(b"HTTP/1.1 "):
            raise Wrong(f"no answer: {written[:200]!r}")
        return 1
    answers = _Answers()
    httptools.HttpResponseParser(answers).feed_data(written)
    return answers.count


async def _ping(shared: H1) -> None:
    connection = Connection(shared)
    line = Line(connection)
    connection.data_received(CALLS[0])
    await _until(lambda: bool(line.written))
    written = b"".join(line.written)
    line.close()
    await _until(lambda: connection not in shared.connections)
    if not written.startswith(b"HTTP/1.1 200 ") or b'"result"' not in written:
        raise Wrong(f"a ping was answered with {written[:500]!r}")


class _Client(asyncio.Protocol):
    """Sends its pieces, and is gone when the server or its own chance says so."""

    def __init__(self, pieces: Iterable[bytes], leaving: float) -> None:
        self._pieces = list(pieces)
        self._leaving = leaving
        self.came = bytearray()
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by name
        self._next()

    def _next(self) -> None:
        transport = self._transport
        if transport.is_closing():
            return
        if self._pieces:
            transport.write(self._pieces.pop(0))
            asyncio.get_running_loop().call_soon(self._next)
        elif self._leaving < 0.6:
            with contextlib.suppress(OSError):  # It was sent away in this moment.
                transport.write_eof()
        elif self._leaving < 0.7:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self.came += data
        if self._leaving > 0.75:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set_result(None)


async def over_sockets(seed: str, count: int) -> str:
    """*count* mutations over sockets, some of whose clients wait until they are sent away."""
    where = "HTTP requests, over sockets"
    chance = random.Random(f"{seed} sockets")
    limits = Limits(head_seconds=0.3, body_seconds=0.3, idle_seconds=0.3, stall_seconds=0.3)
    loop = asyncio.get_running_loop()
    with watching(where):
        app = App(Desk(echo=echo, wait=echo, big=big), sessions=Sessions(limit=20))
        shared = H1(app, app, limits)
        server = await loop.create_server(lambda: Connection(shared), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        shared.start()
        await app.start()
        weight = Weight()
        running: set[asyncio.Future[None]] = set()
        for number in range(1, count + 1):
            data = mutated(chance)
            pieces = [data] if chance.random() < 0.5 else cut(chance, data)
            leaving = chance.random()
            _, client = await loop.create_connection(
                lambda p=pieces, at=leaving: _Client(p, at), "127.0.0.1", port
            )
            running.add(client.over)
            if len(running) >= OPEN:
                async with asyncio.timeout(PATIENCE):
                    _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if number == count // 5:
                gc.collect()
                weight.warm()
        if running:
            _, hung = await asyncio.wait(running, timeout=PATIENCE)
            if hung:
                raise Wrong(f"{where}: {len(hung)} connections hang")
        _, last = await loop.create_connection(lambda: _Client([CALLS[0]], 1), "127.0.0.1", port)
        await asyncio.wait_for(last.over, PATIENCE)
        if not last.came.startswith(b"HTTP/1.1 200 "):
            raise Wrong(f"{where}: a ping was answered with {bytes(last.came[:500])!r}")
        grown = weight.judge(where)
        async with asyncio.timeout(PATIENCE):
            while shared.connections:  # noqa: ASYNC110  there is none for it
                await asyncio.sleep(0)
        server.close()
        app.close()
        shared.close()
        await shared.drain(0)
        await app.stop()
        await nothing_left(where)
    return f"{where}: {count} sent, {grown // 1024} KiB grown"
