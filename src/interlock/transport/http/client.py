"""One POST a call; the answer may be JSON or a stream. Legacy servers keep a session beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from msgspec import UNSET, Raw

from interlock.errors import (
    HEADER_MISMATCH,
    ConnectFailed,
    ConnectionLost,
    HttpError,
    HttpRpcError,
    InterlockError,
    InvalidMessage,
    PeerError,
    RpcError,
    TimedOut,
    UsageError,
)
from interlock.protocol.call import Call
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.outgoing import Outgoing, outcome
from interlock.protocol.session import Session
from interlock.transport.channel import MESSAGE_LIMIT
from interlock.transport.http.engine import Engine, Request, Response
from interlock.transport.http.incoming import Incoming, Question
from interlock.transport.http.mirroring import LIST, Mirroring
from interlock.transport.http.patience import Clock
from interlock.transport.http.resuming import FRUITLESS, Place, stand
from interlock.wire import headers as names
from interlock.wire.headers import BadHeader, encode_value
from interlock.wire.jsonrpc import (
    Fault,
    Message,
    encode,
    notification,
    read,
    request,
)
from interlock.wire.meta import RawResult, Wire
from interlock.wire.notices import (
    CANCELLED,
    CancelledNotice,
)
from interlock.wire.parameters import Mirrored
from interlock.wire.versions import Revision

log: Final = logging.getLogger("interlock.http.client")

HEADS: Final = 1000
"""Methods and names whose headers are kept; beyond it they are made anew."""
_SHORT: Final = 200
ERROR_LIMIT: Final = 64 * 1024
"""Bytes of an HTTP error that are read for what it says."""
_PASSING: Final = (408, 429)
"""Statuses below 500 that may be gone the next time."""
_JSON: Final = "application/json"
_STREAM: Final = "text/event-stream"
_ACCEPT: Final = "application/json, text/event-stream"
_VERSION: Final = names.PROTOCOL_VERSION.decode()
_SESSION: Final = names.SESSION_ID.decode()
_LAST_EVENT: Final = names.LAST_EVENT_ID.decode()
_METHOD: Final = names.METHOD.decode()
_NAME: Final = names.NAME.decode()


class SessionForgotten(ConnectionLost):
    """A legacy server does not know our session any more.

    Without *taken* it said so to the request itself, and so took nothing of it. With it the request
    had been taken before; whether it ran is not known.
    """

    def __init__(self, url: str, *, taken: bool = False) -> None:
        super().__init__(f"{url} does not know this session any more; connect anew")
        self.taken = taken


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
        self.mirroring = Mirroring(url, on_notice)
        self.outgoing: Outgoing | None = None
        self.session_id: str | None = None
        self._engine = engine
        self._incoming = Incoming(url, dispatch, self.tell, on_notice)
        self._base = {
            **{name.lower(): value for name, value in (headers or {}).items()},
            "accept": _ACCEPT,
            "content-type": "application/json",
        }
        self._last_id = 0
        self._calls = 0
        self._heads: dict[tuple[str, str | None], Mapping[str, str]] = {}
        self._clock = Clock()
        self._idle = asyncio.Event()
        self._idle.set()
        self._standing: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._closing: asyncio.Task[None] | None = None

    def settle(self, outgoing: Outgoing, session: Session | None = None) -> None:
        """From now on speak *outgoing*'s revision; *session* is our side of a legacy one."""
        self.outgoing = outgoing
        self._incoming.settle(session, modern=outgoing.revision.modern)
        self._base[_VERSION] = outgoing.revision.name
        self._heads.clear()

    def keep_session(self, id: str | None) -> None:
        """Send the id that a legacy server gave its session with everything from now on."""
        self.session_id = id
        if id is not None:
            self._base[_SESSION] = id
            self._heads.clear()

    def listen(self) -> None:
        """Open a legacy session's standing stream, in the background, for as long as it lives."""
        standing = stand(self._open_standing, self._incoming.take, self._lost.done)
        self._standing = asyncio.create_task(standing, name="interlock standing stream")

    async def handle(self, call: Call) -> RawResult:
        """Send *call* and wait for its answer; progress renews its patience.

        Raises `RpcError`, `TimedOut`, `HttpError`, or how the connection failed. Cancelling it
        tells the server.
        """
        wanted = self.mirroring.wanted(call)
        try:
            return await self._handle(call, wanted)
        except RpcError as error:
            if error.code != HEADER_MISMATCH:
                raise
            if not await self.mirroring.wants_otherwise(call, wanted, self._list):
                raise
        return await self._handle(call, self.mirroring.wanted(call))

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
        question = Question(self._next_id(), method)
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
        self._incoming.later(lambda: self.tell(notification(method, data)))

    async def tell(self, body: bytes) -> None:
        """POST a message that is not answered."""
        response = await self._engine.send(Request("POST", self.url, self._base, body))
        try:
            if response.status >= 300:
                error = await self._http_error(response)
                log.debug("a notification or an answer was not taken: %s", error)
        finally:
            response.close()

    def wait_for_person(self, waiting: bool) -> None:
        """Somebody logs in before calls go on, or has: until then no patience runs out."""
        self._clock.wait_for_person(waiting)

    async def wait_lost(self) -> Exception | None:
        return await asyncio.shield(self._lost)

    async def retire(self) -> None:
        """Close once the calls that run have ended: their streams may outlive a session."""
        await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        # In a task of its own: two may close, and one of them be cancelled.
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name=f"interlock ends {self.url}")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._closed.set()
        self._lose(None)
        self._clock.close()
        await self._incoming.close()
        if self._standing is not None:
            self._standing.cancel()
            await asyncio.wait([self._standing])
        if self.session_id is not None:
            # Being polite to a server that may be gone already must not take long.
            with contextlib.suppress(InterlockError, TimeoutError):
                async with asyncio.timeout(1.0):
                    (await self._engine.send(Request("DELETE", self.url, self._base))).close()
        await self._engine.close()

    # One request.

    async def _handle(self, call: Call, wanted: tuple[Mirrored, ...]) -> RawResult:
        outgoing = self.outgoing
        if outgoing is None:
            raise ConnectionLost("the era is not settled yet")
        row = call.row
        question = Question(self._next_id(), row.name, call.outlet)
        headers: Mapping[str, str] = self._base
        modern = outgoing.revision.modern
        if modern:
            name = getattr(call.params, row.mirrored) if row.mirrored is not None else None
            headers = self._heads.get((row.name, name)) or self._head(row.name, name)
            if wanted:
                headers = {**headers, **self.mirroring.headers(wanted, call)}
        params = outgoing.params(call, question.id if row.may_ask else None)
        post = Request("POST", self.url, headers, request(question.id, row.name, params))
        self._calls += 1
        self._idle.clear()
        try:
            with self._clock.limit(question, call.patience, call.deadline):
                message = await self._round_trip(question, post)
        except asyncio.CancelledError:
            self._give_up(question, "cancelled")
            raise
        except TimeoutError:
            self._give_up(question, "timed out")
            raise self._late(call) from None
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
        result = outcome(message, row.name, modern=modern)
        return self.mirroring.learn(result) if modern and row is LIST else result

    def _head(self, method: str, name: str | None) -> Mapping[str, str]:
        """The headers of a modern request; kept, as what is called once is mostly called again."""
        head = {**self._base, _METHOD: method}
        if name is not None:
            head[_NAME] = _mirrored(name)
        if len(self._heads) >= HEADS:
            self._heads.clear()
        if name is None or len(name) <= _SHORT:
            self._heads[method, name] = head
        return head

    def _late(self, call: Call) -> TimedOut:
        late = call.deadline is not None and asyncio.get_running_loop().time() >= call.deadline
        waited = "its deadline" if late else f"{call.patience:g} s without progress"
        return TimedOut(f"{call.method} got no answer from {self.url} within {waited}")

    def _list(self, call: Call) -> Awaitable[RawResult]:
        return self._handle(call, ())

    async def _round_trip(self, question: Question, post: Request) -> Message:
        response = await self._engine.send(post)
        try:
            return await self._answer(response, question)
        finally:
            response.close()

    async def _answer(self, response: Response, question: Question) -> Message:
        if response.status >= 300:
            raise await self._http_error(response)
        kind = _media_type(response)
        if kind == _STREAM:
            return await self._answer_on_stream(response, question)
        body = await response.read(MESSAGE_LIMIT)
        if kind != _JSON:
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

    async def _answer_on_stream(self, response: Response, question: Question) -> Message:
        """The answer among the events of a stream, resumed if a legacy one breaks off."""
        place = Place()
        message = await self._find(response, question, place)
        fruitless = 0
        broken: Exception | None = None
        while message is None:
            if place.spoilt is not None:
                raise InvalidMessage(f"{question.method}: {place.spoilt}")
            if not place.id or self._modern() or fruitless >= FRUITLESS:
                raise self._unanswered(question) from broken
            await self._pause(place.pause(fruitless), question)
            place.heard = False
            try:
                message = await self._resume(question, place)
            except ConnectFailed as error:
                broken = error
            # A stream on which anything came was the server's to end: it may be polling (SEP-1699).
            fruitless = 0 if place.heard else fruitless + 1
        return message

    async def _pause(self, seconds: float, question: Question) -> None:
        """Wait before a stream is resumed; raises if the link is closed, as it cannot be then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()
            raise ConnectionLost(f"{question.method} got no answer before {self.url} was left")

    async def _resume(self, question: Question, place: Place) -> Message | None:
        try:
            response = await self._engine.send(self._get(place.id))
        except ConnectionLost as error:
            raise ConnectFailed(str(error)) from error
        try:
            if response.status == 404 and _SESSION in self._base:
                raise self._forgotten(taken=True)
            if response.status < 300 and _media_type(response) == _STREAM:
                return await self._find(response, question, place)
            if response.status < 500 and response.status not in _PASSING:
                raise self._unanswered(question)
        finally:
            response.close()
        return None

    def _unanswered(self, question: Question) -> ConnectionLost:
        return ConnectionLost(
            f"The stream from {self.url} ended before {question.method} was answered"
        )

    async def _find(self, response: Response, question: Question, place: Place) -> Message | None:
        reader = place.reader()
        try:
            async for piece in response.pieces():
                for event in place.read(reader, piece):
                    message = self._incoming.take(event, question)
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
            return self._forgotten()
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

    def _forgotten(self, *, taken: bool = False) -> SessionForgotten:
        lost = SessionForgotten(self.url, taken=taken)
        self.session_id = None
        self._lose(lost)
        return lost

    async def _open_standing(self, place: Place) -> Response | None:
        response = await self._engine.send(self._get(place.id))
        if response.status < 300 and _media_type(response) == _STREAM:
            return response
        try:
            if response.status == 404 or response.status >= 500:
                raise await self._http_error(response)
        finally:
            response.close()
        return None  # 405 above all: the server has none.

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

    def _give_up(self, question: Question, why: str) -> None:
        """Tell a legacy server; a modern one has seen its stream close."""
        if not self._modern():
            notice = CancelledNotice(request_id=question.id, reason=why)
            self.notify(CANCELLED, notice)


def _media_type(response: Response) -> str:
    said = response.headers.get("content-type", "")
    return said if said == _JSON else said.partition(";")[0].strip().lower()


def _mirrored(value: str) -> str:
    try:
        return encode_value(value)
    except BadHeader as error:
        raise UsageError(f"{value!a} cannot be sent as a name: {error}") from None
