"""One POST a call; the answer may be JSON or a stream. Legacy servers keep a session beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from interlock.errors import (
    ConnectFailed,
    ConnectionLost,
    InvalidMessage,
    PeerError,
    RpcError,
    TimedOut,
)
from interlock.protocol.call import Call
from interlock.protocol.dispatch import Dispatch, Refusal, admit
from interlock.protocol.outgoing import Outgoing, outcome
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.session import Session
from interlock.transport.channel import MESSAGE_LIMIT
from interlock.transport.http.engine import Engine, Request, Response
from interlock.wire import headers as names
from interlock.wire import sse
from interlock.wire.headers import encode_value
from interlock.wire.jsonrpc import (
    UNREADABLE,
    Fault,
    Message,
    encode,
    notification,
    read,
    request,
)
from interlock.wire.meta import Id, RawResult, Wire
from interlock.wire.methods import TO_CLIENT
from interlock.wire.notices import CANCELLED, PROGRESS, CancelledNotice, ProgressNotice
from interlock.wire.versions import Revision

log: Final = logging.getLogger("interlock.http.client")

_ACCEPT: Final = "application/json, text/event-stream"
_VERSION: Final = names.PROTOCOL_VERSION.decode()
_SESSION: Final = names.SESSION_ID.decode()
_LAST_EVENT: Final = names.LAST_EVENT_ID.decode()
_METHOD: Final = names.METHOD.decode()
_NAME: Final = names.NAME.decode()
ERROR_LIMIT: Final = 64 * 1024
RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
_progress: Final = msgspec.json.Decoder(ProgressNotice)


class HttpError(PeerError):
    """The server answered with an HTTP error and no JSON-RPC one; *status* says which."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        self.status = status
        super().__init__(f"{url} answered with HTTP {status}{': ' + reason if reason else ''}")


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
        self._background: set[asyncio.Task[Any]] = set()
        self._closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def settle(self, outgoing: Outgoing, session: Session | None = None) -> None:
        """From now on speak *outgoing*'s revision; *session* is the client's side of a legacy one."""
        self.outgoing = outgoing
        self.session = session
        self._base[_VERSION] = outgoing.revision.name

    def listen(self) -> None:
        """Open a legacy session's standing stream, in the background, for as long as it lives."""
        self._standing = asyncio.create_task(self._stand(), name="interlock standing stream")

    async def handle(self, call: Call) -> RawResult:
        outgoing = self.outgoing
        if outgoing is None:
            raise ConnectionLost("the era is not settled yet")
        self._last_id += 1
        id = self._last_id
        row = call.row
        headers = self._base
        modern = outgoing.revision.modern
        if modern:
            headers = {**headers, _METHOD: row.name}
            if row.mirrored is not None:
                headers[_NAME] = encode_value(getattr(call.params, row.mirrored))
        token = id if row.may_ask else None
        body = request(id, row.name, outgoing.params(call, token))
        patience, deadline = call.patience, call.deadline
        if patience is None and deadline is None:
            return await self._round_trip(id, row.name, headers, body, call.outlet, None, modern)
        loop = asyncio.get_running_loop()
        now = loop.time()
        end = now + patience if patience is not None else None
        if deadline is not None:
            end = deadline if end is None else min(end, deadline)
        try:
            async with asyncio.timeout_at(end) as clock:

                def renew() -> None:
                    if patience is not None:
                        later = loop.time() + patience
                        clock.reschedule(later if deadline is None else min(later, deadline))

                return await self._round_trip(
                    id, row.name, headers, body, call.outlet, renew, modern
                )
        except TimeoutError:
            self._cancelled(id, "timed out")
            waited = "its deadline" if patience is None else f"{patience:g} s without progress"
            raise TimedOut(f"{row.name} got no answer from {self.url} within {waited}") from None
        except asyncio.CancelledError:
            self._cancelled(id, "cancelled")
            raise

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
        self._last_id += 1
        id = self._last_id
        headers = self._base
        if revision is not None:
            headers = {**headers, _VERSION: revision.name, _METHOD: method}
        body = request(id, method, params if isinstance(params, Raw) else encode(params))
        try:
            async with asyncio.timeout(patience):
                response = await self._engine.send(Request("POST", self.url, headers, body))
                try:
                    message = await self._answer(response, id, method, SILENT, None)
                    session_id = response.headers.get(_SESSION)
                finally:
                    response.close()
        except TimeoutError:
            raise TimedOut(f"{self.url} did not answer {method} within {patience:g} s") from None
        result = outcome(message, method, modern=revision is not None)
        return Raw(result.body), session_id

    def notify(self, method: str, params: Wire | Raw) -> None:
        data = params if isinstance(params, Raw) else encode(params)
        self._in_background(self.tell(notification(method, data)))

    async def tell(self, body: bytes) -> None:
        """POST a message that is not answered."""
        response = await self._engine.send(Request("POST", self.url, self._base, body))
        status = response.status
        response.close()
        if status >= 400:
            log.debug("%s answered a notification with HTTP %d", self.url, status)

    def keep_session(self, id: str | None) -> None:
        self.session_id = id
        if id is not None:
            self._base[_SESSION] = id

    async def wait_lost(self) -> Exception | None:
        return await asyncio.shield(self._closed)

    async def close(self) -> None:
        if self._closed.done():
            return
        self._closed.set_result(None)
        tasks = [task for task in (self._standing, *self._background) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.session_id is not None:
            # Being polite to a server that may be gone already must not take long.
            with contextlib.suppress(PeerError, TimeoutError):
                async with asyncio.timeout(1.0):
                    request = Request("DELETE", self.url, self._base)
                    (await self._engine.send(request)).close()
        await self._engine.close()

    async def _round_trip(
        self,
        id: Id,
        method: str,
        headers: Mapping[str, str],
        body: bytes,
        outlet: Outlet,
        renew: Callable[[], None] | None,
        modern: bool,
    ) -> RawResult:
        response = await self._engine.send(Request("POST", self.url, headers, body))
        try:
            message = await self._answer(response, id, method, outlet, renew)
        finally:
            response.close()
        return outcome(message, method, modern=modern)

    async def _answer(
        self,
        response: Response,
        id: Id,
        method: str,
        outlet: Outlet,
        renew: Callable[[], None] | None,
    ) -> Message:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "text/event-stream" and response.status < 300:
            reader = sse.Reader(MESSAGE_LIMIT)
            async for piece in response.pieces():
                for event in reader.feed(piece):
                    message = self._event(event, outlet, renew)
                    if message is not None and (message.id == id or message.id is None):
                        return message
            raise ConnectionLost(f"The stream from {self.url} ended before {method} was answered")
        if response.status >= 300:
            raise await self._http_error(response)
        body = await response.read(MESSAGE_LIMIT)
        if kind != "application/json":
            raise InvalidMessage(
                f"{self.url} answered {method} with {kind or 'no media type'}, which is neither "
                "JSON nor an event stream"
            )
        message = read(body)
        if type(message) is Fault:
            raise InvalidMessage(f"{self.url} answered {method} with no message: {message.message}")
        assert isinstance(message, Message)
        if message.method is not UNSET or (message.id != id and message.id is not None):
            raise InvalidMessage(f"{self.url} answered {method} with a message that is no answer")
        return message

    async def _http_error(self, response: Response) -> Exception:
        """The JSON-RPC error in an HTTP error, or the HTTP error itself."""
        body = b""
        with contextlib.suppress(PeerError):
            body = await response.read(ERROR_LIMIT)
        message = read(body) if body[:1] == b"{" else None
        if type(message) is Message and message.error:
            try:
                outcome(message, "", modern=False)
            except RpcError as error:
                return HttpRpcError(error, response.status)
        if 300 <= response.status < 400:
            where = response.headers.get("location", "elsewhere")
            return HttpError(self.url, response.status, f"it redirects to {where}; use that URL")
        return HttpError(self.url, response.status, body[:200].decode(errors="replace").strip())

    def _event(
        self, event: sse.Event, outlet: Outlet, renew: Callable[[], None] | None
    ) -> Message | None:
        """Act on one event of a call's stream; give the message back if it is a response."""
        if not event.data:
            return None
        message = read(event.data)
        if type(message) is Fault:
            log.debug("%s sent an event that is no message: %s", self.url, message.message)
            return None
        assert isinstance(message, Message)
        if message.method is UNSET:
            return message
        method = str(message.method)
        if message.id is not UNSET:
            self._in_background(self._answer_server(message))
        elif method == PROGRESS:
            if renew is not None:
                renew()
            try:
                outlet.notify(PROGRESS, _progress.decode(message.params))
            except UNREADABLE as error:
                log.debug("%s sent progress that cannot be read: %s", self.url, error)
        else:
            outlet.notify(method, message.params)
            if outlet is SILENT or not self._modern():
                self._tell(method, message.params)
        return None

    def _modern(self) -> bool:
        return self.outgoing is not None and self.outgoing.revision.modern

    def _tell(self, method: str, params: Raw) -> None:
        if self._on_notice is not None:
            self._on_notice(method, params)

    async def _answer_server(self, message: Message) -> None:
        """A request of the server's, which legacy ones send on any stream."""
        call = admit(message, TO_CLIENT, None, self.session)
        if isinstance(call, Refusal):
            reply = call.encode()
        else:
            reply, _ = await self._dispatch.respond(call)
        with contextlib.suppress(PeerError):
            await self.tell(reply)

    async def _stand(self) -> None:
        """Keep the standing stream open, with growing pauses between tries."""
        tries = 0
        last_event = ""
        while True:
            headers = {**self._base, "accept": "text/event-stream"}
            del headers["content-type"]
            if last_event:
                headers[_LAST_EVENT] = last_event
            try:
                response = await self._engine.send(Request("GET", self.url, headers))
                try:
                    if response.status >= 400:
                        return  # 405: the server has none. 404: the session is over.
                    reader = sse.Reader(MESSAGE_LIMIT)
                    async for piece in response.pieces():
                        tries = 0
                        for event in reader.feed(piece):
                            self._event(event, SILENT, None)
                    last_event = reader.last_event_id or last_event
                finally:
                    response.close()
            except PeerError as error:
                log.debug("standing stream of %s: %s", self.url, error)
            await asyncio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
            tries += 1

    def _cancelled(self, id: Id, why: str) -> None:
        """Tell a legacy server; a modern one has seen its stream close."""
        if not self._modern() and not self._closed.done():
            notice = CancelledNotice(request_id=id, reason=why)
            self._in_background(self.tell(notification(CANCELLED, encode(notice))))

    def _in_background(self, work: Any) -> None:
        task = asyncio.create_task(_quietly(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)


class HttpRpcError(RpcError):
    """A JSON-RPC error that came with an HTTP error status."""

    def __init__(self, error: RpcError, status: int) -> None:
        super().__init__(error.code, error.message, error.data)
        self.status = status


async def _quietly(work: Any) -> None:
    """Work whose failure the next call will show better than it could."""
    try:
        await work
    except (ConnectFailed, ConnectionLost, RpcError) as error:
        log.debug("in the background: %s", error)
