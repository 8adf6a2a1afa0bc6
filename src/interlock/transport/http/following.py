"""The response to a GET: a stream of a legacy session, followed to its end or until it is lost."""

from __future__ import annotations

import asyncio

from interlock.transport.http.distant import Distant
from interlock.transport.http.plain import Header, Receive, Send, left
from interlock.transport.http.reply import ALIVE, HERE, STREAM_HEADERS
from interlock.transport.http.streams import Stream


async def follow(
    stream: Stream | Distant,
    after: int,
    receive: Receive,
    send: Send,
    headers: list[Header],
    *,
    keep_alive: float,
    prime: bool,
    lasts: float | None = None,
) -> None:
    """Send what comes on *stream* behind event *after*, and a sign of life every so often.

    *prime* opens it with an event that is only an id. *lasts* is for how many seconds it is followed
    at most; what comes later waits for a client that comes back.
    """
    arrived = asyncio.Event()
    reader = stream.read(after, arrived.set)
    watcher = asyncio.create_task(left(receive, reader.lose))
    timer = None
    if lasts is not None:
        timer = asyncio.get_running_loop().call_later(lasts, reader.lose)
    headers = [*STREAM_HEADERS, *headers]
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # Something at once: servers that wait for a first byte send the headers with it.
        if prime:
            stream.add(b"")
        else:
            await send({"type": "http.response.body", "body": HERE, "more_body": True})
        while not reader.over:
            if chunk := reader.pull() or await _silence(arrived, keep_alive):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except OSError:
        reader.lose()  # How a standing stream usually ends.
    finally:
        watcher.cancel()
        if timer is not None:
            timer.cancel()
        reader.leave()


async def _silence(arrived: asyncio.Event, keep_alive: float) -> bytes:
    """Wait until something *arrived*; what to say if it takes too long."""
    arrived.clear()
    try:
        await asyncio.wait_for(arrived.wait(), keep_alive)
    except TimeoutError:
        return ALIVE
    return b""
