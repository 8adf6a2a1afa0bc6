"""What is read of requests, however their bytes are cut."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from interlock.transport.http.guards import Guards
from interlock.transport.http.heads import FIELDS, TARGET_LIMIT, Asked
from interlock.transport.http.reader import HEAD_END, Reader, Rules

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX:  a b\t \r\nY:\r\n\r\n"
CHUNKED = (
    b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4;a=b\r\n\r\n\r\n\r\n3\r\nabc\r\n0\r\nTrailer: t\r\n\r\n"
)
COUNTED = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"


class Reading(NamedTuple):
    reader: Reader
    body: bytearray
    found: list[tuple[Asked, bytes]]
    """Requests that were read to their end, with their bodies."""

    def feed(self, data: bytes) -> None:
        """As a connection does: up to the boundary, and then a look at what was found."""
        reader = self.reader
        at = 0
        while at < len(data) and reader.wrong is None:
            cut = reader.boundary(data, at)
            assert cut > at
            reader.feed(data[at:cut])
            at = cut
            if reader.over and reader.asked is not None:
                self.found.append((reader.asked, bytes(self.body)))
                self.body.clear()
                reader.renew()


def reading(limit: int = 1000) -> Reading:
    body = bytearray()
    return Reading(Reader(Rules("/mcp", Guards(), limit, secure=False), body.extend), body, [])


@pytest.mark.parametrize("cut", range(len(GET + CHUNKED)))
def test_wherever_the_bytes_are_cut_the_same_is_read(cut: int):
    data = GET + CHUNKED
    here = reading()
    here.feed(data[:cut])
    here.feed(data[cut:])
    (first, none), (second, body) = here.found
    assert (first.method, first.path, first.length) == ("GET", "/health", 0)
    assert first.headers == [(b"host", b"localhost"), (b"x", b"a b"), (b"y", b"")]
    assert (second.method, second.length) == ("POST", None)
    assert (none, body) == (b"", b"\r\n\r\nabc")
    assert here.reader.wrong is None
    assert here.reader.fresh


def test_byte_by_byte_too():
    here = reading()
    for byte in GET + CHUNKED + GET:
        here.feed(bytes([byte]))
    assert [body for _, body in here.found] == [b"", b"\r\n\r\nabc", b""]


def test_a_boundary_is_behind_an_empty_line_and_never_behind_the_next():
    reader = reading().reader
    data = GET + GET
    for at in range(len(GET) - 3):
        assert reader.boundary(data, at) == len(GET)
    reader.feed(GET[:-2])
    assert reader.boundary(GET[-2:] + GET, 0) == 2
    assert reader.boundary(b"no end", 0) == 6


def test_a_body_of_known_length_is_left_to_be_counted_off():
    here = reading()
    reader = here.reader
    reader.feed(COUNTED)
    assert reader.asked is not None
    assert (reader.asked.length, reader.over) == (5, False)
    reader.skip_body()
    reader.renew()
    here.feed(GET)
    assert [each.method for each, _ in here.found] == ["GET"]


def test_a_head_that_was_recognised_counts_as_read():
    here = reading()
    here.feed(GET)
    asked = here.found[0][0]
    here.reader.recognise(asked)
    assert (here.reader.asked, here.reader.fresh) == (asked, False)


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"\x00\x01", 400, "Not HTTP/1.1"),
        (b"BREW /pot HTTP/1.1\r\n", 501, "method"),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400, "version"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "HTTP/2.0"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "Host"),
        (b"GET /" + b"a" * TARGET_LIMIT, 414, f"{TARGET_LIMIT}"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (FIELDS + 1) + b"\r\n", 431, f"{FIELDS}"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"a" * 20_000, 431, "head of more than"),
        (CHUNKED.replace(b"3\r\n", b"g\r\n"), 400, "Not HTTP/1.1"),
    ],
)
def test_what_is_wrong_has_a_status_and_a_reason_wherever_it_is_cut(
    data: bytes, status: int, said: str
):
    for step in (len(data), 7):
        here = reading(16_000)
        for at in range(0, len(data), step):
            here.feed(data[at : at + step])
        wrong = here.reader.wrong
        assert wrong is not None
        assert wrong.status == status
        assert said.lower() in str(wrong).lower()


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED.replace(b"a=b", b"a" * 20_000),
        CHUNKED.replace(b": t", b": " + b"t" * 20_000),
    ],
    ids=["extension", "trailer"],
)
def test_what_stands_around_chunks_may_not_go_on_and_on(data: bytes):
    here = reading(16_000)
    for at in range(0, len(data), 1000):
        here.feed(data[at : at + 1000])
    wrong = here.reader.wrong
    assert wrong is not None
    assert wrong.status == 431
    assert "extension" in str(wrong)


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (GET, True),
        (GET.replace(b"X:", b"Connection: close\r\nX:"), False),
        (GET.replace(b"1.1", b"1.0"), False),
        (GET.replace(b"1.1", b"1.0").replace(b"X:", b"Connection: keep-alive\r\nX:"), True),
    ],
)
def test_whether_the_connection_is_to_be_kept(data: bytes, kept: bool):
    here = reading()
    here.feed(data)
    assert here.reader.keeps is kept
    here.feed(GET)
    assert here.reader.keeps is kept  # Who once wanted it closed does.


def test_an_offer_of_another_protocol_is_let_be():
    upgrade = b"Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding"
    here = reading()
    here.feed(GET.replace(b"X:", b"Connection: upgrade\r\nUpgrade: h2c\r\nX:") + GET)
    here.feed(CHUNKED.replace(b"Transfer-Encoding", upgrade))
    assert [body for _, body in here.found] == [b"", b"", b"\r\n\r\nabc"]


def test_the_answer_to_head_has_no_body_from_the_target_on():
    reader = reading().reader
    assert not reader.only_head_wanted
    reader.feed(b"HEAD /mcp HT")
    assert reader.only_head_wanted
    reader.feed(b"TP/1.1\r\nHost: a" + HEAD_END)
    assert reader.only_head_wanted
    reader.renew()
    assert not reader.only_head_wanted
