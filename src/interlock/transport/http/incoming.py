"""What a server sends on any stream beside answers: notices, progress, and a legacy one's questions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from interlock.errors import InterlockError
from interlock.protocol.call import Call
from interlock.protocol.dispatch import Dispatch, admit
from interlock.protocol.ladder import Refusal
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.session import Session
from interlock.wire import sse
from interlock.wire.jsonrpc import UNREADABLE, Fault, Message, id_of, read
from interlock.wire.meta import Id
from interlock.wire.methods import TO_CLIENT
from interlock.wire.notices import CANCELLED, MESSAGE, PROGRESS, CancelledNotice, ProgressNotice

log: Final = logging.getLogger("interlock.http.client")

BACKGROUND_LIMIT: Final = 1000
"""Notifications on their way, and questions being answered; what comes beyond is dropped."""

_progress: Final = msgspec.json.Decoder(ProgressNotice)
_cancelled: Final = msgspec.json.Decoder(CancelledNotice)


class Question:
    """A request of ours without its answer.

    *renew* is called when its server was heard of, and whenever *asked*, the number of questions
    that the server waits for before it goes on, is not what it was.
    """

    __slots__ = ("asked", "id", "method", "outlet", "renew")

    def __init__(self, id: Id, method: str, outlet: Outlet = SILENT) -> None:
        self.id = id
        self.method = method
        self.outlet = outlet
        self.asked = 0
        self.renew: Callable[[], None] | None = None

    def asks(self, more: int) -> None:
        self.asked += more
        if self.renew is not None:
            self.renew()

    def is_answered_by(self, message: Message) -> bool:
        # An error may come without an id; on a request's own response it can mean no other.
        number = id_of(message)
        return number == self.id or (number is None and bool(message.error))


class Incoming:
    """Acts on what comes, and keeps what that takes in the background.

    *tell* sends a message that is not answered: our answers are such.
    """

    def __init__(
        self,
        url: str,
        dispatch: Dispatch,
        tell: Callable[[bytes], Awaitable[None]],
        on_notice: Callable[[str, Raw], None] | None,
    ) -> None:
        self._url = url
        self._dispatch = dispatch
        self._tell = tell
        self._on_notice = on_notice
        self._session: Session | None = None
        self._modern = False
        self._background: set[asyncio.Task[None]] = set()
        self._answering: dict[Id, asyncio.Task[None]] = {}
        self._closed = False

    def settle(self, session: Session | None, *, modern: bool) -> None:
        """From now on a server with our *session* may ask; a modern one may not."""
        self._session = session
        self._modern = modern

    def take(self, event: sse.Event, question: Question | None = None) -> Message | None:
        """Act on one event; give the message back if it is a response."""
        if not event.data:
            return None  # It only primes the stream.
        message = read(event.data)
        if type(message) is Fault:
            log.debug("%s sent an event that is no message: %s", self._url, message.message)
            return None
        method = message.method
        if method is UNSET:
            return message
        if message.id is not UNSET:
            self._serve(message, question)
        elif method == CANCELLED:
            self._stop_answering(message.params)
        elif method == PROGRESS:
            if question is not None:
                self._progress(question, message.params)
        else:
            outlet = question.outlet if question is not None else SILENT
            # What a legacy server sends on any stream may concern none of our calls; a log line on a
            # call's stream is that call's, and must not be heard twice.
            if outlet is SILENT or not (self._modern or method == MESSAGE):
                if self._on_notice is not None:
                    self._on_notice(method, message.params)
            else:
                outlet.notify(method, message.params)
        return None

    def _progress(self, question: Question, params: Raw) -> None:
        try:
            notice = _progress.decode(params)
        except UNREADABLE as error:
            log.debug("%s sent progress that cannot be read: %s", self._url, error)
            return
        if question.renew is not None:
            question.renew()
        question.outlet.notify(PROGRESS, notice)

    def _serve(self, message: Message, question: Question | None) -> None:
        """Answer a request of the server's, which legacy ones send on any stream."""
        number = id_of(message)
        if self._session is None or number is None:
            log.debug("%s asked %s, which nobody answers", self._url, message.method)
            return
        call = admit(message, TO_CLIENT, None, self._session)
        if type(call) is Refusal:
            self.later(lambda: self._tell(call.encode()))
            return
        if question is not None:
            call.asked_on = question.outlet
        task = self.later(lambda: self._respond(call))
        if task is not None:
            self._answering[number] = task
            task.add_done_callback(lambda _: self._answering.pop(number, None))
            if question is not None:
                question.asks(+1)
                task.add_done_callback(lambda _: question.asks(-1))

    async def _respond(self, call: Call) -> None:
        body, _ = await self._dispatch.respond(call)
        await self._tell(body)

    def _stop_answering(self, params: Raw) -> None:
        try:
            task = self._answering.get(_cancelled.decode(params).request_id)
        except UNREADABLE:
            return  # A malformed cancellation is ignored (§ Cancellation).
        if task is not None:
            task.cancel()

    def later(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None] | None:
        """Do *work* without anyone waiting for it."""
        if self._closed or len(self._background) >= BACKGROUND_LIMIT:
            log.debug("too much is on its way to %s; a message is dropped", self._url)
            return None
        task = asyncio.create_task(_quietly(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def close(self) -> None:
        """End what runs in the background, and begin nothing more."""
        self._closed = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)


async def _quietly(work: Callable[[], Awaitable[None]]) -> None:
    """Work whose failure the next call will show better than it could."""
    try:
        await work()
    except InterlockError as error:
        log.debug("in the background: %s", error)
