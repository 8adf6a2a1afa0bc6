"""What the table of single conversations cannot say of our HTTP server: what it remembers, waits for,
bounds, and how it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.peers import Desk, Latch, ask, echo, hello, modern, said, soon
from tests.transport.http.host import mirrored
from tests.transport.http.test_h1_table import Talk, stays

from interlock import Server
from interlock.protocol.call import Call, Principal
from interlock.protocol.gate import Denial, RawHeaders
from interlock.server.web import At, serve_http
from interlock.transport.http import h1
from interlock.transport.http.asgi import App
from interlock.transport.http.familiar import REMEMBERED
from interlock.transport.http.h1 import H1, AsgiApp, Connection, Limits
from interlock.transport.http.turn import AHEAD
from interlock.wire.meta import Result
from interlock.wire.notices import PROGRESS, ProgressNotice


class Place:
    """A server of ours and the ways to it."""

    def __init__(self, app: AsgiApp, limits: Limits | None) -> None:
        self.app = app
        self.shared = H1(app, app if isinstance(app, App) else None, limits)
        self.port = 0

    @property
    def connections(self) -> list[Connection]:
        return list(self.shared.connections)

    @asynccontextmanager
    async def talk(self, room: int = 0) -> AsyncGenerator[Talk]:
        """A connection; *room* is how many bytes its client has room for before it reads."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as end:
            if room:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
            end.setblocking(False)
            await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", self.port))
            yield Talk(end)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let the loop turn until something holds that no event tells."""
        async with asyncio.timeout(5):
            while not holds():  # noqa: ASYNC110  there is none
                await asyncio.sleep(0)


@asynccontextmanager
async def place(app: AsgiApp, limits: Limits | None = None) -> AsyncGenerator[Place]:
    here = Place(app, limits)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(here.shared), "127.0.0.1", 0)
    here.port = server.sockets[0].getsockname()[1]
    here.shared.start()
    try:
        yield here
    finally:
        server.close()
        if isinstance(app, App):
            app.close()
        here.shared.close()
        await here.shared.drain(0)
        if isinstance(app, App):
            await app.stop()


def post(body: bytes, *, path: str = "/mcp", version: str = "1.1", **headers: str) -> bytes:
    """*body* as a client posts it, with the headers that mirror it if it is modern."""
    fields: dict[str, Any] = {
        "host": "localhost",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    if b"io.modelcontextprotocol/protocolVersion" in body:
        fields |= mirrored(body)
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"POST {path} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def call(name: str, id: Any = 1, text: str = "") -> bytes:
    return modern("tools/call", id, {"name": name, "arguments": {"text": text}})


async def answered(talk: Talk) -> tuple[int, bytes]:
    answer = await talk.answer()
    assert answer is not None
    return answer


# What is remembered.


async def test_nothing_of_one_request_is_taken_for_another_however_often_heads_come_again():
    async with place(App(Desk(echo=echo))) as here, here.talk() as talk:
        for turn in range(50):
            text = f"{turn % 7:05}"
            await talk.send(post(call("echo", turn % 10, text)))
            status, body = await answered(talk)
            assert (status, f'"id":{turn % 10}'.encode() in body) == (200, True)
            assert text.encode() in body
        (connection,) = here.connections
        assert 1 <= len(connection._familiar.heads) <= REMEMBERED  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(("heads", "known"), [(REMEMBERED, REMEMBERED), (2 * REMEMBERED, 0)])
async def test_however_many_heads_take_turns_each_gets_its_own_answer(heads: int, known: int):
    async with place(App(Desk(echo=echo))) as here, here.talk() as talk:
        for turn in range(4 * REMEMBERED):
            data = post(call("echo", turn, f"text {turn}"), x=str(turn % heads))
            await talk.send(data)
            assert f"text {turn}".encode() in (await answered(talk))[1]
        (connection,) = here.connections
        assert len(connection._familiar.heads) == known  # pyright: ignore[reportPrivateUsage]


async def test_a_head_is_known_whatever_the_length_of_its_body():
    async with place(App(Desk(echo=echo))) as here, here.talk() as talk:
        for length in (1, 30_000, 7, 61_000, 300):
            await talk.send(post(call("echo", length, "q" * length)))
            status, body = await answered(talk)
            assert (status, body.count(b"q")) == (200, length)
        (connection,) = here.connections
        assert len(connection._familiar.heads) == 1  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (b"0", 400),  # A body that is none is no JSON.
        (b"", 400),
        (b"+5", 400),
        (b"-5", 400),
        (b"5,5", 400),
        (b"5 5", 400),
        (b"0x5", 400),
        (b"5\r\nContent-Length: 5", 400),
        (b"99999999999", 413),
        (b"1" * 30, 400),
        ("\N{ARABIC-INDIC DIGIT FIVE}".encode(), 400),
    ],
)
async def test_a_length_that_is_none_is_refused_though_the_rest_is_known(
    length: bytes, status: int
):
    data = post(call("echo", 1, "hello"))
    head, _, body = data.partition(b"\r\n\r\n")
    number = b"%d" % len(body)
    assert head.count(b"ength: " + number) == 1
    wrong = head.replace(b"ength: " + number, b"ength: " + length) + b"\r\n\r\n"
    async with place(App(Desk(echo=echo))) as here, here.talk() as talk:
        await talk.send(data)
        assert (await answered(talk))[0] == 200
        await talk.send(wrong)
        assert (await answered(talk))[0] == status


async def test_a_known_head_does_not_lift_the_limit_of_a_body():
    async with place(App(Desk(echo=echo), body_limit=1000)) as here, here.talk() as talk:
        await talk.send(post(call("echo", 1, "hello")))
        assert (await answered(talk))[0] == 200
        await talk.send(post(call("echo", 1, "x" * 1000)))
        assert (await answered(talk))[0] == 413


@pytest.mark.parametrize("cut", [1, 50, 200, -1, -20])
async def test_a_head_that_is_known_is_read_again_when_it_comes_in_pieces(cut: int):
    data = post(call("echo", 1, "hello"))
    async with place(App(Desk(echo=echo))) as here, here.talk() as talk:
        for _ in range(3):
            await talk.send(data + data[:cut])
            await talk.send(data[cut:])
            for _ in range(2):
                assert b"hello" in (await answered(talk))[1]
        assert await stays(talk)


@pytest.mark.parametrize("said", [{"origin": "https://evil.example"}, {"host": "evil.example"}])
async def test_a_head_that_was_refused_is_not_remembered(said: dict[str, str]):
    async with place(App(Desk(echo=echo))) as here, here.talk() as talk:
        for _ in range(2):
            await talk.send(post(call("echo"), **said))
            assert (await answered(talk))[0] == 403
        (connection,) = here.connections
        assert not connection._familiar.heads  # pyright: ignore[reportPrivateUsage]


class Doorkeeper:
    """Lets in until it is told not to."""

    resource = ""

    def __init__(self) -> None:
        self.documents: Mapping[str, bytes] = {}
        self.open = True
        self.seen: list[bytes] = []

    async def admit(
        self, method: str, path: str, query: bytes, headers: RawHeaders
    ) -> Principal | Denial:
        self.seen += [value for name, value in headers if name == b"authorization"]
        return Principal() if self.open else Denial(401, "not any more")

    def short(self, principal: Principal, scopes: Collection[str]) -> Denial:
        return Denial(403, "more is needed")

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def test_a_gate_that_changes_its_mind_is_asked_with_each_request_though_its_head_is_known():
    gate = Doorkeeper()
    async with place(App(Desk(echo=echo), gate=gate)) as here, here.talk() as talk:
        data = post(call("echo"), authorization="Bearer x")
        await talk.send(data * 2)
        assert [(await answered(talk))[0] for _ in range(2)] == [200, 200]
        gate.open = False
        await talk.send(data)
        assert (await answered(talk))[0] == 401
        gate.open = True
        await talk.send(data)
        assert (await answered(talk))[0] == 200
        assert gate.seen == [b"Bearer x"] * 4


async def test_what_one_connection_says_of_itself_is_not_said_for_another():
    gate = Doorkeeper()
    async with (
        place(App(Desk(echo=echo), gate=gate)) as here,
        here.talk() as one,
        here.talk() as other,
    ):
        await one.send(post(call("echo"), authorization="Bearer one"))
        await other.send(post(call("echo"), authorization="Bearer two"))
        await one.send(post(call("echo"), authorization="Bearer one"))
        for talk in (one, other, one):
            assert (await answered(talk))[0] == 200
    assert sorted(gate.seen) == [b"Bearer one", b"Bearer one", b"Bearer two"]


# Many at once, and what waits.


async def test_hundreds_of_pipelined_requests_are_answered_in_order_and_others_get_their_turn():
    async with place(App(Desk(echo=echo))) as here, here.talk() as talk, here.talk() as other:
        number = 10 * h1.IN_A_ROW
        many = b"".join(post(call("echo", n, "x")) for n in range(number))
        sending = asyncio.create_task(talk.send(many))
        await other.send(post(call("echo", "other")))
        assert (await answered(other))[0] == 200
        for n in range(number):
            assert f'"id":{n},'.encode() in (await answered(talk))[1] + b","
        await soon(sending)
        assert await stays(talk)


async def test_a_client_that_goes_on_while_a_call_runs_is_not_read_from_beyond_a_bound():
    latch = Latch()
    async with place(App(Desk(wait=latch, echo=echo))) as here, here.talk() as talk:
        await talk.send(post(call("wait")))
        await soon(latch.reached.wait())
        number = 1000
        one = post(call("echo", 7, "x" * 3000))
        sending = asyncio.create_task(talk.send(one * number))
        (connection,) = here.connections
        await here.until(lambda: connection._held)  # pyright: ignore[reportPrivateUsage]
        kept = len(connection._ahead)  # pyright: ignore[reportPrivateUsage]
        assert AHEAD < kept < AHEAD + 2**19
        latch.go.set()
        assert b"let go" in (await answered(talk))[1]
        for _ in range(number):
            assert b'"id":7' in (await answered(talk))[1]
        await soon(sending)
        assert await stays(talk)


@pytest.mark.parametrize("size", [70_000, 300_000, 3_000_000])
async def test_a_connection_goes_on_after_a_long_body(size: int):
    async with place(App(Desk(echo=echo))) as here, here.talk() as talk:
        for turn in range(3):
            data = post(call("echo", turn, "x" * size))
            sending = asyncio.create_task(talk.send(data))
            status, body = await answered(talk)
            assert (status, len(body) > size) == (200, True)
            await soon(sending)
        assert await stays(talk)


async def test_a_long_body_in_chunks_arrives_whole():
    body = call("echo", 1, "x" * 500_000)
    pieces = [body[at : at + 7777] for at in range(0, len(body), 7777)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    head = post(body).partition(b"\r\n\r\n")[0]
    head = head.replace(b"content-length: %d" % len(body), b"transfer-encoding: chunked")
    async with place(App(Desk(echo=echo))) as here, here.talk() as talk:
        for _ in range(2):
            sending = asyncio.create_task(talk.send(head + b"\r\n\r\n" + chunks))
            status, answer = await answered(talk)
            assert (status, b"x" * 500_000 in answer) == (200, True)
            await soon(sending)
        assert await stays(talk)


async def test_a_client_that_expects_to_be_told_is_told_when_its_body_is_wanted_and_not_before():
    async with place(App(Desk(echo=echo))) as here, here.talk() as talk:
        data = post(call("echo", 1, "hello"), expect="100-continue")
        head, separator, body = data.partition(b"\r\n\r\n")
        await talk.send(head + separator)
        while b"\r\n\r\n" not in talk.data:
            assert await talk._more()  # pyright: ignore[reportPrivateUsage]
        assert talk.data == b"HTTP/1.1 100 Continue\r\n\r\n"
        talk.data = b""
        await talk.send(body)
        assert b"hello" in (await answered(talk))[1]
        await talk.send(head.replace(b"localhost", b"evil.example") + separator)
        while await talk._more():  # pyright: ignore[reportPrivateUsage]
            pass
        assert talk.data.startswith(b"HTTP/1.1 403 ")


# Who leaves.


@pytest.mark.parametrize("more", [0, 1, 5])
async def test_a_client_that_leaves_has_its_call_cancelled_though_it_has_asked_for_more(more: int):
    latch = Latch()
    async with place(App(Desk(wait=latch, echo=echo))) as here:
        async with here.talk() as talk:
            await talk.send(post(call("wait")) + post(call("echo")) * more)
            await soon(latch.reached.wait())
        await soon(latch.cancelled.wait())
        await here.until(lambda: not here.connections)


async def test_a_client_that_leaves_after_a_long_body_has_its_call_cancelled():
    latch = Latch()
    async with place(App(Desk(wait=latch))) as here:
        async with here.talk() as talk:
            sending = asyncio.create_task(talk.send(post(call("wait", 1, "x" * 300_000))))
            await soon(latch.reached.wait())
            await soon(sending)
        await soon(latch.cancelled.wait())


async def test_a_legacy_call_goes_on_when_its_client_leaves():
    latch = Latch()
    app = App(Desk(wait=latch))
    async with place(app) as here:
        async with here.talk() as talk:
            await talk.send(post(hello()))
            assert (await answered(talk))[0] == 200
            (session,) = app.sessions._sessions  # pyright: ignore[reportPrivateUsage]
            await talk.send(post(ask("tools/call", 1, {"name": "wait"}), mcp_session_id=session))
            await soon(latch.reached.wait())
        await here.until(lambda: not here.connections)
        assert not latch.cancelled.is_set()
        latch.go.set()


@pytest.mark.parametrize("cut", range(0, 420, 30))
async def test_a_client_that_leaves_anywhere_in_a_request_leaves_nothing_behind(cut: int):
    async with place(App(Desk(echo=echo))) as here:
        for data in (post(call("echo")), post(call("echo"), content_length="100000")):
            async with here.talk() as talk:
                await talk.send(data[:cut])
            await here.until(lambda: not here.connections)
        await here.until(lambda: len(asyncio.all_tasks()) == 1)


# Who is slow.

HURRIED = Limits(
    head_seconds=0.1, body_seconds=0.1, idle_seconds=0.1, stall_seconds=0.1, head_size=4096
)


async def test_a_connection_that_says_nothing_is_closed_and_one_that_was_answered_too():
    async with place(App(Desk(echo=echo)), HURRIED) as here:
        async with here.talk() as talk:
            assert await talk.answer() is None
        async with here.talk() as talk:
            await talk.send(post(call("echo")))
            assert (await answered(talk))[0] == 200
            assert await talk.answer() is None


async def test_a_call_may_take_longer_than_anything_its_client_may_take():
    latch = Latch()
    async with place(App(Desk(wait=latch)), HURRIED) as here, here.talk() as talk:
        await talk.send(post(call("wait")))
        await soon(latch.reached.wait())
        async with here.talk() as idle:
            assert await idle.answer() is None
        latch.go.set()
        assert b"let go" in (await answered(talk))[1]


@pytest.mark.parametrize(
    "data",
    [
        post(call("echo"))[:-1],
        post(call("echo"), content_length="100000"),
        post(call("echo"), content_length="100000")[:-80],
        post(b"5\r\nhello\r\n", transfer_encoding="chunked").replace(
            b"content-length: 10\r\n", b""
        ),
    ],
    ids=["short", "long", "long and half", "chunks"],
)
async def test_a_body_that_stops_coming_is_told_so(data: bytes):
    async with place(App(Desk(echo=echo)), HURRIED) as here, here.talk() as talk:
        await talk.send(data)
        status, body = await answered(talk)
        assert (status, b"too long" in body) == (408, True)
        assert await talk.answer() is None
        await here.until(lambda: len(asyncio.all_tasks()) == 1)


async def test_a_body_by_drops_is_told_so_too():
    limits = Limits(head_seconds=0.2, body_seconds=0.2, idle_seconds=0.2)
    async with place(App(Desk(echo=echo)), limits) as here, here.talk() as talk:
        await talk.send(post(call("echo"), content_length="100000"))

        async def drip() -> None:
            while not talk.over:
                await talk.send(b" ")

        dripping = asyncio.create_task(drip())
        assert (await answered(talk))[0] == 408
        talk.over = True
        await soon(dripping)


async def big(call: Call) -> Result:
    return said("x" * 40_000_000)


async def test_who_does_not_read_a_large_answer_is_closed_and_costs_no_more_than_it():
    async with place(App(Desk(big=big)), Limits(stall_seconds=0.2)) as here:
        async with here.talk(room=4096) as talk:
            await talk.send(post(call("big")) * 5)
            await here.until(lambda: any(each.paused for each in here.connections))
            (connection,) = here.connections
            size = connection._transport.get_write_buffer_size()  # pyright: ignore[reportPrivateUsage]
            assert size < 41_000_000
            del connection
            await here.until(lambda: not here.connections)
        await here.until(lambda: len(asyncio.all_tasks()) == 1)


async def test_who_reads_a_large_answer_slowly_gets_all_of_it():
    async with (
        place(App(Desk(big=big)), Limits(stall_seconds=0.3)) as here,
        here.talk() as talk,
    ):
        await talk.send(post(call("big"), connection="close"))
        status, body = await answered(talk)
        assert (status, len(body) > 40_000_000) == (200, True)
        assert await talk.answer() is None


async def test_who_reads_all_but_the_end_of_its_last_answer_is_closed():
    async with (
        place(App(Desk(big=big)), Limits(stall_seconds=0.3)) as here,
        here.talk() as talk,
    ):
        await talk.send(post(call("big"), connection="close"))
        await here.until(lambda: any(each.paused for each in here.connections))
        (connection,) = here.connections
        while connection.paused:
            assert await talk._more()  # pyright: ignore[reportPrivateUsage]
            talk.data = b""
        del connection
        await here.until(lambda: not here.connections)


# Streams and ends.


async def steps(call: Call) -> Result:
    assert call.outlet is not None
    for step in range(3):
        call.outlet.notify(PROGRESS, ProgressNotice(progress_token="t", progress=step))
        await call.outlet.drain()
    return said("done")


async def everything(talk: Talk) -> bytes:
    while await talk._more():  # pyright: ignore[reportPrivateUsage]
        pass
    return talk.data


async def test_a_stream_comes_in_chunks():
    async with place(App(Desk(steps=steps))) as here, here.talk() as talk:
        for _ in range(2):
            await talk.send(post(call("steps")))
            status, body = await answered(talk)
            assert (status, body.count(b"data: ")) == (200, 4)
        assert await stays(talk)


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
async def test_a_stream_to_http_1_0_ends_with_its_connection(connection: str):
    async with place(App(Desk(steps=steps))) as here, here.talk() as talk:
        await talk.send(post(call("steps"), version="1.0", connection=connection))
        head, _, body = (await everything(talk)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert body.count(b"data: ") == 4
        assert body.startswith((b"data:", b"event:", b":"))


async def test_at_the_end_streams_get_their_last_event_and_the_idle_are_closed():
    listen = modern("subscriptions/listen", 5, {"notifications": {"toolsListChanged": True}})
    server = Server("ends", version="1")

    @server.tool
    def nothing() -> str:
        return ""

    app = App(server)
    loop = asyncio.get_running_loop()
    async with (
        place(app) as here,
        here.talk() as stream,
        here.talk() as idle,
        here.talk() as half,
    ):
        await stream.send(post(listen))
        while b"acknowledged" not in stream.data:
            assert await stream._more()  # pyright: ignore[reportPrivateUsage]
        await idle.send(post(modern("server/discover")))
        assert (await answered(idle))[0] == 200
        await half.send(b"POST /mcp HT")
        began = loop.time()
        app.close()
        here.shared.close()
        await here.shared.drain(1)
        data = await everything(stream)
        assert b'"id":5' in data
        assert data.endswith(b"0\r\n\r\n")
        assert await idle.answer() is None
        assert await half.answer() is None
        assert loop.time() - began < 1


async def test_who_comes_while_the_server_ends_is_told():
    latch = Latch()
    async with place(App(Desk(wait=latch))) as here, here.talk() as talk, here.talk() as late:
        await talk.send(post(call("wait")))
        await soon(latch.reached.wait())
        await here.until(lambda: len(here.connections) == 2)
        here.shared.close()
        await late.send(post(call("wait")))
        assert await late.answer() is None
        async with here.talk() as later:
            assert (await answered(later))[0] == 503
        latch.go.set()
        assert b"let go" in (await answered(talk))[1]
        assert await talk.answer() is None


# How many.


async def test_beyond_the_cap_who_comes_is_told_to_come_again():
    latch = Latch()
    limits = Limits(connections=2)
    async with (
        place(App(Desk(wait=latch)), limits) as here,
        here.talk() as one,
        here.talk() as two,
    ):
        for talk in (one, two):
            await talk.send(post(call("wait")))
        await here.until(lambda: len(latch.calls) == 2)
        async with here.talk() as three:
            status, body = await answered(three)
            assert (status, b"Too many" in body) == (503, True)
            assert await three.answer() is None
        latch.go.set()
        for talk in (one, two):
            assert b"let go" in (await answered(talk))[1]


async def test_the_idle_give_way_and_those_that_have_only_come_do_not():
    limits = Limits(connections=2, head_seconds=0.1)  # The tick is a tenth of a second too.
    async with (
        place(App(Desk(echo=echo)), limits) as here,
        here.talk() as one,
        here.talk() as two,
    ):
        await one.send(post(call("echo")))
        assert (await answered(one))[0] == 200
        statuses: set[int] = set()
        while 200 not in statuses:
            async with here.talk() as another:
                await another.send(post(call("echo"), connection="close"))
                statuses.add((await answered(another))[0])
        assert 503 in statuses, "those that have only come gave way"
        assert await one.answer() is None
        assert await two.answer() is None


# Where else.


def certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@asynccontextmanager
async def served(app: App, **options: Any) -> AsyncGenerator[int]:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_http(app, "127.0.0.1", 0, port.set_result, **options))
    await asyncio.wait([serving, port], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield port.result()
    finally:
        app.close()
        serving.cancel()
        await asyncio.wait([serving])
        gc.unfreeze()


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for turn in range(3):
        writer.write(post(call("echo", turn, "x" * 100_000 * turn)))
        head = await soon(reader.readuntil(b"\r\n\r\n"))
        assert head.startswith(b"HTTP/1.1 200 ")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert f'"id":{turn}'.encode() in await soon(reader.readexactly(length))
    writer.write(b"GET nonsense\r\n\r\n")
    assert (await soon(reader.read())).startswith(b"HTTP/1.1 400 ")
    writer.close()
    with contextlib.suppress(OSError):
        await soon(writer.wait_closed())


@pytest.mark.parametrize("server", ["h1", "uvicorn"])
async def test_tls(tmp_path: Path, server: str):
    path = certificate(tmp_path)
    context = ssl.create_default_context(cafile=path)
    async with served(App(Desk(echo=echo)), at=At(certificate=path), server=server) as port:
        await converse(
            *await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="localhost"
            )
        )
        # What is no TLS ends no server.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(call("echo")))
        assert b"HTTP" not in await soon(reader.read())
        writer.close()
        await converse(
            *await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="localhost"
            )
        )


async def test_a_handshake_may_take_as_long_as_a_head(tmp_path: Path):
    at = At(certificate=certificate(tmp_path))
    async with served(App(Desk(echo=echo)), at=at, limits=Limits(head_seconds=0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await soon(reader.read()) == b""
        writer.close()


@pytest.mark.parametrize("server", ["h1", "uvicorn"])
async def test_unix_sockets(tmp_path: Path, server: str):
    path = tmp_path / "s"
    async with served(App(Desk(echo=echo)), at=At(unix=path), server=server):
        assert path.stat().st_mode & 0o077 == 0
        await converse(*await asyncio.open_unix_connection(path))
    assert not path.exists()


@pytest.mark.parametrize("server", ["h1", "uvicorn"])
async def test_tcp_by_either_server(server: str):
    async with served(App(Desk(echo=echo)), server=server) as port:
        await converse(*await asyncio.open_connection("127.0.0.1", port))


# Other apps.


async def test_an_app_that_fails_or_says_nothing_is_answered_for(caplog: pytest.LogCaptureFixture):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raises":
            raise ValueError("no")

    for path in ("raises", "silent"):
        async with place(app) as here, here.talk() as talk:
            await talk.send(f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert (await answered(talk))[0] == 500
            assert await talk.answer() is None
    assert [record.message for record in caplog.records] == ["GET /raises failed"]


async def test_half_an_answer_is_not_taken_for_a_whole_one():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async with place(app) as here, here.talk() as talk:
        await talk.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        data = await everything(talk)
        assert not data.endswith(b"0\r\n\r\n")


async def test_an_app_that_reads_behind_its_answer_is_told_that_it_is_over():
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        heard.set_result((await soon(waiting))["type"])

    async with place(app) as here, here.talk() as talk:
        await talk.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await answered(talk))[0] == 204
        assert await soon(heard) == "http.disconnect"
