"""Promises of wire/ndjson: the same lines come out however the stream was cut."""

import cProfile
import gc
import itertools
import pstats

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.wire.ndjson import LIMIT, LineTooLong, Splitter

STREAM = b'{"a":1}\n{"b":2}\r\n\n \t\r\n  {"c":3}\n\r\n{"d":"\r"}\n'
LINES = [b'{"a":1}', b'{"b":2}', b'  {"c":3}', b'{"d":"\r"}']


def feed_all(splitter: Splitter, chunks: list[bytes]) -> tuple[list[bytes], int]:
    """The lines of all chunks, and how many of them were refused as too long."""
    lines: list[bytes] = []
    refused = 0
    for chunk in chunks:
        try:
            lines += splitter.feed(chunk)
        except LineTooLong as error:
            lines += error.lines
            refused += 1
    return lines, refused


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(edge, len(data)) for edge in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def calls_to_feed(chunk: bytes) -> int:
    splitter = Splitter()
    profile = cProfile.Profile()
    gc.disable()  # A collection in between would call what others registered with it.
    profile.enable()
    splitter.feed(chunk)
    profile.disable()
    gc.enable()
    return int(getattr(pstats.Stats(profile), "total_calls"))  # noqa: B009 (the stubs leave it out)


def test_whole_lines_come_without_their_newline() -> None:
    assert Splitter().feed(b"one\ntwo\n") == [b"one", b"two"]


def test_crlf_and_blank_lines_are_tolerated() -> None:
    assert Splitter().feed(STREAM) == LINES


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_cut_at_any_byte_changes_nothing(at: int) -> None:
    assert feed_all(Splitter(), [STREAM[:at], STREAM[at:]]) == (LINES, 0)


def test_single_bytes_are_enough() -> None:
    assert feed_all(Splitter(), [bytes([byte]) for byte in STREAM]) == (LINES, 0)


def test_an_empty_chunk_says_nothing() -> None:
    splitter = Splitter()
    assert splitter.feed(b"") == []
    assert splitter.feed(b"on") == []
    assert splitter.feed(b"") == []
    assert splitter.feed(b"e\n") == [b"one"]


def test_an_unfinished_line_is_handed_out_at_the_end() -> None:
    splitter = Splitter()
    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.feed(b"o\r") == []
    assert splitter.flush() == b"two"
    assert splitter.flush() is None
    assert splitter.feed(b"three\n") == [b"three"]


@pytest.mark.parametrize("end", [b"", b"one\n", b"one\n \r"])
def test_a_stream_that_ends_well_leaves_nothing_to_flush(end: bytes) -> None:
    splitter = Splitter()
    splitter.feed(end)
    assert splitter.flush() is None


def test_a_line_of_exactly_the_limit_passes() -> None:
    assert Splitter(limit=4).feed(b"1234\n") == [b"1234"]


@pytest.mark.parametrize("at", range(len(b"1234\n12345\n\nend\n") + 1))
def test_a_line_over_the_limit_is_refused_once_and_the_rest_survives(at: int) -> None:
    data = b"1234\n12345\n\nend\n"
    assert feed_all(Splitter(limit=4), [data[:at], data[at:]]) == ([b"1234", b"end"], 1)


def test_a_line_over_the_limit_is_refused_before_it_ends() -> None:
    splitter = Splitter(limit=4)
    with pytest.raises(LineTooLong, match="at most 4 bytes") as refused:
        splitter.feed(b"one\n12345")
    assert refused.value.limit == 4
    assert refused.value.lines == [b"one"]
    assert splitter.feed(b"6789") == []
    assert splitter.feed(b"0\ntwo\nthr") == [b"two"]
    assert splitter.feed(b"e\n") == [b"thre"]


def test_lines_on_both_sides_of_a_long_one_survive() -> None:
    with pytest.raises(LineTooLong) as refused:
        Splitter(limit=4).feed(b"one\n12345\ntwo\n")
    assert refused.value.lines == [b"one", b"two"]


def test_one_long_line_after_another_is_refused_again() -> None:
    assert feed_all(Splitter(limit=2), [b"123", b"4\n567", b"8\nok\n"]) == ([b"ok"], 2)


def test_a_dropped_line_is_not_flushed() -> None:
    splitter = Splitter(limit=2)
    assert feed_all(splitter, [b"123"]) == ([], 1)
    assert splitter.flush() is None
    assert splitter.feed(b"ok\n") == [b"ok"]


def test_the_limit_counts_the_carriage_return_however_it_is_cut() -> None:
    assert feed_all(Splitter(limit=2), [b"12\r\nok\n"]) == ([b"ok"], 1)
    assert feed_all(Splitter(limit=2), [b"12\r", b"\nok\n"]) == ([b"ok"], 1)


def test_a_forty_megabyte_line_is_joined_once() -> None:
    """Linear: a rescan or copy for each piece would move twelve gigabytes here."""
    piece = b"x" * 65536
    splitter = Splitter()
    assert all(splitter.feed(piece) == [] for _ in range(640))
    lines = splitter.feed(b"\nnext\n")
    assert [len(line) for line in lines] == [640 * 65536, 4]
    assert lines[0].count(b"x") == 640 * 65536 <= LIMIT


def test_a_hundred_lines_cost_as_many_calls_as_one() -> None:
    assert calls_to_feed(b'{"id":1}\n' * 100) == calls_to_feed(b'{"id":1}\n') <= 6


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.integers(0, 12))
def test_random_cuts_change_nothing(data: bytes, at: list[int], limit: int) -> None:
    expected, refused = feed_all(Splitter(limit), [data])
    lines, more_refused = feed_all(Splitter(limit), cut(data, at))
    assert lines == expected
    assert bool(more_refused) == bool(refused)


@given(st.lists(st.from_regex(rb"[^\s][^\r\n]*", fullmatch=True)), st.lists(st.integers(0, 400)))
def test_lines_come_back_as_they_were_written(lines: list[bytes], at: list[int]) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    assert feed_all(Splitter(), cut(stream, at)) == (lines, 0)
