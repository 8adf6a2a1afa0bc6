"""Server-sent events, written and read piece by piece, by the WHATWG rules for event streams.

What an event's data says is not read here. Two things differ from a browser: an event with only an
id or a retry is handed out with empty data, because it primes a stream for resumption, and an event
may not grow without end.
"""

from __future__ import annotations

from msgspec import Struct

LIMIT = 64 * 1024 * 1024
"""Bytes in one event, unless told otherwise."""

_BOM = b"\xef\xbb\xbf"
_LF = 0x0A
_RETRY_DIGITS = 15
"""A longer wait, in milliseconds, outlasts every stream; an endless number would stall `int`."""


class Event(Struct, frozen=True):
    """One event as it came."""

    data: bytes
    """Its data lines joined by newlines; empty for one that only primes the stream."""
    name: str = "message"
    id: str | None = None
    """The id this event itself carried; `Reader.last_event_id` remembers across events."""
    retry: int | None = None
    """Milliseconds to wait before reconnecting, if it said so."""


class EventTooLong(ValueError):
    """A peer sent an event over the limit. That event is lost; the stream goes on after it."""

    def __init__(self, limit: int, events: list[Event]) -> None:
        super().__init__(
            f"expected events of at most {limit} bytes, a longer one came and is dropped up to the "
            "blank line that ends it: let the peer send less in one message, or raise the limit"
        )
        self.limit = limit
        self.events = events
        """The events that came whole in the same chunk, in order: still to be handled."""


def event(
    data: bytes, *, id: str | None = None, name: str | None = None, retry: int | None = None
) -> bytes:
    """One event, ready to send.

    Data is usually one line of JSON; of data in several lines a reader gets each line end as a
    newline. Empty data with an id primes a stream. Raises ValueError for an id or a name that
    would break out of its line, and for a wait below zero.
    """
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    if id is None and name is None and retry is None:
        return b"data: %b\n\n" % data
    head = b""
    if name is not None:
        head += b"event: %b\n" % _line("name", name)
    if id is not None:
        head += b"id: %b\n" % _line("id", id)
    if retry is not None:
        if retry < 0:
            raise ValueError(f"expected a retry of 0 milliseconds or more, got {retry}")
        head += b"retry: %d\n" % retry
    return b"%bdata: %b\n\n" % (head, data)


def comment(text: str = "") -> bytes:
    """A comment: readers skip it, and what stands between sees that the stream lives."""
    return b"".join(b": %b\n" % line for line in text.encode().splitlines() or [b""]) + b"\n"


class Reader:
    """Reads one event stream, wherever its chunks end. One stream, one reader.

    The limit counts an event's data lines with their ends, and any one unfinished line.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.last_event_id = ""
        """The id to resume after, as the last complete event left it; empty if there is none."""
        self._limit = limit
        self._opening: bytes | None = b""  # what may become a BOM; None once the stream began
        self._after_cr = False
        self._held: list[bytes] = []  # pieces of an unfinished line
        self._held_size = 0
        self._dropping_line = False
        self._dropping_event = False
        self._data: list[bytes] = []
        self._data_size = 0
        self._name = ""
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """The events this chunk completes. One that the stream's end cuts off never comes.

        Raises EventTooLong as soon as an event outgrows the limit: once for that event, and at most
        once a call. Whatever else the chunk completed is in the error's `events`; feeding can go on.
        """
        if self._opening is not None:
            chunk = self._open(chunk)
        if not chunk:
            return []
        if self._after_cr or b"\r" in chunk:
            chunk = self._newlines(chunk)
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines and (self._held or self._dropping_line):
            lines[0] = self._finish(lines[0])
        events: list[Event] = []
        too_long = False
        for line in lines:
            if line:
                too_long |= self._take(line)
            elif (done := self._dispatch()) is not None:
                events.append(done)
        if rest and not self._dropping_line:
            too_long |= self._hold(rest)
        if too_long:
            raise EventTooLong(self._limit, events)
        return events

    def _open(self, chunk: bytes) -> bytes:
        chunk = (self._opening or b"") + chunk
        if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
            self._opening = chunk
            return b""
        self._opening = None
        return chunk.removeprefix(_BOM)

    def _newlines(self, chunk: bytes) -> bytes:
        # A CR ends its line at once, so an event never waits for an LF that may not come.
        if self._after_cr and chunk[0] == _LF:
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _hold(self, piece: bytes) -> bool:
        self._held.append(piece)
        self._held_size += len(piece)
        if self._data_size + self._held_size <= self._limit:
            return False
        self._release()
        self._dropping_line = True
        return self._drop()

    def _finish(self, end: bytes) -> bytes:
        if self._dropping_line:
            self._dropping_line = False
            return b":"  # a comment: what is left of the line says nothing, and is not a blank line
        self._held.append(end)
        line = b"".join(self._held)
        self._release()
        return line

    def _release(self) -> None:
        self._held.clear()
        self._held_size = 0

    def _drop(self) -> bool:
        """Give up the event's data; True if it was not given up before."""
        first = not self._dropping_event
        self._dropping_event = True
        self._data.clear()
        self._data_size = 0
        return first

    def _take(self, line: bytes) -> bool:
        """Take one line of an event; True if the event outgrew the limit with it."""
        if self._data_size + len(line) > self._limit:
            return self._drop()
        if line.startswith(b"data:"):
            self._add(line[6:] if line.startswith(b"data: ") else line[5:], len(line))
            return False
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._add(b"", len(line))
        elif field == b"event":
            self._name = value.decode(errors="replace")
        elif field == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")
        elif field == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self._retry = int(value)
        return False

    def _add(self, data: bytes, size: int) -> None:
        if not self._dropping_event:
            self._data.append(data)
            self._data_size += size + 1

    def _dispatch(self) -> Event | None:
        done = None
        # The id of a dropped event counts: resuming before it would only bring it again.
        if self._id is not None:
            self.last_event_id = self._id
        primes = self._id is not None or self._retry is not None
        if not self._dropping_event and (self._data or primes):
            data = b"\n".join(self._data)
            done = Event(data, self._name or "message", self._id, self._retry)
        self._data.clear()
        self._data_size = 0
        self._dropping_event = False
        self._name = ""
        self._id = None
        self._retry = None
        return done


def _line(what: str, text: str) -> bytes:
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError(f"expected an event's {what} on one line and without NUL, got {text!r}")
    return text.encode()
