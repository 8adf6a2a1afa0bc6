"""A stream of another process: read there, followed here, and given up when either side goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from tests.peers import soon

from interlock.errors import StoreError
from interlock.store.memory import MemoryStore
from interlock.transport.http import distant as room
from interlock.transport.http.distant import Distant, Relay
from interlock.transport.http.streams import Keep, Stream, Streams


class Two:
    """A process that keeps the streams of one session, and one that follows them."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.keep = Keep()
        self.streams = Streams(self.keep)
        self.there = Relay(self.store.bus, self.keep.name, self._find)
        self.here = Relay(self.store.bus, "000000", lambda session, event: None)

    def _find(self, session: str, event: str) -> tuple[Stream, int] | None:
        return self.streams.find(event) if session == "s" else None

    def name(self, stream: Stream, event: int) -> str:
        return f"{self.keep.name}-{stream.number}-{event}"

    async def follow(self, stream: Stream, event: int = 0) -> Followed:
        distant = await self.here.follow("s", self.name(stream, event))
        assert distant is not None
        return Followed(distant)


class Followed:
    """What a connection does with one."""

    def __init__(self, distant: Distant) -> None:
        self.distant = distant
        self._woken = asyncio.Event()
        self.reader = distant.read(0, self._woken.set)

    async def woken(self) -> None:
        """Wait for the next word of the other process."""
        self._woken.clear()
        await soon(self._woken.wait())

    async def until(self, *wanted: bytes) -> None:
        """Read until all of *wanted* has come, in this order."""
        read, rest = b"", list(wanted)
        while rest:
            self._woken.clear()
            read += self.reader.pull()
            while rest and rest[0] in read:
                read = read.partition(rest.pop(0))[2]
            if rest:
                assert not self.reader.over
                await soon(self._woken.wait())

    async def end(self) -> None:
        while not self.reader.over:
            self._woken.clear()
            self.reader.pull()
            if not self.reader.over:
                await soon(self._woken.wait())


@pytest.fixture
async def two() -> AsyncGenerator[Two]:
    two = Two()
    await two.store.open()
    for relay in (two.there, two.here):
        await relay.listen()
    yield two
    for relay in (two.there, two.here):
        relay.close()
    two.streams.close()
    await two.store.close()


async def test_what_was_missed_comes_and_what_happens_then_to_the_end(two: Two):
    stream = two.streams.open()
    for text in (b"one", b"two"):
        stream.add(text)
    followed = await two.follow(stream, 1)
    await followed.until(two.name(stream, 2).encode(), b"two")
    stream.add(b"three")
    await followed.until(two.name(stream, 3).encode(), b"three")
    stream.end()
    await followed.end()
    followed.reader.leave()


async def test_whoever_leaves_lets_the_stream_be_read_by_others(two: Two):
    stream = two.streams.open()
    stream.add(b"one")
    followed = await two.follow(stream)
    followed.reader.lose()
    assert followed.reader.over
    again = await two.follow(stream)
    await again.until(b"one")


async def test_one_that_is_read_by_somebody_else_is_over_here(two: Two):
    stream = two.streams.open()
    followed = await two.follow(stream)
    reader = stream.read(0, lambda: None)
    await followed.end()
    assert stream.reader is reader


async def test_what_is_not_kept_there_is_refused_and_what_is_ours_not_asked_for(two: Two):
    stream = two.streams.open()
    assert await two.here.follow("other", two.name(stream, 0)) is None
    assert await two.here.follow("s", two.name(stream, 5)) is None
    assert await two.here.follow("s", "000000-1-1") is None


async def test_a_process_that_is_gone_answers_nothing(two: Two, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "ANSWERING", 0.05)
    assert await two.here.follow("s", "ffffff-1-1") is None


async def test_silence_is_filled_and_where_it_is_not_the_end(
    two: Two, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "ALIVE", 0.01)
    monkeypatch.setattr(room, "GONE", 0.5)
    stream = two.streams.open()
    alive = await two.follow(stream)
    for _ in range(3):
        await alive.woken()
        assert alive.reader.pull() == b""
    assert not alive.reader.over
    two.there.close()  # As one that was killed: nothing is said any more.
    await alive.end()


async def test_a_slow_connection_is_let_go_before_too_much_waits_for_it(
    two: Two, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "HELD", 1000)
    stream = two.streams.open()
    followed = await two.follow(stream)
    stream.add(b"x" * 2000)
    await followed.woken()
    assert followed.reader.over
    assert followed.reader.pull() == b""


async def test_words_that_cannot_be_read_or_mean_nobody_are_let_be(
    two: Two, caplog: pytest.LogCaptureFixture
):
    topic = room.TOPIC + two.keep.name
    for word in (
        b"nonsense",
        b'{"type":"left","ticket":"x"}',
        b'{"type":"piece","ticket":"x"}',
        b'{"type":"refused","ticket":"x"}',
    ):
        await two.store.bus.publish(topic, word)
    await two.follow(two.streams.open())
    assert "cannot be read" in caplog.text


async def test_a_bus_that_fails_is_a_stream_that_is_not_there(
    two: Two, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def fail(bus: object, topic: str, message: bytes) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(type(two.store.bus), "publish", fail)
    monkeypatch.setattr(room, "ANSWERING", 0.05)
    assert await two.here.follow("s", "ffffff-1-1") is None
    assert "does not hear of a stream: the disk is full" in caplog.text


async def test_whoever_stops_waiting_is_told_nothing(two: Two):
    asking = asyncio.create_task(two.here.follow("s", "ffffff-1-1"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
