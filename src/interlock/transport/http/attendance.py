"""Who notices, once a call really waits, that nobody wants its answer any more."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from enum import Enum
from typing import Any, TypeVar

from interlock.protocol.call import Call
from interlock.transport.http.plain import Way
from interlock.transport.http.reply import Reply
from interlock.transport.http.sessions import HttpSession

T = TypeVar("T")


class End(Enum):
    """Why a call ended before its handler did."""

    LEFT = "its client closed the stream"
    CANCELLED = "its client cancelled it"
    STOPPED = "the server stops"


class Attendance:
    """What a running call can be ended by. Made in the task that runs it.

    While it lasts it stands in *among*, and in its session's running calls. Without *way*
    somebody else watches the connection.
    """

    __slots__ = ("_among", "_call", "_reply", "_session", "_task", "_way", "end")

    def __init__(
        self,
        call: Call,
        session: HttpSession | None,
        among: set[Attendance],
        reply: Reply,
        way: Way | None,
    ) -> None:
        self.end: End | None = None
        self._way = way
        self._reply = reply
        self._among = among
        self._call = call
        self._session = session
        self._task = asyncio.current_task()
        among.add(self)
        if session is not None:
            session.running[call.id] = self
        if way is not None:
            way.watch(self._leave)
        reply.fill_silence()

    def finish(self) -> End | None:
        """Nothing ends the call from here on; why it ended before its handler did, if it did."""
        if self.end is not None and self._task is not None:
            self._task.uncancel()
        if self._way is not None:
            self._way.unwatch()
        self._among.discard(self)
        if self._session is not None:
            self._session.running.pop(self._call.id, None)
        return self.end

    def cancel(self) -> None:
        self._finish_early(End.CANCELLED)

    def stop(self) -> None:
        self._finish_early(End.STOPPED)

    def _leave(self) -> None:
        self._reply.hang_up()
        # Closing the stream is how a modern client cancels; a legacy one may only have lost it
        # (2025-11-25 § Transports: a disconnect should not be taken for a cancellation).
        if self._session is None:
            self._finish_early(End.LEFT)

    def _finish_early(self, end: End) -> None:
        if self.end is None and self._task is not None:
            self.end = end
            self._call.cancelled = True
            self._task.cancel()


@types.coroutine
def resumed(coroutine: Coroutine[Any, Any, T], awaited: object) -> Generator[Any, Any, T]:
    """Go on with *coroutine*, whose first step was taken by hand and which waits for *awaited*."""
    try:
        while True:
            try:
                value = yield awaited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                # Whatever is thrown in, a cancellation above all, is the coroutine's to see.
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(value)
    except StopIteration as stop:
        return stop.value
