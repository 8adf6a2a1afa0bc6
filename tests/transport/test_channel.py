"""What every Channel promises, over each that there is."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TypeAlias, TypeVar

import pytest
from tests.transport.http.test_sse2024_client import URL as SSE_URL
from tests.transport.http.test_sse2024_client import SsePeer
from tests.transport.test_websocket import joined

from interlock.transport.channel import HIGH_WATER, Channel
from interlock.transport.http.sse2024_client import open_sse
from interlock.transport.memory import pair
from interlock.transport.process import ProcessChannel
from interlock.transport.stdio import Claimed, StdioChannel

T = TypeVar("T")
Pair: TypeAlias = tuple[Channel, Channel]
Joined: TypeAlias = Callable[[], AbstractAsyncContextManager[Pair]]

PUMP = """
import os, socket, sys, threading
far = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def outward():
    while data := os.read(0, 65536):
        far.sendall(data)
    far.shutdown(socket.SHUT_WR)
threading.Thread(target=outward, daemon=True).start()
while data := far.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""
"""A child that stands between its pipes and a socket of the test."""


@asynccontextmanager
async def in_memory() -> AsyncGenerator[Pair]:
    yield pair()


@asynccontextmanager
async def over_pipes() -> AsyncGenerator[Pair]:
    (source, far_sink), (far_source, sink) = os.pipe(), os.pipe()
    one = await StdioChannel.open(Claimed(source, sink))
    yield one, await StdioChannel.open(Claimed(far_source, far_sink))


@asynccontextmanager
async def over_one_socket() -> AsyncGenerator[Pair]:
    near, far = socket.socketpair()
    yield await over(near), await over(far)


async def over(joined: socket.socket) -> StdioChannel:
    """As `socat EXEC:` would start a server: both descriptors lead to one socket."""
    fd = joined.detach()
    return await StdioChannel.open(Claimed(fd, os.dup(fd)))


@asynccontextmanager
async def through_a_child() -> AsyncGenerator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.setblocking(False)
        port = str(door.getsockname()[1])
        near = await ProcessChannel.start(sys.executable, ["-I", "-S", "-c", PUMP, port], name="x")
        far, _ = await asyncio.get_running_loop().sock_accept(door)
    yield near, await over(far)


@asynccontextmanager
async def over_websocket() -> AsyncGenerator[Pair]:
    async with joined() as (near, far):
        yield near, far


@asynccontextmanager
async def over_sse() -> AsyncGenerator[Pair]:
    peer = SsePeer()
    near = await open_sse(SSE_URL, peer)
    yield near, peer.channel


def turned(joined: Joined) -> Joined:
    """The same pair, looked at from its other end."""

    @asynccontextmanager
    async def other_way_round() -> AsyncGenerator[Pair]:
        async with joined() as (one, other):
            yield other, one

    return other_way_round


@pytest.fixture(
    params=[
        pytest.param(in_memory, id="memory"),
        pytest.param(over_pipes, id="pipes"),
        pytest.param(over_one_socket, id="socket"),
        pytest.param(through_a_child, id="process"),
        pytest.param(turned(through_a_child), id="child"),
        pytest.param(over_websocket, id="websocket"),
        pytest.param(turned(over_websocket), id="websocket served"),
        pytest.param(over_sse, id="sse"),
    ]
)
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    joined: Joined = request.param
    async with joined() as (one, other):
        yield one, other
        await one.close()
        await other.close()


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, 20)


async def take(channel: Channel, count: int) -> list[bytes]:
    taken: list[bytes] = []
    while len(taken) < count:
        batch = await soon(channel.receive())
        assert batch, f"the channel ended after {len(taken)} of {count} messages"
        taken += batch
    return taken


async def test_messages_arrive_whole_and_in_order(ends: Pair):
    one, other = ends
    sent = [b'{"n":%d}' % n for n in range(2000)]
    for message in sent:
        one.send(message)
    assert await take(other, len(sent)) == sent


async def test_both_directions_are_independent(ends: Pair):
    one, other = ends
    one.send(b'"there"')
    other.send(b'"back"')
    assert await take(one, 1) == [b'"back"']
    assert await take(other, 1) == [b'"there"']


async def test_a_message_of_megabytes_arrives_in_one_piece(ends: Pair):
    one, other = ends
    big = b'"%b"' % (b"x" * 5_000_000)
    one.send(big)
    one.send(b'"next"')
    assert await take(other, 2) == [big, b'"next"']


async def test_a_message_written_over_several_lines_stays_one_message(ends: Pair):
    one, other = ends
    one.send(b'{\n  "a": [\r\n    1\n  ]\n}')
    (message,) = await take(other, 1)
    assert json.loads(message) == {"a": [1]}


async def test_a_receive_that_was_cancelled_loses_nothing(ends: Pair):
    one, other = ends
    waiting = asyncio.ensure_future(other.receive())
    one.send(b"1")
    await asyncio.sleep(0)
    waiting.cancel()
    taken: list[bytes] = []
    with suppress(asyncio.CancelledError):
        taken += await waiting
    one.send(b"2")
    taken += await take(other, 2 - len(taken))
    assert taken == [b"1", b"2"]


async def test_what_was_sent_before_the_end_still_arrives_and_then_nothing(ends: Pair):
    one, other = ends
    sent = [b'"%d %b"' % (n, b"x" * 1000) for n in range(500)]
    for message in sent:
        other.send(message)
    ending = asyncio.ensure_future(other.close())
    assert await take(one, len(sent)) == sent
    await soon(ending)
    assert await soon(one.receive()) == []
    assert await soon(one.receive()) == []


async def test_an_end_by_the_other_side_has_a_reason(ends: Pair):
    one, other = ends
    assert one.failure() is None
    await soon(other.close())
    assert await soon(one.receive()) == []
    assert one.failure() is not None


async def test_an_end_by_us_has_none(ends: Pair):
    one, _ = ends
    await soon(one.close())
    assert await soon(one.receive()) == []
    assert one.failure() is None


async def test_closing_wakes_who_receives(ends: Pair):
    one, _ = ends
    waiting = asyncio.ensure_future(one.receive())
    await asyncio.sleep(0)
    await soon(one.close())
    assert await soon(waiting) == []


async def test_closing_twice_and_at_once_is_closing_once(ends: Pair):
    one, _ = ends
    await soon(asyncio.gather(one.close(), one.close()))
    await soon(one.close())


async def test_sending_after_the_end_does_nothing(ends: Pair):
    one, other = ends
    await soon(other.close())
    assert await soon(one.receive()) == []
    one.send(b"1")
    await soon(one.drain())
    await soon(one.close())
    one.send(b"2")
    await soon(one.drain())


async def test_a_peer_that_does_not_read_is_felt_and_waited_for(ends: Pair):
    one, other = ends
    message = b'"%b"' % (b"x" * (HIGH_WATER // 2))
    count = 40
    for _ in range(count):
        one.send(message)
    assert one.backlog > HIGH_WATER
    draining = asyncio.ensure_future(one.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    assert await take(other, count) == [message] * count
    await soon(draining)
    assert one.backlog <= HIGH_WATER


async def test_closing_ends_the_wait_for_a_peer_that_does_not_read(ends: Pair):
    one, other = ends
    for _ in range(40):
        one.send(b'"%b"' % (b"x" * HIGH_WATER))
    draining = asyncio.ensure_future(one.drain())
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(one.close())
    await soon(draining)
    await soon(other.close())
    await soon(closing)
