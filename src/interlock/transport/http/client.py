"""One POST a call; the answer may be JSON or a stream. Legacy servers keep a session beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from interlock.errors import (
    ConnectionLost,
    HttpError,
    HttpRpcError,
    InvalidMessage,
    PeerError,
    RpcError,
    TimedOut,
    UsageError,
)
from interlock.protocol.call import Call
from interlock.protocol.dispatch import Dispatch, admit
from interlock.protocol.ladder import Refusal
from interlock.protocol.outgoing import Outgoing, outcome
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.session import Session
from interlock.transport.channel import MESSAGE_LIMIT
from interlock.transport.http.engine import Engine, Request, Response
from interlock.wire import headers as names
from interlock.wire import sse
from interlock.wire.headers import BadHeader, encode_value
from interlock.wire.jsonrpc import (
    UNREADABLE,
    Fault,
    Message,
    encode,
    id_of,
    notification,
    read,
    request,
)
from interlock.wire.meta import Id, RawResult, Wire
from interlock.wire.methods import TO_CLIENT
from interlock.wire.notices import CANCELLED, MESSAGE, PROGRESS, CancelledNotice, ProgressNotice
from interlock.wire.versions import Revision

log: Final = logging.getLogger("interlock.http.client")

ERROR_LIMIT: Final = 64 * 1024
"""Bytes of an HTTP error that are read for what it says."""
BACKGROUND_LIMIT: Final = 1000
"""Notifications on their way, and questions being answered; what comes beyond is dropped."""
PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds before a stream is opened again; longer each time that nothing came."""
FRUITLESS: Final = 3
"""How often a broken answer is resumed without anything new coming."""

_STREAM: Final = "text/event-stream"
_ACCEPT: Final = "application/json, text/event-stream"
_VERSION: Final = names.PROTOCOL_VERSION.decode()
_SESSION: Final = names.SESSION_ID.decode()
_LAST_EVENT: Final = names.LAST_EVENT_ID.decode()
_METHOD: Final = names.METHOD.decode()
_NAME: Final = names.NAME.decode()
_progress: Final = msgspec.json.Decoder(ProgressNotice)
_cancelled: Final = msgspec.json.Decoder(CancelledNotice)


class _Question:
    """A request of ours without its answer."""

    __slots__ = ("id", "method", "outlet", "renew")

    def __init__(self, id: Id, method: str, outlet: Outlet = SILENT) -> None:
        self.id = id
        self.method = method
        self.outlet = outlet
        self.renew: Callable[[], None] | None = None

    def is_answered_by(self, message: Message) -> bool:
        # An error may come without an id; on a request's own response it can mean no other.
        number = id_of(message)
        return number == self.id or (number is None and bool(message.error))


class _Place:
    """How far a stream was read, and so where it can be resumed."""

    __slots__ = ("id", "retry", "spoilt")

    def __init__(self) -> None:
        self.id = ""
        self.retry: float | None = None
        self.spoilt: str | None = None
        """Why an event was lost, if one was: it may have been the answer."""

    def read(self, reader: sse.Reader, piece: bytes) -> list[sse.Event]:
        try:
            events = reader.feed(piece)
        except sse.EventTooLong as error:
            self.spoilt = str(error)
            events = error.events
        for event in events:
            if event.retry is not None:
                self.retry = min(event.retry / 1000, PAUSES[-1])
        self.id = reader.last_event_id or self.id
        return events


class SessionForgotten(ConnectionLost):
    """A legacy server does not know our session any more. It took nothing of the request."""


