"""The engine against real sockets on this machine: a scripted server for what goes wrong."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.peers import soon

from interlock.errors import ConnectFailed, ConnectionLost, InvalidMessage, UnsafeUrl
from interlock.transport.http.engine import AiohttpEngine, Request


@asynccontextmanager
async def answering(*script: bytes, hold: bool = False) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """A server that answers each request with the next of *script*, and then hangs up."""
    heads: list[bytes] = []
    answers = list(script)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while answers:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answers.pop(0))
                await writer.drain()
            if hold:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"http://127.0.0.1:{port}/mcp", heads


@asynccontextmanager
async def told(
    *answers: Sequence[str] | Exception,
) -> AsyncGenerator[tuple[AiohttpEngine, list[str]]]:
    """An engine that is told where to connect, by one of *answers* each time it asks."""
    script = list(answers)
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(f"{host}:{port}")
        answer = script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    engine = AiohttpEngine(resolve=resolve)
    yield engine, asked
    await engine.close()


@pytest.fixture
async def engine() -> AsyncGenerator[AiohttpEngine]:
    engine = AiohttpEngine()
    yield engine
    await engine.close()


def response(body: bytes, *headers: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {size}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_a_response_comes_with_status_headers_and_body(engine: AiohttpEngine):
    async with answering(response(b"{}", "Content-Type: application/json")) as (url, heads):
        found = await soon(engine.send(Request("GET", url, {"x-a": "1"})))
        assert found.status == 200
        assert found.headers["content-type"] == "application/json"
        assert found.headers.get("mcp-session-id") is None
        assert await soon(found.read(10)) == b"{}"
        found.close()
        assert b"x-a: 1" in heads[0]
        assert b"GET /mcp HTTP/1.1" in heads[0]


async def test_a_body_is_read_in_pieces_as_it_comes(engine: AiohttpEngine):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    async with answering(head, hold=True) as (url, _):
        found = await soon(engine.send(Request("GET", url, {})))
        pieces = found.pieces()
        assert await soon(anext(pieces)) == b"first"
        found.close()


async def test_a_redirect_is_handed_over_and_not_followed(engine: AiohttpEngine):
    moved = b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with answering(moved) as (url, heads):
        found = await soon(engine.send(Request("POST", url, {}, b"{}")))
        assert (found.status, found.headers["location"]) == (307, "http://127.0.0.1:1/")
        assert len(heads) == 1
        found.close()


async def test_cookies_are_not_kept(engine: AiohttpEngine):
    one = response(b"1", "Set-Cookie: a=b")
    async with answering(one, response(b"2")) as (url, heads):
        for expected in (b"1", b"2"):
            found = await soon(engine.send(Request("GET", url, {})))
            assert await soon(found.read(10)) == expected
            found.close()
        assert b"ookie" not in heads[1]


@pytest.mark.parametrize("length", [None, 400_000])
async def test_a_body_over_the_limit_is_refused(engine: AiohttpEngine, length: int | None):
    async with answering(response(b"x" * 400_000, length=length)) as (url, _):
        found = await soon(engine.send(Request("GET", url, {})))
        with pytest.raises(InvalidMessage, match="1000"):
            await soon(found.read(1000))
        found.close()


async def test_a_body_that_grows_over_the_limit_is_refused_as_it_grows(engine: AiohttpEngine):
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with answering(head + chunk * 10, hold=True) as (url, _):
        found = await soon(engine.send(Request("GET", url, {})))
        with pytest.raises(InvalidMessage, match="more than the 10000"):
            await soon(found.read(10_000))
        found.close()


async def test_a_small_body_that_unpacks_to_a_large_one_is_refused(engine: AiohttpEngine):
    bomb = gzip.compress(b"\0" * 10_000_000)
    async with answering(response(bomb, "Content-Encoding: gzip")) as (url, _):
        found = await soon(engine.send(Request("GET", url, {})))
        with pytest.raises(InvalidMessage):
            await soon(found.read(1_000_000))
        found.close()


async def test_a_packed_body_is_unpacked(engine: AiohttpEngine):
    async with answering(response(gzip.compress(b"{}"), "Content-Encoding: gzip")) as (url, _):
        found = await soon(engine.send(Request("GET", url, {})))
        assert await soon(found.read(100)) == b"{}"
        found.close()


@pytest.mark.parametrize("length", [100, 1_000_000])
async def test_a_body_that_breaks_off_is_a_lost_connection(engine: AiohttpEngine, length: int):
    async with answering(response(b"begun", length=length)) as (url, _):
        found = await soon(engine.send(Request("GET", url, {})))
        with pytest.raises(ConnectionLost, match="broke off"):
            await soon(found.read(10_000_000))
        found.close()


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nConte"])
async def test_what_is_no_http_is_a_lost_connection(engine: AiohttpEngine, answer: bytes):
    async with answering(answer) as (url, _):
        with pytest.raises(ConnectionLost, match="broke off"):
            await soon(engine.send(Request("POST", url, {}, b"{}")))


async def test_nobody_there_is_a_failed_connect(engine: AiohttpEngine):
    async with answering() as (url, _):
        pass
    with pytest.raises(ConnectFailed, match="Nothing answers"):
        await soon(engine.send(Request("GET", url, {})))


async def test_an_address_that_is_none_is_a_failed_connect(engine: AiohttpEngine):
    with pytest.raises(ConnectFailed, match="no URL"):
        await soon(engine.send(Request("GET", "http://:0:/", {})))


async def test_a_closed_engine_opens_nothing_again():
    engine = AiohttpEngine()
    await engine.close()
    await engine.close()
    with pytest.raises(ConnectionLost, match="closed"):
        await engine.send(Request("GET", "http://127.0.0.1:1/", {}))


@pytest.mark.parametrize("begun", [True, False], ids=["in the middle", "before the headers"])
async def test_closing_fails_whoever_still_waits_for_a_response(begun: bool):
    engine = AiohttpEngine()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n" if begun else b""

    async def read(url: str) -> bytes:
        found = await engine.send(Request("GET", url, {}))
        try:
            return b"".join([piece async for piece in found.pieces()])
        finally:
            found.close()

    async with answering(head, hold=True) as (url, heads):
        reading = asyncio.create_task(read(url))
        while not heads:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await engine.close()
        with pytest.raises(ConnectionLost):
            await soon(reading)


def at(url: str, host: str) -> Request:
    return Request("GET", url.replace("127.0.0.1", host), {})


async def test_what_is_connected_to_is_what_the_resolver_says():
    async with answering(response(b"1")) as (url, heads), told(["127.0.0.1"]) as (engine, asked):
        found = await soon(engine.send(at(url, "as.example")))
        assert await soon(found.read(10)) == b"1"
        found.close()
        port = url.split(":")[2].removesuffix("/mcp")
        assert asked == [f"as.example:{port}"]
        assert f"Host: as.example:{port}".encode() in heads[0]


async def test_the_next_address_is_tried_if_nobody_is_at_the_first():
    addresses = ["127.0.0.2", "127.0.0.1"]
    async with answering(response(b"1")) as (url, _), told(addresses) as (engine, asked):
        found = await soon(engine.send(at(url, "as.example")))
        assert found.status == 200
        found.close()
        assert len(asked) == 1


async def test_a_connection_that_is_open_is_not_asked_about_again_and_a_new_one_is():
    last = response(b"2", "Connection: close")
    answers = (["127.0.0.1"], ConnectFailed("asked again"))
    async with answering(response(b"1"), last) as (url, _), told(*answers) as (engine, asked):
        for body in (b"1", b"2"):
            found = await soon(engine.send(at(url, "as.example")))
            assert await soon(found.read(10)) == body
            found.close()
        assert len(asked) == 1
        with pytest.raises(ConnectFailed, match="asked again"):
            await soon(engine.send(at(url, "as.example")))


async def test_a_resolver_that_refuses_is_heard():
    async with told(UnsafeUrl("not there")) as (engine, _):
        with pytest.raises(UnsafeUrl, match="not there"):
            await soon(engine.send(at("http://127.0.0.1/", "as.example")))


@pytest.mark.parametrize("answer", [[], socket.gaierror(socket.EAI_NONAME, "nobody has it")])
async def test_a_host_without_addresses_is_a_failed_connect(answer: Sequence[str] | Exception):
    async with told(answer) as (engine, _):
        with pytest.raises(ConnectFailed, match=r"(no address|nobody has it)"):
            await soon(engine.send(at("http://127.0.0.1/", "as.example")))


def test_a_request_shows_nothing_of_what_it_proves():
    request = Request("POST", "https://as.example/token?hush", {"authorization": "hush"}, b"hush")
    assert repr(request) == "Request(POST https://as.example/token)"


# The pool.


@asynccontextmanager
async def keeping(*, hangs_up: bool = False) -> AsyncGenerator[tuple[str, list[list[bytes]]]]:
    """A server that keeps connections, and the requests that came over each.

    With *hangs_up* it answers the first request of each, and nothing but a farewell to the next.
    """
    connections: list[list[bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests: list[bytes] = []
        connections.append(requests)
        try:
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                if hangs_up and len(requests) > 1:
                    return
                writer.write(response(b"{}"))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"http://127.0.0.1:{port}/mcp", connections
        server.close()


async def ask(engine: AiohttpEngine, url: str, method: str = "GET") -> bytes:
    found = await soon(engine.send(Request(method, url, {})))
    try:
        return await soon(found.read(1000))
    finally:
        found.close()


async def test_a_connection_is_used_again_and_again(engine: AiohttpEngine):
    async with keeping() as (url, connections):
        for _ in range(5):
            assert await ask(engine, url, "POST") == b"{}"
        assert [len(requests) for requests in connections] == [5]
        await engine.close()


async def test_as_many_connections_are_kept_as_were_needed_at_once(engine: AiohttpEngine):
    async with keeping() as (url, connections):
        for _ in range(3):
            await asyncio.gather(*(ask(engine, url, "POST") for _ in range(40)))
        assert len(connections) == 40
        assert sum(map(len, connections)) == 120
        await engine.close()


async def test_a_connection_that_its_server_closed_is_not_used_again(engine: AiohttpEngine):
    closing = response(b"{}", "Connection: close")
    async with answering(closing, closing) as (url, heads):
        for _ in range(2):
            assert await ask(engine, url, "POST") == b"{}"
        assert len(heads) == 2


async def test_what_may_have_been_taken_is_not_sent_again(engine: AiohttpEngine):
    """A server may close an idle connection in the very moment in which we send."""
    async with keeping(hangs_up=True) as (url, connections):
        assert await ask(engine, url, "POST") == b"{}"
        with pytest.raises(ConnectionLost):
            await ask(engine, url, "POST")
        assert [len(requests) for requests in connections] == [2]
        await engine.close()


async def test_what_is_safe_to_ask_twice_is(engine: AiohttpEngine):
    async with keeping(hangs_up=True) as (url, connections):
        assert await ask(engine, url) == b"{}"
        assert await ask(engine, url) == b"{}"
        assert [len(requests) for requests in connections] == [2, 1]
        await engine.close()


async def test_a_response_that_is_not_read_to_its_end_costs_its_connection(engine: AiohttpEngine):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
    async with answering(head, response(b"{}")) as (url, heads):
        found = await soon(engine.send(Request("POST", url, {})))
        found.close()
        assert await ask(engine, url, "POST") == b"{}"
        assert len(heads) == 2


async def test_a_request_that_is_cancelled_closes_its_connection(engine: AiohttpEngine):
    gone = asyncio.Event()
    begun = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        assert await reader.read() == b""
        gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        asking = asyncio.create_task(ask(engine, url, "POST"))
        await soon(begun.wait())
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await soon(gone.wait())
