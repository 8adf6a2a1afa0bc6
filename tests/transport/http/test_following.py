"""A stream on its way out over one connection."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from tests.peers import soon

from interlock.transport.http.following import follow
from interlock.transport.http.streams import Keep, Stream, Streams
from interlock.wire import sse


class Connection:
    """A GET: what was sent on it, and whether its client is still there."""

    def __init__(self) -> None:
        self.events: list[MutableMapping[str, Any]] = []
        self.sent = asyncio.Event()
        self.broken = False
        self._leaves = asyncio.Event()

    async def receive(self) -> MutableMapping[str, Any]:
        await self._leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: MutableMapping[str, Any]) -> None:
        if self.broken:
            raise BrokenPipeError
        self.events.append(event)
        self.sent.set()

    def leave(self) -> None:
        self._leaves.set()

    async def follow(
        self, stream: Stream, after: int = 0, *, keep_alive: float = 1000, prime: bool = False
    ) -> None:
        await follow(stream, after, self.receive, self.send, [], keep_alive=keep_alive, prime=prime)

    async def pieces(self, count: int) -> list[bytes]:
        """The first pieces of the body."""
        while len(self.events) <= count:
            self.sent.clear()
            await soon(self.sent.wait())
        return [event["body"] for event in self.events[1 : count + 1]]

    @property
    def said(self) -> list[bytes]:
        body = b"".join(event["body"] for event in self.events[1:])
        return [event.data for event in sse.Reader().feed(body)]


@pytest.fixture
async def stream() -> Stream:
    return Streams(Keep()).open()


async def test_a_stream_is_followed_from_a_place_to_its_end(stream: Stream):
    for word in (b"a", b"b"):
        stream.add(word)
    connection = Connection()
    following = asyncio.create_task(connection.follow(stream, 1))
    await connection.pieces(2)
    stream.add(b"c")
    stream.end()
    await soon(following)
    assert connection.events[0]["status"] == 200
    assert connection.said == [b"b", b"c"]
    assert not connection.events[-1].get("more_body")
    assert stream.reader is None


async def test_something_goes_out_at_once(stream: Stream):
    for prime in (False, True):
        connection = Connection()
        following = asyncio.create_task(connection.follow(stream, stream.last, prime=prime))
        (first,) = await connection.pieces(1)
        assert first.startswith(b"id: " if prime else b":")
        connection.leave()
        await soon(following)


async def test_silence_is_filled_with_signs_of_life(stream: Stream):
    connection = Connection()
    following = asyncio.create_task(connection.follow(stream, keep_alive=0))
    assert all(piece.startswith(b":") for piece in await connection.pieces(4))
    stream.end()
    await soon(following)


async def test_a_client_that_leaves_ends_it_and_the_stream_waits(stream: Stream):
    connection = Connection()
    following = asyncio.create_task(connection.follow(stream))
    await connection.pieces(1)
    connection.leave()
    await soon(following)
    assert stream.reader is None
    stream.add(b"later")
    assert b"later" in stream.read(0, lambda: None).pull()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_connection_that_breaks_is_no_failure_of_ours(stream: Stream, begun: bool):
    connection = Connection()
    connection.broken = not begun
    following = asyncio.create_task(connection.follow(stream))
    if begun:
        await connection.pieces(1)
        connection.broken = True
        stream.add(b"lost")
    await soon(following)
    assert stream.reader is None


async def test_another_connection_takes_its_place(stream: Stream):
    first, second = Connection(), Connection()
    one = asyncio.create_task(first.follow(stream))
    await first.pieces(1)
    two = asyncio.create_task(second.follow(stream))
    await soon(one)
    stream.add(b"a")
    stream.end()
    await soon(two)
    assert (first.said, second.said) == ([], [b"a"])