class HttpLink:
    """Calls to one URL.

    Until `settle` says what was negotiated, only `ask` works. *dispatch* answers what a legacy
    server asks. *on_notice* gets notifications that belong to no call; it may not block.
    """

    def __init__(
        self,
        url: str,
        engine: Engine,
        dispatch: Dispatch,
        *,
        headers: Mapping[str, str] | None = None,
        on_notice: Callable[[str, Raw], None] | None = None,
    ) -> None:
        self.url = url
        self.outgoing: Outgoing | None = None
        self.session_id: str | None = None
        self.session: Session | None = None
        self._engine = engine
        self._dispatch = dispatch
        self._base = {
            **{name.lower(): value for name, value in (headers or {}).items()},
            "accept": _ACCEPT,
            "content-type": "application/json",
        }
        self._on_notice = on_notice
        self._last_id = 0
        self._standing: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._answering: dict[Id, asyncio.Task[None]] = {}
        self._lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._closed = False

    def settle(self, outgoing: Outgoing, session: Session | None = None) -> None:
        """From now on speak *outgoing*'s revision; *session* is our side of a legacy one."""
        self.outgoing = outgoing
        self.session = session
        self._base[_VERSION] = outgoing.revision.name

    def keep_session(self, id: str | None) -> None:
        """Send the id that a legacy server gave its session with everything from now on."""
        self.session_id = id
        if id is not None:
            self._base[_SESSION] = id

    def listen(self) -> None:
        """Open a legacy session's standing stream, in the background, for as long as it lives."""
        self._standing = asyncio.create_task(self._stand(), name="interlock standing stream")

    async def handle(self, call: Call) -> RawResult:
        """Send *call* and wait for its answer; progress renews its patience.

        Raises `RpcError`, `TimedOut`, `HttpError`, or how the connection failed. Cancelling it
        tells the server.
        """
        outgoing = self.outgoing
        if outgoing is None:
            raise ConnectionLost("the era is not settled yet")
        row = call.row
        question = _Question(self._next_id(), row.name, call.outlet)
        headers = self._base
        modern = outgoing.revision.modern
        if modern:
            headers = {**headers, _METHOD: row.name}
            if row.mirrored is not None:
                headers[_NAME] = _mirrored(getattr(call.params, row.mirrored))
        params = outgoing.params(call, question.id if row.may_ask else None)
        post = Request("POST", self.url, headers, request(question.id, row.name, params))
        try:
            if call.patience is None and call.deadline is None:
                message = await self._round_trip(question, post)
            else:
                message = await self._in_time(question, post, call)
        except asyncio.CancelledError:
            self._give_up(question, "cancelled")
            raise
        return outcome(message, row.name, modern=modern)

    async def ask(
        self,
        method: str,
        params: Wire | Raw,
        *,
        revision: Revision | None = None,
        patience: float | None = None,
    ) -> tuple[Raw, str | None]:
        """Send a request outside any era: discovery, the handshake. Its result and session id.

        With *revision* it is sent as that modern revision's.
        """
        question = _Question(self._next_id(), method)
        headers = self._base
        if revision is not None:
            headers = {**headers, _VERSION: revision.name, _METHOD: method}
        data = params if isinstance(params, Raw) else encode(params)
        post = Request("POST", self.url, headers, request(question.id, method, data))
        try:
            async with asyncio.timeout(patience):
                response = await self._engine.send(post)
                try:
                    message = await self._answer(response, question)
                    session_id = response.headers.get(_SESSION)
                finally:
                    response.close()
        except TimeoutError:
            raise TimedOut(f"{self.url} did not answer {method} within {patience:g} s") from None
        result = outcome(message, method, modern=revision is not None)
        return Raw(result.body), session_id

    def notify(self, method: str, params: Wire | Raw) -> None:
        data = params if isinstance(params, Raw) else encode(params)
        self._in_background(lambda: self.tell(notification(method, data)))

    async def tell(self, body: bytes) -> None:
        """POST a message that is not answered."""
        response = await self._engine.send(Request("POST", self.url, self._base, body))
        try:
            if response.status >= 300:
                error = await self._http_error(response)
                log.debug("a notification or an answer was not taken: %s", error)
        finally:
            response.close()

    async def wait_lost(self) -> Exception | None:
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._lose(None)
        tasks = [task for task in (self._standing, *self._background) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.session_id is not None:
            # Being polite to a server that may be gone already must not take long.
            with contextlib.suppress(PeerError, TimeoutError):
                async with asyncio.timeout(1.0):
                    (await self._engine.send(Request("DELETE", self.url, self._base))).close()
        await self._engine.close()

    # One request.

    async def _in_time(self, question: _Question, post: Request, call: Call) -> Message:
        """The answer, unless patience without progress or the deadline runs out first."""
        loop = asyncio.get_running_loop()
        patience, deadline = call.patience, call.deadline

        def end() -> float | None:
            if patience is None:
                return deadline
            later = loop.time() + patience
            return later if deadline is None else min(later, deadline)

        try:
            async with asyncio.timeout_at(end()) as clock:
                question.renew = lambda: clock.reschedule(end())
                return await self._round_trip(question, post)
        except TimeoutError:
            self._give_up(question, "timed out")
            late = deadline is not None and loop.time() >= deadline
            waited = "its deadline" if late else f"{patience:g} s without progress"
            raise TimedOut(f"{call.method} got no answer from {self.url} within {waited}") from None

    async def _round_trip(self, question: _Question, post: Request) -> Message:
        response = await self._engine.send(post)
        try:
            return await self._answer(response, question)
        finally:
            response.close()

    async def _answer(self, response: Response, question: _Question) -> Message:
        if response.status >= 300:
            raise await self._http_error(response)
        kind = _media_type(response)
        if kind == _STREAM:
            return await self._answer_on_stream(response, question)
        body = await response.read(MESSAGE_LIMIT)
        if kind != "application/json":
            raise InvalidMessage(
                f"{self.url} answered {question.method} with {kind or 'no media type'}, which is "
                "neither JSON nor an event stream"
            )
        message = read(body)
        if type(message) is Fault:
            why = message.message
            raise InvalidMessage(f"{self.url} answered {question.method} with no message: {why}")
        if message.method is not UNSET or not question.is_answered_by(message):
            raise InvalidMessage(f"{self.url} answered {question.method} with what is no answer")
        return message

    async def _answer_on_stream(self, response: Response, question: _Question) -> Message:
        """The answer among the events of a stream, resumed if a legacy one breaks off."""
        place = _Place()
        message = await self._find(response, question, place)
        fruitless = 0
        while message is None:
            if place.spoilt is not None:
                raise InvalidMessage(f"{question.method}: {place.spoilt}")
            if not place.id or self._modern() or fruitless >= FRUITLESS:
                raise ConnectionLost(
                    f"The stream from {self.url} ended before {question.method} was answered"
                )
            reached = place.id
            await asyncio.sleep(place.retry if place.retry is not None else PAUSES[fruitless])
            resumed = await self._engine.send(self._get(place.id))
            try:
                if resumed.status < 300 and _media_type(resumed) == _STREAM:
                    message = await self._find(resumed, question, place)
            finally:
                resumed.close()
            fruitless = fruitless + 1 if place.id == reached else 0
        return message

    async def _find(self, response: Response, question: _Question, place: _Place) -> Message | None:
        reader = sse.Reader(MESSAGE_LIMIT)
        try:
            async for piece in response.pieces():
                for event in place.read(reader, piece):
                    message = self._take(event, question)
                    if message is not None and question.is_answered_by(message):
                        return message
        except ConnectionLost:
            if not place.id or self._modern():
                raise
        return None

    async def _http_error(self, response: Response) -> Exception:
        """The JSON-RPC error in an HTTP error, or the HTTP error itself."""
        status = response.status
        if status == 404 and _SESSION in self._base:
            lost = SessionForgotten(f"{self.url} does not know this session any more; connect anew")
            self.session_id = None
            self._lose(lost)
            return lost
        body = b""
        with contextlib.suppress(PeerError):
            body = await response.read(ERROR_LIMIT)
        message = read(body) if body[:1] == b"{" else None
        if type(message) is Message and message.error:
            try:
                outcome(message, "", modern=False)
            except RpcError as error:
                return HttpRpcError(error, status)
        if status < 400:
            where = response.headers.get("location", "elsewhere")
            return HttpError(self.url, status, f"it redirects to {where}; use that URL")
        return HttpError(self.url, status, body[:200].decode(errors="replace").strip())

    # What comes on streams.

    def _take(self, event: sse.Event, question: _Question | None) -> Message | None:
        """Act on one event; give the message back if it is a response."""
        if not event.data:
            return None  # It only primes the stream.
        message = read(event.data)
        if type(message) is Fault:
            log.debug("%s sent an event that is no message: %s", self.url, message.message)
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
            if outlet is SILENT or not (self._modern() or method == MESSAGE):
                if self._on_notice is not None:
                    self._on_notice(method, message.params)
            else:
                outlet.notify(method, message.params)
        return None

    def _progress(self, question: _Question, params: Raw) -> None:
        try:
            notice = _progress.decode(params)
        except UNREADABLE as error:
            log.debug("%s sent progress that cannot be read: %s", self.url, error)
            return
        if question.renew is not None:
            question.renew()
        question.outlet.notify(PROGRESS, notice)

    def _serve(self, message: Message, question: _Question | None) -> None:
        """Answer a request of the server's, which legacy ones send on any stream."""
        number = id_of(message)
        if self.session is None or number is None:
            log.debug("%s asked %s, which nobody answers", self.url, message.method)
            return
        call = admit(message, TO_CLIENT, None, self.session)
        if type(call) is Refusal:
            self._in_background(lambda: self.tell(call.encode()))
            return
        if question is not None:
            call.asked_on = question.outlet
        task = self._in_background(lambda: self._respond(call))
        if task is not None:
            self._answering[number] = task
            task.add_done_callback(lambda _: self._answering.pop(number, None))

    async def _respond(self, call: Call) -> None:
        body, _ = await self._dispatch.respond(call)
        await self.tell(body)

    def _stop_answering(self, params: Raw) -> None:
        try:
            task = self._answering.get(_cancelled.decode(params).request_id)
        except UNREADABLE:
            return  # A malformed cancellation is ignored (§ Cancellation).
        if task is not None:
            task.cancel()

    async def _stand(self) -> None:
        """Keep the standing stream open, with growing pauses between tries."""
        place = _Place()
        tries = 0
        while True:
            try:
                response = await self._engine.send(self._get(place.id))
                try:
                    if response.status == 404 or response.status >= 500:
                        raise await self._http_error(response)
                    if response.status >= 300 or _media_type(response) != _STREAM:
                        return  # 405 above all: the server has none.
                    reader = sse.Reader(MESSAGE_LIMIT)
                    async for piece in response.pieces():
                        tries = 0
                        for event in place.read(reader, piece):
                            self._take(event, None)
                finally:
                    response.close()
            except PeerError as error:
                log.debug("standing stream of %s: %s", self.url, error)
            if self._lost.done():
                return  # The session is over.
            pause = PAUSES[min(tries, len(PAUSES) - 1)]
            await asyncio.sleep(place.retry if place.retry is not None and not tries else pause)
            tries += 1

    def _get(self, last_event: str) -> Request:
        headers = {**self._base, "accept": _STREAM}
        del headers["content-type"]
        if last_event:
            headers[_LAST_EVENT] = last_event
        return Request("GET", self.url, headers)

    # The rest.

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _modern(self) -> bool:
        return self.outgoing is not None and self.outgoing.revision.modern

    def _lose(self, why: Exception | None) -> None:
        if not self._lost.done():
            self._lost.set_result(why)

    def _give_up(self, question: _Question, why: str) -> None:
        """Tell a legacy server; a modern one has seen its stream close."""
        if not self._modern():
            notice = CancelledNotice(request_id=question.id, reason=why)
            self.notify(CANCELLED, notice)

    def _in_background(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None] | None:
        if self._closed or len(self._background) >= BACKGROUND_LIMIT:
            log.debug("too much is on its way to %s; a message is dropped", self.url)
            return None
        task = asyncio.create_task(_quietly(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def _media_type(response: Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _mirrored(value: str) -> str:
    try:
        return encode_value(value)
    except BadHeader as error:
        raise UsageError(f"{value!a} cannot be sent as a name: {error}") from None


async def _quietly(work: Callable[[], Awaitable[None]]) -> None:
    """Work whose failure the next call will show better than it could."""
    try:
        await work()
    except (PeerError, RpcError) as error:
        log.debug("in the background: %s", error)
