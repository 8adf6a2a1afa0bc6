"""What the two ends of stdio share, where the contract of channels does not reach."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

import pytest

from interlock.transport.channel import HIGH_WATER, MESSAGE_LIMIT
from interlock.transport.pipes import PipeChannel, connect_reader, connect_writer, within

T = TypeVar("T")


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, 10)


async def attached(source: int, sink: int) -> PipeChannel:
    channel = PipeChannel()
    await channel.attach(os.fdopen(source, "rb", 0), os.fdopen(sink, "wb", 0))
    return channel


async def test_what_is_sent_in_one_turn_of_the_loop_is_written_at_once():
    (source, near), (far, sink) = os.pipe(), os.pipe()
    channel = await attached(source, sink)
    channel.send(b"1")
    channel.send(b"2")
    assert channel.backlog == 4
    await asyncio.sleep(0)
    assert channel.backlog == 0
    assert os.read(far, 100) == b"1\n2\n"
    await soon(channel.close())
    os.close(near)
    os.close(far)


async def test_what_comes_is_handed_over_and_answered_in_the_step_that_read_it():
    (source, near), (far, sink) = os.pipe(), os.pipe()
    channel = await attached(source, sink)
    taken: list[list[bytes]] = []

    def take(batch: list[bytes]) -> None:
        taken.append(batch)
        for message in batch:
            channel.send(message)

    waiting = asyncio.ensure_future(channel.receive(take))
    await asyncio.sleep(0)
    channel.data_received(b"1\n2\n3")
    assert taken == [[b"1", b"2"]]
    assert os.read(far, 100) == b"1\n2\n"  # No turn of the loop has passed.
    channel.data_received(b"4\n")
    assert taken == [[b"1", b"2"], [b"34"]]
    assert os.read(far, 100) == b"34\n"
    assert not waiting.done()
    await hang_up(channel, waiting, near, far)


async def test_what_is_handed_over_sees_the_context_of_who_waits_for_it():
    (source, near), (far, sink) = os.pipe(), os.pipe()
    channel = await attached(source, sink)
    place: ContextVar[str] = ContextVar("place", default="nowhere")
    seen: list[str] = []

    async def wait() -> list[bytes]:
        place.set("here")
        return await channel.receive(lambda _: seen.append(place.get()))

    waiting = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    channel.data_received(b"1\n")
    assert seen == ["here"]
    await hang_up(channel, waiting, near, far)


async def test_what_taking_raises_comes_out_where_it_is_waited_for():
    (source, near), (far, sink) = os.pipe(), os.pipe()
    channel = await attached(source, sink)

    def take(batch: list[bytes]) -> None:
        channel.send(batch[0])
        raise RuntimeError("no more")

    waiting = asyncio.ensure_future(channel.receive(take))
    await asyncio.sleep(0)
    channel.data_received(b"1\n")
    channel.data_received(b"2\n")  # Nobody waits any more: it is kept.
    with pytest.raises(RuntimeError, match="no more"):
        await waiting
    assert os.read(far, 100) == b"1\n"
    assert await soon(channel.receive()) == [b"2"]
    await hang_up(channel, waiting, near, far)


async def test_nothing_is_handed_to_who_is_leaving():
    (source, near), (far, sink) = os.pipe(), os.pipe()
    channel = await attached(source, sink)
    taken: list[list[bytes]] = []
    waiting = asyncio.ensure_future(channel.receive(taken.append))
    await asyncio.sleep(0)
    waiting.cancel()
    channel.data_received(b"1\n")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert taken == []
    assert await soon(channel.receive()) == [b"1"]
    await hang_up(channel, waiting, near, far)


async def test_more_is_not_handed_over_than_its_sender_reads_the_answers_of():
    (source, near), (far, sink) = os.pipe(), os.pipe()
    channel = await attached(source, sink)
    answer = b"x" * (MESSAGE_LIMIT // 2)
    waiting = asyncio.ensure_future(channel.receive(lambda _: channel.send(answer)))
    await asyncio.sleep(0)
    for number in range(4):
        channel.data_received(b"%d\n" % number)
    assert MESSAGE_LIMIT < channel.backlog < 2 * MESSAGE_LIMIT
    assert await soon(waiting) == [b"3"]  # By whoever waits, who can wait for the peer as well.
    os.close(far)
    os.close(near)
    await soon(channel.close())


async def hang_up(
    channel: PipeChannel, waiting: asyncio.Future[list[bytes]], near: int, far: int
) -> None:
    os.close(near)
    with suppress(asyncio.CancelledError, RuntimeError):
        assert await soon(waiting) == []
    await soon(channel.close())
    os.close(far)


async def test_messages_that_were_not_taken_hold_the_sender_back():
    (source, near), (far, sink) = os.pipe(), os.pipe()
    one, other = await attached(source, sink), await attached(far, near)
    message = b"x" * 100_000
    for _ in range(100):
        other.send(message)
    await soon(until_held_back(one))
    assert other.backlog > HIGH_WATER
    taken = 0
    while taken < 100:
        taken += len(await soon(one.receive()))
    assert taken == 100
    await soon(asyncio.gather(one.close(), other.close()))


async def until_held_back(channel: PipeChannel) -> None:
    """Nobody announces it."""
    while not channel._held_back:  # noqa: ASYNC110 # pyright: ignore[reportPrivateUsage]
        await asyncio.sleep(0.001)


async def test_a_file_is_read_no_faster_than_it_is_received(tmp_path: Path):
    lines = b"".join(b"%099d\n" % n for n in range(100_000))
    (tmp_path / "in").write_bytes(lines)
    source = os.open(tmp_path / "in", os.O_RDONLY)
    sink = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    channel = await attached(source, sink)
    await soon(until_held_back(channel))
    first = await soon(channel.receive())
    assert len(first) * 100 < 2 * HIGH_WATER
    for message in first:
        channel.send(message)
    while batch := await soon(channel.receive()):
        for message in batch:
            channel.send(message)
    await soon(channel.close())
    assert (tmp_path / "out").read_bytes() == lines


async def test_a_file_whose_reading_is_given_up_is_closed(tmp_path: Path):
    (tmp_path / "in").write_bytes(b"x\n" * 5_000_000)
    heard = Heard()
    transport = await connect_reader(heard, (tmp_path / "in").open("rb", 0))
    await soon(heard.first.wait())
    transport.pause_reading()
    transport.close()
    assert transport.is_closing()
    await soon(heard.lost.wait())


class Heard(asyncio.Protocol):
    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.lost = asyncio.Event()
        self.turns: list[str] = []
        self.error: Exception | None = None

    def data_received(self, data: bytes) -> None:
        self.first.set()

    def pause_writing(self) -> None:
        self.turns.append("pause")

    def resume_writing(self) -> None:
        self.turns.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.lost.set()


async def test_a_file_is_written_with_back_pressure_and_to_its_end(tmp_path: Path):
    heard = Heard()
    transport = await connect_writer(heard, (tmp_path / "out").open("wb", 0))
    transport.set_write_buffer_limits(high=1000)
    for _ in range(3):
        transport.write(b"x" * 600)
    assert heard.turns == ["pause"]
    assert transport.get_write_buffer_size() == 1800
    transport.close()
    transport.write(b"too late")
    assert transport.is_closing()
    await soon(heard.lost.wait())
    assert heard.turns == ["pause", "resume"]
    assert heard.error is None
    assert (tmp_path / "out").read_bytes() == b"x" * 1800


async def test_a_device_that_takes_nothing_is_an_error_of_the_transport():
    heard = Heard()
    transport = await connect_writer(heard, os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", 0))
    transport.write(b"x")
    await soon(heard.lost.wait())
    assert isinstance(heard.error, OSError)
    transport.abort()


async def test_within_says_whether_it_was_in_time():
    assert await within(5, asyncio.sleep(0))
    waiting = asyncio.ensure_future(asyncio.Event().wait())
    assert not await within(0.001, waiting)
    assert waiting.cancelled()
