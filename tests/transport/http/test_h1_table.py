"""Every case of the table over a real socket, however its bytes are cut, and the same at uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest
from tests.peers import Desk, soon
from tests.transport.http.h1_cases import CASES, Answer, Case

from interlock.server.web import serve_http
from interlock.transport.http.asgi import App
from interlock.transport.http.h1 import H1, Connection, Limits

HURRIED = Limits(head_seconds=0.1, body_seconds=0.1, idle_seconds=0.1)
"""For what is not whole: it ends by time, and no test waits long for that."""
SHORT = 200
"""Up to so many bytes a case is cut at each of them."""
PROBE = b"GET /probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def h1(limits: Limits | None = None) -> AsyncGenerator[int]:
    """The port of a server of ours."""
    app = App(Desk())
    shared = H1(app, app, limits)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(shared), "127.0.0.1", 0
    )
    shared.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        app.close()
        shared.close()
        await shared.drain(1)
        await app.stop()


class Talk:
    """Our end of a connection, read answer by answer."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.data = b""
        self.over = False

    async def send(self, data: bytes) -> None:
        """Write, and let the server read it before anything else is written."""
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self.socket, data)
        except OSError:
            return  # It was refused already.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _more(self) -> bool:
        if not self.over:
            try:
                piece = await soon(asyncio.get_running_loop().sock_recv(self.socket, 65536), 5)
            except ConnectionResetError:
                piece = b""
            self.over = not piece
            self.data += piece
        return not self.over

    async def answer(self, *, bodiless: bool = False) -> tuple[int, bytes] | None:
        """The next answer's status and body; None if the connection has ended."""
        while b"\r\n\r\n" not in self.data:
            if not await self._more():
                assert self.data == b"", "an answer broke off"
                return None
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = int(lines[0].split(b" ")[1])
        assert lines[0].startswith(b"HTTP/1.1 ")
        if status == 100:
            return await self.answer(bodiless=bodiless)
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(b":") for line in lines[1:])}
        assert len(fields) == len(lines) - 1, "a field is there twice"
        if bodiless or status == 204:
            return status, b""
        if fields.get(b"transfer-encoding") == b"chunked":
            body = b""
            while size := int(await self._line(), 16):
                body += await self._take(size)
                assert await self._line() == b""
            assert await self._line() == b""
            return status, body
        return status, await self._take(int(fields[b"content-length"]))

    async def _line(self) -> bytes:
        while b"\r\n" not in self.data:
            assert await self._more()
        line, _, self.data = self.data.partition(b"\r\n")
        return line

    async def _take(self, size: int) -> bytes:
        taken = bytearray()
        while len(taken) + len(self.data) < size:
            taken += self.data
            self.data = b""
            assert await self._more()
        rest = size - len(taken)
        taken += self.data[:rest]
        self.data = self.data[rest:]
        return bytes(taken)


@asynccontextmanager
async def talking(port: int) -> AsyncGenerator[Talk]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", port))
        yield Talk(end)


async def stays(talk: Talk) -> bool:
    """Whether one more request is answered, and then no more; nothing else may come before it."""
    await talk.send(PROBE)
    answered = await talk.answer()
    if answered is None:
        return False
    assert answered[0] == 404
    assert b"/probe" in answered[1], f"an answer that nobody asked for: {answered}"
    assert await talk.answer() is None
    return True


async def check(port: int, case: Case, pieces: Iterator[bytes]) -> None:
    async with talking(port) as talk:
        for piece in pieces:
            await talk.send(piece)
        for expected in case.answers:
            answered = await talk.answer(bodiless=expected.bodiless)
            assert answered is not None, "it closed without an answer"
            assert answered[0] in (expected.status, expected.other), answered
            assert expected.part in answered[1]
        if case.stays:
            assert await stays(talk)
        else:
            assert await talk.answer() is None


def cuts(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    if len(data) > 2000:
        yield [data[at : at + 1000] for at in range(0, len(data), 1000)]
        return
    yield [data[at : at + 1] for at in range(len(data))]
    if len(data) <= SHORT:
        for at in range(1, len(data)):
            yield [data[:at], data[at:]]


every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def test_the_table_is_large_and_says_why():
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.section[0].isdigit()
        statuses = tuple(answer.status for answer in case.answers)
        assert case.uvicorn in (None, statuses) or case.why, case.name


@every_case
async def test_each_is_answered_or_refused_however_its_bytes_come(case: Case):
    async with h1(HURRIED if case.slow else None) as port:
        for number, pieces in enumerate(cuts(case.data)):
            if case.slow and number and len(case.data) <= 2000:
                break  # Each would take its time.
            await check(port, case, iter(pieces))


async def test_uvicorn_does_the_same_or_the_row_says_what_it_does():
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    app = App(Desk())
    serving = asyncio.create_task(
        serve_http(app, "127.0.0.1", 0, port.set_result, server="uvicorn")
    )
    differ = [
        f"{case.name}: {found} for {[answer.status for answer in expected]}"
        for case in CASES
        if (found := await at_uvicorn(await port, case, expected := at_theirs(case)))
        not in ([each.status for each in expected], [each.other for each in expected])
    ]
    app.close()
    serving.cancel()
    await asyncio.wait([serving])
    assert not differ, "\n".join(differ)


def at_theirs(case: Case) -> list[Answer]:
    """What uvicorn answers."""
    if case.uvicorn is None:
        return [] if case.slow else list(case.answers)
    marks = [answer.bodiless for answer in case.answers] + [False] * len(case.uvicorn)
    return [
        Answer(status, bodiless=mark) for status, mark in zip(case.uvicorn, marks, strict=False)
    ]


async def at_uvicorn(port: int, case: Case, expected: list[Answer]) -> list[int]:
    found: list[int] = []
    async with talking(port) as talk:
        await talk.send(case.data)
        for answer in expected:
            try:
                answered = await talk.answer(bodiless=answer.bodiless)
            except TimeoutError:
                break
            if answered is None:
                break
            found.append(answered[0])
    return found
