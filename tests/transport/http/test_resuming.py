"""Where a stream is taken up again, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.peers import soon
from tests.transport.http.test_client import JSON, STREAM, OddResponse

from interlock.errors import ConnectFailed
from interlock.transport.http import resuming
from interlock.transport.http.engine import Response
from interlock.transport.http.resuming import ID_LIMIT, LONGEST, PAUSES, SHORTEST, Place, stand
from interlock.wire import sse


def after(*streams: bytes) -> Place:
    """The place that reading *streams*, one after another, leaves behind."""
    place = Place()
    for stream in streams:
        reader = place.reader()
        for byte in stream:
            place.read(reader, bytes([byte]))
    return place


def test_the_place_is_the_last_id_that_came_whole():
    assert after(b"").id == ""
    assert after(sse.event(b"x", id="1")).id == "1"
    assert after(sse.event(b"x", id="1") + b"id: 2\ndata: x\n").id == "1"
    assert after(sse.event(b"x", id="1"), sse.event(b"x")).id == "1"
    assert after(sse.event(b"x", id="1"), b"").id == "1"


def test_an_empty_id_takes_the_place_away():
    assert after(sse.event(b"x", id="1") + b"id\ndata: x\n\n").id == ""
    assert after(sse.event(b"x", id="1"), b"id:\n\n").id == ""


def test_an_id_too_long_for_a_header_is_no_place():
    assert after(sse.event(b"x", id="a" * ID_LIMIT)).id != ""
    assert after(sse.event(b"x", id="a" * (ID_LIMIT + 1))).id == ""


@pytest.mark.parametrize(
    ("said", "waited"),
    [(0, SHORTEST), (1, SHORTEST), (500, 0.5), (60_000, 60.0), (10**15 - 1, LONGEST)],
)
def test_the_servers_word_on_when_to_come_back_is_kept_within_bounds(said: int, waited: float):
    """2025-11-25 § Transports: a client MUST wait for as long as `retry` says."""
    assert after(sse.event(b"", id="1", retry=said)).pause(0) == waited


def test_pauses_grow_where_the_server_says_nothing():
    place = after(b"")
    assert [place.pause(tries) for tries in range(6)] == [*PAUSES, PAUSES[-1]]


class Door:
    """Opens what it is given, in order, and then says that there is no more."""

    def __init__(self, *script: OddResponse | Exception | None) -> None:
        self.script = list(script)
        self.places: list[str] = []
        self.over = False

    async def __call__(self, place: Place) -> Response | None:
        self.places.append(place.id)
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        return step

    def is_over(self) -> bool:
        return self.over


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(resuming.asyncio, "sleep", sleep)
    return pauses


async def standing(door: Door, take: Callable[[sse.Event], object] = lambda _: None) -> None:
    await soon(stand(door, take, door.is_over))


async def test_a_standing_stream_is_opened_again_where_it_was(slept: list[float]):
    heard: list[bytes] = []
    first = OddResponse(200, STREAM, sse.event(b"one", id="5", retry=7000))
    second = OddResponse(200, STREAM, sse.event(b"two", id="6"), breaks=True)
    door = Door(first, ConnectFailed("nobody"), second)
    await standing(door, lambda event: heard.append(event.data))
    assert heard == [b"one", b"two"]
    assert door.places == ["", "5", "5", "6"]
    assert slept == [7.0, 7.0, 7.0]
    assert first.closed
    assert second.closed


async def test_tries_that_bring_nothing_come_ever_more_rarely(slept: list[float]):
    door = Door(*(OddResponse(200, STREAM) for _ in range(6)))
    await standing(door)
    assert slept == [*PAUSES, PAUSES[-1]]


async def test_tries_that_bring_nothing_never_undercut_the_server(slept: list[float]):
    first = OddResponse(200, STREAM, sse.event(b"", retry=10_000))
    await standing(Door(first, *(OddResponse(200, STREAM) for _ in range(4))))
    assert slept == [10, 10, 10, 15, 30]


async def test_a_standing_stream_ends_with_its_session(slept: list[float]):
    door = Door(OddResponse(200, STREAM, sse.event(b"x")), OddResponse(200, JSON))
    await standing(door, lambda _: setattr(door, "over", True))
    assert len(door.places) == 1
    assert slept == []


async def test_a_standing_stream_is_let_go_of_when_it_is_no_longer_wanted():
    class Endless(OddResponse):
        async def pieces(self):
            yield b": here\n\n"
            reached.set()
            await asyncio.Event().wait()

    reached = asyncio.Event()
    stream = Endless(200, STREAM)
    task = asyncio.create_task(standing(Door(stream)))
    await soon(reached.wait())
    task.cancel()
    await asyncio.wait([task])
    assert stream.closed
