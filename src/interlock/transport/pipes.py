"""Messages over a pair of pipes, one a line: what both ends of stdio have in common.

asyncio's own pipe transports carry the bytes wherever the operating system can say when a descriptor
is ready. Where it cannot (a regular file, /dev/null, any pipe on Windows) a thread waits instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import selectors
import socket
import stat
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from queue import SimpleQueue
from typing import IO, Any, Final, TypeAlias, TypeVar

from interlock.errors import ConnectionLost
from interlock.transport.channel import HIGH_WATER, MESSAGE_LIMIT
from interlock.wire.ndjson import LineTooLong, Splitter

_CHUNK: Final = 64 * 1024
"""Bytes that are read at once: what a pipe holds. For twice that malloc asks the kernel each time."""
_STALLED: Final = 1.0
"""Seconds without a byte taken after which a closing channel gives up on its reader."""
_FLUSH_AT_MOST: Final = 10.0
_TOGETHER: Final = 16
"""Answers that are written at once while more are made: whoever reads them has something to do."""


AnyTransport = TypeVar("AnyTransport", asyncio.ReadTransport, asyncio.WriteTransport)
Take: TypeAlias = Callable[[list[bytes]], object]


class PipeChannel(asyncio.Protocol):
    """A Channel over two open pipes, which it owns from `attach` on.

    As an asyncio protocol it is the reading side only; the writing side is `_Outgoing`.
    """

    def __init__(self, *, limit: int = MESSAGE_LIMIT) -> None:
        self._loop = asyncio.get_running_loop()
        self._splitter = Splitter(limit)
        self._inbox: list[bytes] = []
        self._unread = 0
        """Bytes that came since the last receive, whole messages or not."""
        self._waiting: asyncio.Future[None] | None = None
        self._take: Take | None = None
        self._taking = 0
        """While lines are handed over: how many more answers are written together."""
        self._held_back = False
        self._incoming: asyncio.ReadTransport | None = None
        self._outgoing: asyncio.WriteTransport | None = None
        self._outbox: list[bytes] = []
        self._outbox_size = 0
        self._outlet = _Outgoing()
        self._closed = False
        self._over = False
        self._failure: Exception | None = None

    async def attach(self, source: IO[bytes], sink: IO[bytes]) -> None:
        """Read messages from *source*, write them to *sink*; both unbuffered, and closed by this."""
        try:
            self._outgoing = await connect_writer(self._outlet, sink)
        except BaseException:
            source.close()  # the transport has taken the other one
            raise
        self._incoming = await connect_reader(self, source)

    async def attach_socket(self, both: socket.socket) -> None:
        """Read from and write to one stream socket, as inetd and `socat EXEC:` hand it over."""
        transport, _ = await self._loop.connect_accepted_socket(
            lambda: _Joined(self, self._outlet), both
        )
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._incoming = self._outgoing = transport

    async def receive(self, take: Take | None = None) -> list[bytes]:
        """As every `Channel` does. With *take* whoever waits here is not woken for what comes: it
        is handed to *take* in the step that read it, and what *take* sends goes out in that step.

        What *take* raises comes out here. It is not handed more than a peer reads the answers of.
        """
        while not self._inbox:
            if self._over or self._closed:
                return []
            self._waiting = self._loop.create_future()
            if take is not None:
                self._take = functools.partial(contextvars.copy_context().run, take)
            try:
                await self._waiting
            finally:
                self._waiting = self._take = None
        batch = self._inbox
        self._inbox = []
        self._unread = 0
        if self._held_back:
            self._let_in()
        return batch

    def send(self, message: bytes) -> None:
        if self._closed or self._outlet.lost:
            return
        if b"\n" in message:
            # JSON has no raw newline inside a string, so this one stands between tokens.
            message = message.replace(b"\n", b" ")
        taking = self._taking
        if not self._outbox and not taking:
            self._loop.call_soon(self._flush)
        self._outbox.append(message)
        self._outbox_size += len(message) + 1
        if taking == 1:
            self._flush()
            self._taking = _TOGETHER
        elif taking:
            self._taking = taking - 1

    @property
    def backlog(self) -> int:
        waiting = self._outgoing.get_write_buffer_size() if self._outgoing else 0
        return self._outbox_size + waiting

    async def drain(self) -> None:
        self._flush()
        await self._outlet.writable.wait()

    async def close(self) -> None:
        self._shut()
        if self._incoming:
            self._incoming.close()
        await self._flushed()
        self._abandon()

    def failure(self) -> Exception | None:
        return self._failure

    def data_received(self, data: bytes) -> None:
        try:
            lines = self._splitter.feed(data)
        except LineTooLong as error:
            lines = error.lines
            self._oversized(error, lines)
        if self._closed:
            return
        if lines and self._take is not None and self._hand_over(lines, self._take):
            self._unread = 0
            return
        self._unread += len(data)
        if lines:
            self._inbox += lines
            self._wake()
        if self._inbox and self._unread > HIGH_WATER and not self._held_back and self._incoming:
            self._incoming.pause_reading()
            self._held_back = True

    def connection_lost(self, exc: Exception | None) -> None:
        last = self._splitter.flush()
        if last and not self._closed:
            self._inbox.append(last)
        self._input_ended()

    def _input_ended(self) -> None:
        """Nothing more comes from the source: here that is the end, a process may say more."""
        self._finish(ConnectionLost("the other side closed its end of the pipe"))

    def _hand_over(self, lines: list[bytes], take: Take) -> bool:
        """Let who waits have *lines* now; false if it is leaving, or is to wait for the peer."""
        waiting = self._waiting
        if waiting is None or waiting.done() or self.backlog > MESSAGE_LIMIT:
            return False
        self._taking = _TOGETHER
        try:
            take(lines)
        except Exception as error:
            # The top of a step that is nobody's: it belongs to whoever waits.
            if not waiting.done():
                waiting.set_exception(error)
        finally:
            self._taking = 0
            self._flush()
        return True

    def _oversized(self, error: LineTooLong, lines: list[bytes]) -> None:
        """A line was dropped. An empty message stands for it, so that the protocol can answer."""
        lines.append(b"")

    def _finish(self, why: Exception) -> None:
        if not self._over:
            self._over = True
            if not self._closed:
                self._failure = why
        self._wake()

    def _shut(self) -> None:
        """Stop receiving and sending; what was sent before is written, then the pipe closed."""
        self._closed = True
        self._inbox.clear()
        self._wake()
        self._flush()
        self._let_in()
        if self._outgoing:
            self._outgoing.close()
        self._outlet.writable.set()

    async def _flushed(self) -> None:
        """Wait for the reader of a closing pipe as long as it keeps reading."""
        if self._outgoing is None:
            return
        give_up = self._loop.time() + _FLUSH_AT_MOST
        left = self._outgoing.get_write_buffer_size()
        while not await within(_STALLED, self._outlet.gone.wait()):
            still = self._outgoing.get_write_buffer_size()
            if still >= left or self._loop.time() > give_up:
                return
            left = still

    def _abandon(self) -> None:
        """Close the pipe to a reader that left or does not read, and drop what it has not taken."""
        if self._outgoing is None or self._outlet.lost:
            return
        # Aborting a transport that already closes would end it twice.
        if self._outgoing.get_write_buffer_size():
            self._outgoing.abort()
        else:
            self._outgoing.close()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _let_in(self) -> None:
        if self._held_back and self._incoming and not self._incoming.is_closing():
            self._incoming.resume_reading()
        self._held_back = False

    def _flush(self) -> None:
        if not self._outbox or self._outgoing is None:
            return
        self._outbox.append(b"")
        data = b"\n".join(self._outbox)
        self._outbox.clear()
        self._outbox_size = 0
        if not self._outlet.lost:
            self._outgoing.write(data)


class _Outgoing(asyncio.BaseProtocol):
    """The writing side of a pair: whether its reader keeps up, and whether it is still there."""

    def __init__(self) -> None:
        self.lost = False
        self.gone = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not later: the reader may be gone by then, and uvloop refuses a transport that is closed.
        transport.set_write_buffer_limits(high=HIGH_WATER)  # type: ignore[attr-defined]

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.gone.set()
        self.writable.set()


class _Joined(asyncio.Protocol):
    """Both sides on one socket, whose end of reading is not yet the end of writing."""

    def __init__(self, incoming: asyncio.Protocol, outgoing: asyncio.BaseProtocol) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    def data_received(self, data: bytes) -> None:
        self._incoming.data_received(data)

    def eof_received(self) -> bool:
        self._incoming.connection_lost(None)
        return True

    def pause_writing(self) -> None:
        self._outgoing.pause_writing()

    def resume_writing(self) -> None:
        self._outgoing.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._incoming.connection_lost(exc)
        self._outgoing.connection_lost(exc)


async def connect_reader(protocol: asyncio.Protocol, source: IO[bytes]) -> asyncio.ReadTransport:
    """Let *protocol* read *source*, which the transport closes in the end."""
    loop = asyncio.get_running_loop()
    if not _can_be_awaited(source.fileno()):
        return _ThreadReader(loop, protocol, source)
    transport = await _whole(loop.connect_read_pipe(lambda: protocol, source))
    with contextlib.suppress(AttributeError):  # uvloop reads as it likes
        transport.max_size = _CHUNK  # type: ignore[attr-defined]  asyncio's own is 256 kB
    return transport


async def connect_writer(protocol: asyncio.BaseProtocol, sink: IO[bytes]) -> asyncio.WriteTransport:
    """Write to *sink*, which the transport closes in the end; *protocol* hears of back-pressure."""
    loop = asyncio.get_running_loop()
    if not _can_be_awaited(sink.fileno()):
        return _ThreadWriter(loop, protocol, sink)
    return await _whole(loop.connect_write_pipe(lambda: protocol, sink))


async def _whole(connecting: Coroutine[Any, Any, tuple[AnyTransport, Any]]) -> AnyTransport:
    """The transport. Cancelled half-way uvloop would lose it, with the descriptor still open."""
    task = asyncio.ensure_future(connecting)
    try:
        transport, _ = await asyncio.shield(task)
    except asyncio.CancelledError:
        transport, _ = await task  # it waits for no peer
        transport.close()
        raise
    return transport


async def within(seconds: float, awaitable: Awaitable[object]) -> bool:
    """Whether *awaitable* finished in time; it is cancelled if not."""
    try:
        async with asyncio.timeout(seconds):
            await awaitable
    except TimeoutError:
        return False
    return True


def _can_be_awaited(fd: int) -> bool:
    if sys.platform == "win32":
        return False
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)):
        return False
    # epoll refuses some character devices, /dev/null among them; asyncio would learn it too late.
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(fd, selectors.EVENT_READ)
        except OSError:
            return False
    return True


def _post(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: Any) -> bool:
    """Call in the loop, from a thread; False if the loop is gone, and nobody there to hear."""
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        return False
    return True


class _ThreadReader(asyncio.ReadTransport):
    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, source: IO[bytes]
    ) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._source = source
        self._closing = False
        self._may_read = threading.Event()
        self._may_read.set()
        loop.call_soon(protocol.connection_made, self)
        threading.Thread(target=self._read, name="interlock stdin", daemon=True).start()

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Hand nothing on any more. A thread blocked in a read stays until something comes."""
        self._closing = True
        self._may_read.set()

    def _read(self) -> None:
        handed = threading.Semaphore(2)  # chunks under way to the loop, so that a pause is felt
        with self._source, contextlib.suppress(OSError):
            while not self._closing and (data := os.read(self._source.fileno(), _CHUNK)):
                handed.acquire()
                if not _post(self._loop, self._hand_over, data, handed):
                    return
                self._may_read.wait()
        _post(self._loop, self._protocol.connection_lost, None)

    def _hand_over(self, data: bytes, handed: threading.Semaphore) -> None:
        handed.release()
        if not self._closing:
            self._protocol.data_received(data)


class _ThreadWriter(asyncio.WriteTransport):
    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, sink: IO[bytes]
    ) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._sink = sink
        self._size = 0
        self._high = HIGH_WATER
        self._paused = False
        self._closing = False
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        loop.call_soon(protocol.connection_made, self)
        threading.Thread(target=self._drain, name="interlock stdout", daemon=True).start()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH_WATER if high is None else high

    def get_write_buffer_size(self) -> int:
        return self._size

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._closing:
            return
        self._size += len(data)
        self._queue.put(bytes(data))
        if self._size > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._queue.put(None)

    def abort(self) -> None:
        self.close()

    def _drain(self) -> None:
        error = None
        try:
            with self._sink:
                while (data := self._queue.get()) is not None:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[os.write(self._sink.fileno(), rest) :]
                    _post(self._loop, self._written, len(data))
        except OSError as failed:
            error = failed
        _post(self._loop, self._protocol.connection_lost, error)

    def _written(self, size: int) -> None:
        self._size -= size
        if self._paused and self._size <= self._high // 4:
            self._paused = False
            self._protocol.resume_writing()
