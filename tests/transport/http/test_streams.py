"""Streams of one session, read by hand; time passes only where a wait is set to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.peers import soon

from interlock.transport.channel import HIGH_WATER
from interlock.transport.http import streams as room
from interlock.transport.http.streams import EVENTS, TAIL, Keep, Reader, Stream, Streams
from interlock.wire import sse


@pytest.fixture
async def streams() -> Streams:
    return Streams(Keep())


def nothing() -> None:
    pass


def read(stream: Stream, after: int = 0, wake: Callable[[], None] = nothing) -> Reader:
    return stream.read(after, wake)


def events(chunk: bytes) -> list[sse.Event]:
    return sse.Reader().feed(chunk)


def said(chunk: bytes) -> list[bytes]:
    return [event.data for event in events(chunk)]


def place(streams: Streams, chunk: bytes) -> tuple[Stream, int]:
    """Where a client comes back to that read *chunk*."""
    found = streams.find(events(chunk)[-1].id or "")
    assert found is not None
    return found


async def test_what_was_added_is_read_in_order_and_then_its_end(streams: Streams):
    stream = streams.open()
    reader = read(stream)
    assert reader.pull() == b""
    stream.add(b"a")
    stream.add(b"b")
    assert said(reader.pull()) == [b"a", b"b"]
    stream.add(b"c")
    stream.end()
    stream.add(b"lost")
    assert not reader.over
    assert said(reader.pull()) == [b"c"]
    assert reader.over


async def test_ids_are_unique_in_a_session_and_between_processes_that_serve_it():
    ids: set[str | None] = set()
    for streams in (Streams(Keep()), Streams(Keep())):
        for stream in (streams.open(), streams.standing(), streams.open()):
            reader = read(stream)
            for _ in range(10):
                stream.add(b"x")
            ids |= {event.id for event in events(reader.pull())}
    assert len(ids) == 60
    assert None not in ids


async def test_a_reader_is_woken_by_what_comes_by_the_end_and_by_the_next_reader(streams: Streams):
    woken: list[str] = []
    stream = streams.open()
    read(stream, 0, lambda: woken.append("first"))
    stream.add(b"a")
    assert woken == ["first"]
    read(stream, 0, lambda: woken.append("second"))
    assert woken == ["first", "first"]
    stream.end()
    assert woken[2:] == ["second"]


async def test_who_comes_back_gets_what_came_after_and_only_of_its_stream(streams: Streams):
    one, other = streams.open(), streams.open()
    reader = read(one)
    read(other)
    for word in (b"a", b"b"):
        one.add(word)
        other.add(b"other " + word)
    stream, number = place(streams, reader.pull()[:-1] + b"\n")
    assert stream is one
    reader.lose()
    one.add(b"c")
    back = read(one, number)
    assert said(back.pull()) == [b"c"]
    one.add(b"d")
    one.end()
    assert said(back.pull()) == [b"d"]
    assert back.over


async def test_who_comes_back_to_an_earlier_event_gets_later_ones_again(streams: Streams):
    stream = streams.open()
    reader = read(stream)
    for word in (b"a", b"b", b"c"):
        stream.add(word)
    first = events(reader.pull())[0]
    found = streams.find(first.id or "")
    assert found is not None
    assert said(read(*found).pull()) == [b"b", b"c"]


async def test_a_new_reader_takes_the_place_of_the_one_before(streams: Streams):
    stream = streams.open()
    old = read(stream)
    stream.add(b"a")
    new = read(stream)
    assert old.over
    assert old.replaced
    assert old.pull() == b""
    old.leave()
    old.lose()
    assert said(new.pull()) == [b"a"]
    assert not new.over


@pytest.mark.parametrize(
    "name",
    ["", "1", "a-b-c", "{}-1-1 ", "{}-01x-1", "{}-1-9", "{}-9-1", "{}--1", "zzzzzz-1-1", "-1-1"],
)
async def test_ids_that_are_none_or_of_nothing_here_are_not_found(streams: Streams, name: str):
    streams.open().add(b"a")
    assert streams.find(name.format(streams.keep.name)) is None
    assert streams.find("\u0661" * 6 + "-1-1") is None
    assert streams.find(f"{'9' * 5000}-1-1") is None


async def test_an_id_of_another_process_is_found_on_the_standing_stream_alone(streams: Streams):
    streams.open().add(b"a")
    stream = streams.standing()
    stream.add(b"kept")
    there = "000000"
    assert streams.find(f"{there}-1-1") is None
    assert streams.find(f"{there}-0-17") == (stream, 0)


async def test_a_client_that_does_not_come_back_in_time_is_expected_no_more():
    streams = Streams(Keep(patience=0))
    gone = asyncio.Event()
    stream = streams.open()
    stream.on_forsaken = gone.set
    reader = read(stream)
    stream.add(b"a")
    reader.lose()
    await soon(gone.wait())
    assert stream.forsaken
    back = read(stream)
    assert not stream.forsaken
    assert said(back.pull()) == [b"a"]


async def test_a_stream_waits_while_its_call_runs_and_a_bounded_time_after():
    streams = Streams(Keep(patience=0))
    gone = asyncio.Event()
    stream = streams.open()
    stream.on_forsaken = gone.set
    read(stream).lose()
    await soon(gone.wait())
    gone.clear()
    stream.add(b"answer")
    assert len(streams) == 1
    stream.end()
    await soon(gone.wait())
    assert len(streams) == 0
    assert streams.size == streams.keep.size == 0


async def test_a_stream_that_went_out_whole_is_let_go_sooner():
    streams = Streams(Keep(linger=0))
    gone = asyncio.Event()
    stream = streams.open()
    stream.on_forsaken = gone.set
    reader = read(stream)
    stream.add(b"answer")
    stream.end()
    reader.pull()
    reader.leave()
    await soon(gone.wait())
    assert len(streams) == 0


async def test_a_standing_stream_that_was_let_go_counts_on():
    streams = Streams(Keep(patience=0))
    gone = asyncio.Event()
    stream = streams.standing()
    stream.on_forsaken = gone.set
    reader = read(stream)
    stream.add(b"a")
    (first,) = events(reader.pull())
    reader.lose()
    await soon(gone.wait())
    assert len(streams) == 0
    again = streams.standing()
    reader = read(again, again.last)
    again.add(b"b")
    (second,) = events(reader.pull())
    assert second.id != first.id
    assert streams.find(first.id or "") == (again, 1)


async def test_what_no_reader_took_is_bounded_and_the_oldest_goes_first(streams: Streams):
    stream = streams.open()
    for number in range(EVENTS * 3):
        stream.add(b"%d" % number)
    kept = said(read(stream).pull())
    assert len(kept) == EVENTS
    assert kept[-1] == b"%d" % (EVENTS * 3 - 1)


async def test_of_what_a_reader_took_only_the_last_is_kept(streams: Streams):
    stream = streams.open()
    reader = read(stream)
    for number in range(1000):
        stream.add(b"%d" % number)
        reader.pull()
    reader.lose()
    for _ in range(100):
        stream.add(b"x")
    assert stream.kept == TAIL + 100
    assert said(read(stream).pull())[0] == b"%d" % (1000 - TAIL)


async def test_answers_that_go_out_together_are_all_kept(streams: Streams):
    stream = streams.open()
    reader = read(stream)
    for number in range(TAIL * 3):
        stream.add(b"%d" % number)
    stream.end()
    assert len(said(reader.pull())) == TAIL * 3
    assert len(said(read(stream).pull())) == TAIL * 3


async def test_a_reader_that_does_not_read_is_told_apart(streams: Streams):
    stream = streams.open()
    for _ in range(3):
        stream.add(b"x" * HIGH_WATER)
    assert not stream.full
    reader = read(stream)
    assert stream.full
    reader.pull()
    assert not stream.full


async def test_a_session_keeps_so_many_bytes_and_lets_finished_streams_go_first(
    monkeypatch: pytest.MonkeyPatch, streams: Streams
):
    monkeypatch.setattr(room, "SESSION_BYTES", 10_000)
    done, running = streams.open(), streams.open()
    done.add(b"x" * 4000)
    done.end()
    running.add(b"x" * 4000)
    assert len(streams) == 2
    running.add(b"x" * 4000)
    assert len(streams) == 1
    for _ in range(10):
        running.add(b"x" * 4000)
    assert running.kept == 2
    assert streams.size <= 10_000
    running.add(b"x" * 50_000)
    assert said(read(running).pull()) == [b"x" * 50_000]


async def test_the_fattest_stream_makes_room(monkeypatch: pytest.MonkeyPatch, streams: Streams):
    monkeypatch.setattr(room, "SESSION_BYTES", 10_000)
    fat, thin = streams.open(), streams.open()
    thin.add(b"question")
    for _ in range(10):
        fat.add(b"x" * 2000)
    assert said(read(thin).pull()) == [b"question"]
    fat.add(b"y" * 9700)
    thin.add(b"more")
    assert fat.kept == 0
    assert said(read(thin).pull()) == [b"question", b"more"]


async def test_all_sessions_share_what_an_endpoint_keeps():
    keep = Keep(limit=10_000)
    sessions = [Streams(keep) for _ in range(20)]
    for streams in sessions:
        for _ in range(3):
            stream = streams.open()
            stream.add(b"x" * 1000)
            stream.end()
        assert keep.size <= 10_000
    for streams in sessions:
        streams.close()
    assert keep.size == 0
    assert not keep.holders


async def test_a_session_that_makes_much_be_kept_costs_no_other_what_it_says():
    """Ours: what one client leaves lying is no reason to lose a question to another."""
    keep = Keep(limit=10_000)
    fat, thin = Streams(keep), Streams(keep)
    talk = thin.open()
    reader = read(talk)
    left = fat.open()
    for _ in range(9):
        left.add(b"x" * 1000)
    talk.add(b"question")
    talk.add(b"notice" * 100)
    for _ in range(9):
        left.add(b"x" * 1000)
    talk.add(b"answer")
    assert said(reader.pull()) == [b"question", b"notice" * 100, b"answer"]
    assert keep.size <= 10_000
    assert left.kept >= 1


async def test_newest_events_go_last_and_what_is_being_taken_never_for_others():
    keep = Keep(limit=10_000)
    old, waiting = Streams(keep), Streams(keep)
    one, two = old.open(), old.open()
    one.add(b"x" * 3000)
    two.add(b"answer" + b"x" * 3000)
    going = waiting.open()
    reader = read(going)
    going.add(b"y" * 5000)  # Together it is more than what is kept.
    assert (one.kept, two.kept) == (0, 1)
    going.add(b"z" * 20_000)
    assert two.kept == 0
    assert len(said(reader.pull())) == 2
    late = Streams(keep).open()
    late.add(b"x" * 500)
    assert keep.size <= 10_000


async def test_only_so_many_finished_streams_are_kept(streams: Streams):
    for _ in range(room.STREAMS * 2):
        stream = streams.open()
        stream.add(b"x")
        stream.end()
    assert len(streams) == room.STREAMS


async def test_closing_lets_all_go_but_lets_what_is_going_out_come_to_its_end(streams: Streams):
    standing, lost, going = streams.standing(), streams.open(), streams.open()
    listener, reader = read(standing), read(going)
    for stream in (standing, lost, going):
        stream.add(b"x")
    streams.close()
    assert listener.over
    assert lost.ended
    going.add(b"farewell")
    going.end()
    assert said(reader.pull()) == [b"x", b"farewell"]
    reader.leave()
    assert len(streams) == 0
    assert streams.keep.size == 0
