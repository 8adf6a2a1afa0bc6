"""Promises of wire/sse: the WHATWG rules for event streams, whatever the chunks.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.wire.sse import Event, EventTooLong, Reader, comment, event

STREAM = (
    b'\xef\xbb\xbfevent: message\ndata: {"a":1}\n\n'
    b": still here\r\n\r\n"
    b"id: 7\rdata: first\rdata:second\rdata\r\r"
    b"retry: 250\r\ndata:  two spaces\r\n\r\n"
    b"id: prime\ndata:\n\n"
    b"event: ping\n\n"
    b"data: \xc3\xa9\n\n"
)
EVENTS = [
    Event(b'{"a":1}'),
    Event(b"first\nsecond\n", id="7"),
    Event(b" two spaces", retry=250),
    Event(b"", id="prime"),
    Event("é".encode()),
]
LONG = b"id: 1\ndata: ok\n\nid: 2\ndata: 1234567890\n: x\ndata: a\n\nid: 3\ndata: ok\n\n"


def read(reader: Reader, chunks: list[bytes]) -> tuple[list[Event], int]:
    """The events of all chunks, and how many of them were refused as too long."""
    events: list[Event] = []
    refused = 0
    for chunk in chunks:
        try:
            events += reader.feed(chunk)
        except EventTooLong as error:
            events += error.events
            refused += 1
    return events, refused


def one(stream: bytes) -> Event:
    (found,) = Reader().feed(stream)
    return found


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(edge, len(data)) for edge in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def test_an_event_is_written_as_one_data_line() -> None:
    assert event(b'{"a":1}') == b'data: {"a":1}\n\n'


def test_an_event_is_written_with_its_fields_before_its_data() -> None:
    written = event(b"{}", id="s/4", name="endpoint", retry=1500)
    assert written == b"event: endpoint\nid: s/4\nretry: 1500\ndata: {}\n\n"


def test_a_priming_event_is_an_id_with_empty_data() -> None:
    """SEP-1699: the first event of a stream that may be resumed."""
    written = event(b"", id="1", retry=0)
    assert written == b"id: 1\nretry: 0\ndata: \n\n"
    assert one(written) == Event(b"", id="1", retry=0)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_data_in_several_lines_is_read_with_newlines(end: bytes) -> None:
    assert one(event(b"one" + end + b" two" + end)).data == b"one\n two\n"


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b"])
def test_an_id_or_name_that_would_leave_its_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="event's id on one line"):
        event(b"", id=text)
    with pytest.raises(ValueError, match="event's name on one line"):
        event(b"", name=text)


def test_a_wait_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="got -1"):
        event(b"", retry=-1)


def test_comments_are_written_line_by_line_and_skipped_by_readers() -> None:
    assert comment() == b": \n\n"
    assert comment("one\r\ndata: two") == b": one\n: data: two\n\n"
    assert Reader().feed(comment() + comment("one\ndata: two")) == []


def test_a_stream_is_read_event_by_event() -> None:
    assert Reader().feed(STREAM) == EVENTS


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_cut_at_any_byte_changes_nothing(at: int) -> None:
    assert read(Reader(), [STREAM[:at], STREAM[at:]]) == (EVENTS, 0)


def test_single_bytes_are_enough() -> None:
    assert read(Reader(), [bytes([byte]) for byte in STREAM]) == (EVENTS, 0)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_line_end_ends_a_line(end: bytes) -> None:
    stream = end.join([b"id: 1", b"data: a", b"data: b", b"", b"data: c", b"", b""])
    events = [Event(b"a\nb", id="1"), Event(b"c")]
    for at in range(len(stream) + 1):
        assert read(Reader(), [stream[:at], stream[at:]]) == (events, 0)


def test_a_cr_completes_an_event_without_waiting_for_lf() -> None:
    reader = Reader()
    assert reader.feed(b"data: a\r\n\r") == [Event(b"a")]
    assert reader.feed(b"\n") == []
    assert reader.feed(b"data: b\r\r") == [Event(b"b")]
    assert reader.feed(b"data: c\n\n") == [Event(b"c")]


def test_only_a_bom_at_the_very_start_is_skipped() -> None:
    reader = Reader()
    assert read(reader, [b"", b"\xef", b"\xbb", b"", b"\xbf", b"data: a\n\n"]) == ([Event(b"a")], 0)
    assert reader.feed(b"\xef\xbb\xbfdata: b\n\n") == []


def test_half_a_bom_belongs_to_the_first_line() -> None:
    assert read(Reader(), [b"\xef", b"data: a\ndata: b\n\n"]) == ([Event(b"b")], 0)


def test_one_space_after_the_colon_is_dropped() -> None:
    assert one(b"data:a\ndata: b\ndata:  c\n\n").data == b"a\nb\n c"


def test_a_field_without_colon_has_an_empty_value() -> None:
    assert one(b"data\ndata\n\n").data == b"\n"
    assert one(b"id\n\n").id == ""


def test_unknown_fields_are_ignored() -> None:
    assert Reader().feed(b"Data: a\ndatabase: b\n data: c\nx\n\n") == []


def test_an_event_without_data_id_or_retry_is_not_handed_out() -> None:
    assert Reader().feed(b"event: ping\n\n\n\n") == []


def test_a_name_lasts_for_one_event_and_an_empty_one_is_message() -> None:
    events = Reader().feed(b"event: a\ndata: 1\n\ndata: 2\n\nevent: b\nevent\ndata: 3\n\n")
    assert [found.name for found in events] == ["a", "message", "message"]


def test_an_id_alone_is_handed_out_and_remembered() -> None:
    reader = Reader()
    assert reader.feed(b"id: 41\n\n") == [Event(b"", id="41")]
    assert reader.feed(b"data: x\n\n") == [Event(b"x")]
    assert reader.last_event_id == "41"


def test_a_retry_alone_is_handed_out() -> None:
    assert one(b"retry: 3000\n\n") == Event(b"", retry=3000)


def test_an_id_counts_once_its_event_is_complete() -> None:
    reader = Reader()
    reader.feed(b"id: 1\ndata: x\n\nid: 2\ndata: y\n")
    assert reader.last_event_id == "1"
    reader.feed(b"\n")
    assert reader.last_event_id == "2"


def test_an_empty_id_forgets_the_last_one() -> None:
    reader = Reader()
    reader.feed(b"id: 1\n\nid:\n\n")
    assert reader.last_event_id == ""


def test_an_id_with_nul_is_ignored() -> None:
    reader = Reader()
    assert reader.feed(b"id: 1\n\nid: 2\0\ndata: x\n\n") == [Event(b"", id="1"), Event(b"x")]
    assert reader.last_event_id == "1"


@pytest.mark.parametrize("value", [b"", b"-1", b"1.5", b"1s", b"+1", "²".encode(), b"9" * 5000])
def test_a_retry_that_is_not_a_sane_number_is_ignored(value: bytes) -> None:
    assert one(b"retry: " + value + b"\ndata: x\n\n") == Event(b"x")


def test_broken_utf8_in_an_id_is_replaced_and_in_data_is_left_alone() -> None:
    assert one(b"id: \xff\nevent: \xff\ndata: \xff\n\n") == Event(b"\xff", "\ufffd", "\ufffd")


def test_an_unfinished_event_never_comes() -> None:
    assert Reader().feed(b"data: x\n") == []


@pytest.mark.parametrize("at", range(len(LONG) + 1))
def test_an_event_over_the_limit_is_refused_once_and_the_rest_survives(at: int) -> None:
    reader = Reader(limit=14)
    events = [Event(b"ok", id="1"), Event(b"ok", id="3")]
    assert read(reader, [LONG[:at], LONG[at:]]) == (events, 1)


def test_the_error_says_the_limit_and_carries_the_whole_events() -> None:
    with pytest.raises(EventTooLong, match="at most 14 bytes") as refused:
        Reader(limit=14).feed(LONG)
    assert refused.value.limit == 14
    assert refused.value.events == [Event(b"ok", id="1"), Event(b"ok", id="3")]


def test_the_id_of_a_dropped_event_counts_for_resuming() -> None:
    reader = Reader(limit=4)
    assert read(reader, [b"id:7\ndata: 12345\n", b"\n"]) == ([], 1)
    assert reader.last_event_id == "7"


def test_a_line_without_end_is_dropped_before_it_fills_memory() -> None:
    reader = Reader(limit=8)
    assert read(reader, [b": 123", b"4567", b"8", b"9" * 20, b"\ndata:", b"x\n\n"]) == ([], 1)
    assert reader.feed(b"data: y\n\n") == [Event(b"y")]


def test_many_empty_data_lines_count_against_the_limit() -> None:
    assert read(Reader(limit=100), [b"data\n" * 50 + b"\ndata: x\n\n"]) == ([Event(b"x")], 1)


def test_a_forty_megabyte_event_is_joined_once() -> None:
    """Linear: a rescan or copy for each piece would move twelve gigabytes here."""
    piece = b"x" * 65536
    reader = Reader()
    assert reader.feed(b"data: ") == []
    assert all(reader.feed(piece) == [] for _ in range(640))
    (found,) = reader.feed(b"\n\n")
    assert len(found.data) == 640 * 65536


@given(
    st.lists(st.sampled_from([b"data", b"id", b": ", b":", b"retry", b"1", b"\r", b"\n", b"\xef"])),
    st.lists(st.integers(0, 60), max_size=8),
    st.integers(0, 20),
)
def test_random_cuts_change_nothing(parts: list[bytes], at: list[int], limit: int) -> None:
    stream = b"".join(parts)
    whole, pieces = Reader(limit), Reader(limit)
    expected, refused = read(whole, [stream])
    events, more_refused = read(pieces, cut(stream, at))
    assert events == expected
    assert bool(more_refused) == bool(refused)
    assert pieces.last_event_id == whole.last_event_id


LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(
    st.lists(
        st.builds(
            Event,
            data=st.binary(max_size=60).map(lambda data: data.replace(b"\r", b"")),
            name=LINE.filter(bool),
            id=st.none() | LINE,
            retry=st.none() | st.integers(0, 10**9),
        )
    ),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_events_come_back_as_they_were_written(events: list[Event], at: list[int]) -> None:
    stream = comment().join(
        event(each.data, id=each.id, name=each.name, retry=each.retry) for each in events
    )
    assert read(Reader(), cut(stream, at)) == (events, 0)
