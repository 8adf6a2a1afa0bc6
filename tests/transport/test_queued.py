"""A channel out of a line; what every channel promises is held in test_channel."""

from __future__ import annotations

import asyncio

import pytest
from tests.peers import soon

from interlock.errors import ConnectionLost, InvalidMessage
from interlock.transport import queued
from interlock.transport.channel import HIGH_WATER
from interlock.transport.queued import QueuedChannel


class Script:
    """A line whose peer is a test."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.outgoing: list[bytes] = []
        self.wrote = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.broken: Exception | None = None
        self.ended = 0
        self.endless = False

    async def read(self) -> bytes | None:
        step = await self.incoming.get()
        if isinstance(step, Exception):
            raise step
        return step

    async def write(self, message: bytes) -> None:
        await self.writable.wait()
        if self.broken is not None:
            raise self.broken
        self.outgoing.append(message)
        self.wrote.set()

    async def end(self) -> None:
        self.ended += 1
        if self.endless:
            await asyncio.Event().wait()


async def test_why_a_line_broke_is_why_the_channel_ended():
    line = Script()
    channel = QueuedChannel(line, "it")
    line.incoming.put_nowait(b"1")
    line.incoming.put_nowait(InvalidMessage("nonsense"))
    assert await soon(channel.receive()) == [b"1"]
    assert await soon(channel.receive()) == []
    assert isinstance(channel.failure(), InvalidMessage)
    await soon(channel.close())
    assert isinstance(channel.failure(), InvalidMessage)


async def test_a_peer_that_ends_it_is_named():
    line = Script()
    channel = QueuedChannel(line, "http://it")
    line.incoming.put_nowait(None)
    assert await soon(channel.receive()) == []
    assert "http://it ended the connection" in str(channel.failure())
    await soon(channel.close())


async def test_a_line_that_takes_nothing_more_ends_the_channel():
    line = Script()
    channel = QueuedChannel(line, "it")
    line.broken = ConnectionLost("gone")
    channel.send(b"1")
    channel.send(b"2")
    assert await soon(channel.receive()) == []
    assert channel.failure() is line.broken
    assert channel.backlog == 0
    await soon(channel.close())
    assert line.ended == 1


async def test_whoever_does_not_receive_is_not_read_from():
    line = Script()
    channel = QueuedChannel(line, "it")
    for _ in range(10):
        line.incoming.put_nowait(b"x" * HIGH_WATER)
    taken = await soon(channel.receive())
    while sum(map(len, taken)) < 10 * HIGH_WATER:
        assert len(taken) <= 10
        assert line.incoming.qsize() >= 8 - len(taken)
        taken += await soon(channel.receive())
    await soon(channel.close())


async def test_what_waits_to_be_written_is_dropped_when_the_peer_is_gone():
    line = Script()
    channel = QueuedChannel(line, "it")
    line.writable.clear()
    channel.send(b"x" * (HIGH_WATER + 1))
    draining = asyncio.create_task(channel.drain())
    await asyncio.sleep(0)
    line.incoming.put_nowait(None)
    await soon(draining)
    assert channel.backlog == 0
    assert line.outgoing == []
    await soon(channel.close())


async def test_after_hanging_up_answers_still_go_out():
    line = Script()
    channel = QueuedChannel(line, "it")
    waiting = asyncio.create_task(channel.receive())
    await asyncio.sleep(0)
    channel.hang_up()
    assert await soon(waiting) == []
    channel.send(b"the last")
    await soon(channel.close())
    assert line.outgoing == [b"the last"]
    assert channel.failure() is None


async def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queued, "FLUSH_SECONDS", 0.01)
    line = Script()
    line.writable.clear()
    line.endless = True
    channel = QueuedChannel(line, "it")
    channel.send(b"1")
    closing = asyncio.create_task(channel.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await soon(channel.close())
    assert line.ended == 1
