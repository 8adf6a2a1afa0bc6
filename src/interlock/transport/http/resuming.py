"""Streams of a legacy server that break off, and where they are taken up again.

A server may close a stream on purpose after an event that only has an id, and say with `retry` when
to come back (SEP-1699): that is polling, not failure. Modern streams are never resumed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from interlock.errors import InterlockError
from interlock.transport.channel import MESSAGE_LIMIT
from interlock.transport.http.engine import Response
from interlock.wire import sse

log: Final = logging.getLogger("interlock.http.client")

PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds before a stream is opened again; longer each time that nothing came."""
FRUITLESS: Final = 3
"""How often a broken answer is resumed without a sign of life."""
SHORTEST: Final = 0.02
"""Seconds that are waited even if a server says it need not be; without, two peers would spin."""
LONGEST: Final = 86_400.0
"""Seconds that are waited at most; whoever calls sets closer limits."""
ID_LIMIT: Final = 4096
"""Characters of an event's id: it travels back in a header."""


class Place:
    """How far a stream was read, and so where and when it can be resumed."""

    __slots__ = ("heard", "id", "retry", "spoilt")

    def __init__(self) -> None:
        self.id = ""
        """Empty where there is nothing to resume after."""
        self.retry: float | None = None
        self.spoilt: str | None = None
        """Why an event was lost, if one was: it may have been the answer."""
        self.heard = False
        """Whether anything came since the stream was last opened."""

    def reader(self) -> sse.Reader:
        """A reader for the stream that was just opened, which goes on from here."""
        self.heard = False
        reader = sse.Reader(MESSAGE_LIMIT)
        # An event without an id leaves the place as it was; one with an empty id takes it away.
        reader.last_event_id = self.id
        return reader

    def read(self, reader: sse.Reader, piece: bytes) -> list[sse.Event]:
        self.heard = True
        try:
            events = reader.feed(piece)
        except sse.EventTooLong as error:
            self.spoilt = str(error)
            events = error.events
        for event in events:
            if event.retry is not None:
                self.retry = min(max(event.retry / 1000, SHORTEST), LONGEST)
        self.id = reader.last_event_id if len(reader.last_event_id) <= ID_LIMIT else ""
        return events

    def pause(self, tries: int) -> float:
        """Seconds to wait after *tries* that brought nothing: what the server said, if it did."""
        return self.retry if self.retry is not None else _growing(tries)


async def stand(
    open: Callable[[Place], Awaitable[Response | None]],
    take: Callable[[sse.Event], object],
    is_over: Callable[[], bool],
) -> None:
    """Keep a session's standing stream open, with growing pauses between tries that bring nothing.

    *open* gives the stream, or None if the server has none. It ends with the session.
    """
    place = Place()
    tries = 0
    while True:
        try:
            response = await open(place)
            if response is None:
                return
            try:
                reader = place.reader()
                async for piece in response.pieces():
                    tries = 0
                    for event in place.read(reader, piece):
                        take(event)
            finally:
                response.close()
        except InterlockError as error:
            log.debug("a standing stream broke off: %s", error)
        if is_over():
            return
        # Nobody waits for anything here, so what brings nothing is tried ever more rarely.
        await asyncio.sleep(max(place.pause(tries), _growing(tries) if tries else 0.0))
        tries += 1


def _growing(tries: int) -> float:
    return PAUSES[min(tries, len(PAUSES) - 1)]
