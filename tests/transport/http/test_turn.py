"""One request and the way its response goes, on a line that keeps what is written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.peers import soon

from interlock.transport.http.heads import Asked
from interlock.transport.http.plain import Header
from interlock.transport.http.turn import AHEAD, Stationery, Turn, opening


class Wire:
    """A line whose client reads at once, unless it is told to pause."""

    def __init__(self) -> None:
        self.stationery = Stationery([(b"x-fixed", b"1")])
        self.stays = True
        self.paused = False
        self.written = b""
        self.wanted: list[bool] = []
        self.read = asyncio.Event()

    def write(self, *pieces: bytes) -> None:
        self.written += b"".join(pieces)

    async def drained(self) -> None:
        await self.read.wait()

    def read_on(self, *, expected: bool) -> None:
        self.wanted.append(expected)

    @property
    def head(self) -> list[bytes]:
        return self.written.partition(b"\r\n\r\n")[0].split(b"\r\n")

    @property
    def body(self) -> bytes:
        return self.written.partition(b"\r\n\r\n")[2]


def turn(
    wire: Wire,
    method: str = "GET",
    *,
    http11: bool = True,
    more: bool = False,
    expects: bool = False,
    body: bytes = b"",
) -> Turn:
    asked = Asked(method, b"/", "/", b"", [], http11, 0, expects, None)
    return Turn(wire, asked, body, more=more)


async def respond(
    turn: Turn, status: int, *pieces: bytes, headers: list[Header] | None = None
) -> None:
    await turn.send({"type": "http.response.start", "status": status, "headers": headers or []})
    for at, piece in enumerate(pieces):
        more = at < len(pieces) - 1
        await turn.send({"type": "http.response.body", "body": piece, "more_body": more})


async def test_an_answer_is_the_stationery_and_its_length():
    wire = Wire()
    await turn(wire, "POST").answer(wire.stationery.fixed, b"{}")
    assert wire.head[0] == b"HTTP/1.1 200 OK"
    assert {b"content-type: application/json", b"x-fixed: 1", b"content-length: 2"} <= {*wire.head}
    assert any(line.startswith(b"date: ") for line in wire.head)
    assert wire.body == b"{}"


async def test_an_answer_with_headers_of_its_own_and_to_http_1_0_says_the_same():
    for http11, headers in ((True, [(b"a", b"b")]), (False, None)):
        wire = Wire()
        await turn(wire, "POST", http11=http11).answer(headers or wire.stationery.fixed, b"{}")
        assert {b"content-type: application/json", b"content-length: 2"} <= {*wire.head}
        assert (b"connection: keep-alive" in wire.head) == (not http11)


async def test_a_long_answer_arrives_whole():
    for size in (10, 64 * 1024, 64 * 1024 + 1, 10**6):
        wire = Wire()
        await turn(wire).answer(wire.stationery.fixed, b"x" * size)
        assert wire.body == b"x" * size
        wire = Wire()
        await turn(wire).whole(404, [], b"x" * size)
        assert wire.body == b"x" * size


async def test_a_response_in_one_piece_says_its_length():
    wire = Wire()
    await respond(turn(wire), 200, b"abc")
    assert b"content-length: 3" in wire.head
    assert wire.body == b"abc"


async def test_a_response_in_pieces_is_chunked():
    wire = Wire()
    await respond(turn(wire), 200, b"abc", b"", b"x" * 16, b"")
    assert b"transfer-encoding: chunked" in wire.head
    assert wire.body == b"3\r\nabc\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"
    assert wire.stays


async def test_to_http_1_0_pieces_end_with_the_connection():
    wire = Wire()
    await respond(turn(wire, http11=False), 200, b"abc", b"d")
    assert b"connection: close" in wire.head
    assert wire.body == b"abcd"
    assert not wire.stays


async def test_a_length_of_the_app_is_kept_to():
    wire = Wire()
    await respond(turn(wire), 200, b"ab", b"cd", headers=[(b"Content-Length", b"3")])
    assert wire.body == b"abc"
    assert wire.stays
    wire = Wire()
    await respond(turn(wire), 200, b"ab", b"", headers=[(b"content-length", b"3")])
    assert not wire.stays, "what comes next would be taken for its end"


async def test_how_a_body_is_framed_is_not_for_the_app_to_say():
    wire = Wire()
    await respond(turn(wire), 200, b"ab", headers=[(b"Transfer-Encoding", b"chunked")])
    assert b"content-length: 2" in wire.head
    assert wire.body == b"ab"


@pytest.mark.parametrize("status", [204, 304])
async def test_what_has_no_body_has_no_length(status: int):
    for pieces in ((b"",), (b"x", b"")):
        wire = Wire()
        await respond(turn(wire), status, *pieces)
        assert b"content-length" not in wire.written
        assert b"transfer-encoding" not in wire.written
        assert wire.body == b""
    wire = Wire()
    await turn(wire).whole(status, [], b"")
    assert b"content-length" not in wire.written


async def test_a_head_is_answered_without_a_body():
    wire = Wire()
    await respond(turn(wire, "HEAD"), 200, b"", headers=[(b"content-length", b"99")])
    assert b"content-length: 99" in wire.head
    assert wire.body == b""
    wire = Wire()
    await respond(turn(wire, "HEAD"), 200, b"")
    assert b"content-length" not in wire.written, "0 is not what a GET would have had"
    wire = Wire()
    await respond(turn(wire, "HEAD"), 200, b"abc", b"d")
    assert wire.body == b""
    assert wire.stays
    wire = Wire()
    await turn(wire, "HEAD").whole(200, [], b"abc")
    assert b"content-length: 3" in wire.head
    assert wire.body == b""


async def test_a_connection_that_closes_says_so_once():
    wire = Wire()
    await respond(turn(wire), 200, b"", headers=[(b"connection", b"close")])
    assert wire.head.count(b"connection: close") == 1
    assert not wire.stays


async def test_what_is_answered_before_its_body_has_come_closes():
    wire = Wire()
    await respond(turn(wire, "POST", more=True), 404, b"")
    assert b"connection: close" in wire.head
    assert not wire.stays


async def test_nothing_is_sent_behind_the_end_and_to_who_has_left():
    wire = Wire()
    one = turn(wire)
    await respond(one, 200, b"a")
    written = wire.written
    await one.send({"type": "http.response.body", "body": b"b"})
    assert wire.written == written
    one = turn(wire)
    one.leave()
    with pytest.raises(OSError, match="left"):
        await respond(one, 200, b"a")


async def test_what_is_no_part_of_a_response_is_refused():
    with pytest.raises(ValueError, match=r"http\.response\.push"):
        await turn(Wire()).send({"type": "http.response.push"})


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\r\n\r\nb"])
def test_a_header_cannot_begin_another(value: bytes):
    with pytest.raises(ValueError, match="line break"):
        opening(200, [(b"a", value)])
    with pytest.raises(ValueError, match="line break"):
        opening(200, [(value, b"a")])


async def test_who_writes_waits_for_who_reads():
    wire = Wire()
    wire.paused = True
    for sending in (
        turn(wire).answer(wire.stationery.fixed, b"{}"),
        turn(wire).whole(200, [], b""),
        respond(turn(wire), 200, b"a", b"b"),
    ):
        wire.read.clear()
        task = asyncio.create_task(sending)
        await asyncio.sleep(0)
        assert not task.done()
        wire.read.set()
        await soon(task)


# What comes.


async def hear(one: Turn) -> Any:
    return await soon(one.receive())


async def test_a_body_that_is_there_is_handed_over_and_then_the_end_waited_for():
    wire = Wire()
    one = turn(wire, body=b"abc")
    assert await hear(one) == {"type": "http.request", "body": b"abc", "more_body": False}
    waiting = asyncio.create_task(one.receive())
    await asyncio.sleep(0)
    assert not waiting.done()
    await respond(one, 200, b"")
    assert (await soon(waiting))["type"] == "http.disconnect"


async def test_a_body_in_pieces_is_asked_for_and_its_sender_told_once():
    wire = Wire()
    one = turn(wire, more=True, expects=True)
    waiting = asyncio.create_task(one.receive())
    await asyncio.sleep(0)
    assert wire.wanted == [True]
    one.take(b"ab")
    assert await soon(waiting) == {"type": "http.request", "body": b"ab", "more_body": True}
    waiting = asyncio.create_task(one.receive())
    await asyncio.sleep(0)
    assert wire.wanted.count(True) == 1
    one.end()
    assert await soon(waiting) == {"type": "http.request", "body": b"", "more_body": False}


async def test_who_was_answered_is_not_told_to_go_on():
    wire = Wire()
    one = turn(wire, more=True, expects=True)
    await one.send({"type": "http.response.start", "status": 200, "headers": []})
    await one.send({"type": "http.response.body", "body": b"a", "more_body": True})
    waiting = asyncio.create_task(one.receive())
    await asyncio.sleep(0)
    assert wire.wanted == [False]
    one.leave()
    assert (await soon(waiting))["type"] == "http.disconnect"


async def test_what_nobody_asks_for_is_kept_up_to_a_bound():
    one = turn(Wire(), more=True)
    assert one.take(b"x" * (AHEAD - 1))
    assert not one.take(b"x")
    assert (await hear(one))["body"] == b"x" * AHEAD
    assert one.take(b"x")


async def test_who_leaves_is_told_of_whoever_waits():
    one = turn(Wire(), more=True)
    waiting = asyncio.create_task(one.receive())
    left: list[int] = []
    one.watch(lambda: left.append(1))
    await asyncio.sleep(0)
    one.leave()
    assert (await soon(waiting))["type"] == "http.disconnect"
    assert left == [1]
    one.watch(lambda: left.append(2))  # Who watches late hears it too.
    await asyncio.sleep(0)
    assert left == [1, 2]
    other = turn(Wire())
    other.watch(lambda: left.append(3))
    other.unwatch()
    other.leave()
    assert left == [1, 2]
