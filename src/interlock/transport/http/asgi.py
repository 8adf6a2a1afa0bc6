"""The MCP endpoint, as an ASGI app, for mounting anywhere.

It serves both eras at one path, starts its service by itself when the host does not run lifespans,
and answers with and without a trailing slash.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET

from interlock.errors import INTERNAL_ERROR, INVALID_REQUEST
from interlock.protocol.call import Call, Service
from interlock.protocol.dispatch import Dispatch, admit
from interlock.protocol.exchange import RUNNING_LIMIT
from interlock.protocol.ladder import Refusal
from interlock.protocol.session import Session
from interlock.transport.http.guards import BODY_LIMIT, LOOPBACK, Guards, Head, Rejection
from interlock.transport.http.reply import ALIVE, KEEP_ALIVE, STREAM_HEADERS, Header, Reply, Send
from interlock.transport.http.sessions import HttpSession, Sessions
from interlock.wire import sse
from interlock.wire.jsonrpc import UNREADABLE, Fault, Message, failure, read, success
from interlock.wire.meta import SUBSCRIPTION_ID
from interlock.wire.methods import INITIALIZE, LISTEN, TO_SERVER
from interlock.wire.notices import CANCELLED, INITIALIZED, CancelledNotice, ListenResult
from interlock.wire.versions import BY_NAME as REVISIONS
from interlock.wire.versions import MODERN

log: Final = logging.getLogger("interlock.http")

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

SESSION_GONE: Final = -32001
"""What the field answers for a legacy session that is not there; the spec gives it a status only."""

_LAST: Final[list[Header]] = [(b"connection", b"close")]
_ALLOW: Final[list[Header]] = [(b"allow", b"POST, GET, DELETE, OPTIONS")]
_EXPOSED: Final = b"Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate"
_cancelled: Final = msgspec.json.Decoder(CancelledNotice)


class App:
    """An ASGI application that serves *service* at *path*.

    Mounted under a prefix it answers at the prefix itself as well. *hosts* and *origins* are what
    `guards.Guards` takes: name your public host when you serve one. *keep_alive* is after how many
    seconds of silence a stream says that it lives. Call `close()` before the HTTP server waits for
    connections to end: open streams end only with it.
    """

    def __init__(
        self,
        service: Service,
        *,
        path: str = "/mcp",
        hosts: Sequence[str] = LOOPBACK,
        origins: Sequence[str] = (),
        body_limit: int = BODY_LIMIT,
        sessions: Sessions | None = None,
        keep_alive: float = KEEP_ALIVE,
    ) -> None:
        self.service = service
        self.path = path.rstrip("/")
        self.guards = Guards(hosts, origins, body_limit)
        self.sessions = sessions if sessions is not None else Sessions()
        self.dispatch = Dispatch(service)
        self.keep_alive = keep_alive
        self.attended: set[_Attendance] = set()
        self._starting: asyncio.Task[None] | None = None
        self._ready = False
        self._closed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._serve_other(scope["type"], receive, send)
            return
        if scope["path"] != self.path and not self._is_ours(scope):
            await _refuse(send, 404, f"Nothing is served at {scope['path']}; try {self.path}")
            return
        if not self._ready and not await self._become_ready(send):
            return
        head = self.guards.inspect(scope["headers"])
        if type(head) is Rejection:
            await _refuse(send, head.status, head.reason)
            return
        match scope["method"]:
            case "POST":
                await self._post(head, receive, send)
            case "GET":
                await self._get(head, receive, send)
            case "DELETE":
                await self._delete(head, send)
            case "OPTIONS":
                await self._preflight(head, send)
            case "HEAD":
                await _bare(send, 405, _ALLOW)
            case method:
                await _refuse(send, 405, f"{method} is not served; use POST", _ALLOW)

    async def start(self) -> None:
        """Start the service, once; requests do it where nobody else did.

        Raises what starting it raised; the next try starts anew.
        """
        self._closed = False
        if self._starting is None:
            # In a task of its own: whoever asked first may leave before it is done.
            self._starting = asyncio.create_task(self._start(), name="interlock service start")
        await asyncio.shield(self._starting)

    def close(self) -> None:
        """End sessions, streams and calls that still run. Nothing is answered after it."""
        self._closed = True
        self._ready = False
        for attendance in list(self.attended):
            attendance.stop()
        self.sessions.close()

    async def stop(self) -> None:
        """Close, and stop the service if it was started."""
        self.close()
        starting, self._starting = self._starting, None
        if starting is not None:
            await asyncio.wait([starting])
            self._ready = False
            if not starting.cancelled() and starting.exception() is None:
                await self.service.stop()

    async def _start(self) -> None:
        try:
            await self.service.start()
        except BaseException:
            self._starting = None
            raise
        self._ready = not self._closed

    async def _become_ready(self, send: Send) -> bool:
        """Start the service for the first request; whether that request can be served."""
        if not self._closed:
            try:
                await self.start()
            except Exception:
                # The boundary: why it did not start is for its operator, who reads the log.
                log.exception("the service did not start")
                await _refuse(send, 503, "The server could not start", code=INTERNAL_ERROR)
                return False
        if self._closed:
            await _refuse(send, 503, "The server is stopping", _LAST, code=INTERNAL_ERROR)
        return not self._closed

    def _is_ours(self, scope: Scope) -> bool:
        path, root = scope["path"], scope.get("root_path", "").rstrip("/")
        if root and (path == root or path.startswith(root + "/")):
            path = path[len(root) :]
            if path in ("", "/"):
                return True
        return path.rstrip("/") == self.path

    # One request.

    async def _post(self, head: Head, receive: Receive, send: Send) -> None:
        cors = _cors(head)
        if not head.json_body:
            await _refuse(send, 415, "Content-Type must be application/json, unencoded", cors)
            return
        if not (head.takes_json or head.takes_stream):
            why = "Accept must allow application/json and text/event-stream"
            await _refuse(send, 406, why, cors)
            return
        event = await receive()
        body: bytes | None = event.get("body", b"")
        if event.get("more_body"):
            body = await self._rest(body or b"", receive)
        elif event["type"] == "http.disconnect":
            body = None
        if body is None:
            return  # The client left before it had said what it wants.
        if len(body) > self.guards.body_limit:
            limit = self.guards.body_limit
            await _refuse(send, 413, f"The body is longer than the {limit} bytes taken", cors)
            return
        message = read(body)
        if type(message) is Fault:
            await _turn_away(send, Refusal.of(message), cors)
            return
        session = self.sessions.find(head.session) if head.session is not None else None
        number = message.id
        if message.method is UNSET or number is UNSET or number is None:
            await self._accept(message, head, session, send, cors)
            return

        belongs: Session | Refusal | None = None
        if session is not None:
            belongs = _room_for(number, session)
        elif head.session is not None:
            belongs = _GONE
        elif message.method == INITIALIZE:
            session = self.sessions.prepare()
            belongs = session.session
        call = admit(message, TO_SERVER, head.mirror, belongs)
        if type(call) is Refusal:
            await _turn_away(send, call, cors)
            return
        headers = cors
        if call.session is None:
            session = None
        elif session is not None and call.row.name == INITIALIZE:
            self.sessions.keep(session)
            headers = [*cors, (b"mcp-session-id", session.session.id.encode())]
        await self._run(call, session, head, headers, receive, send)

    async def _run(
        self,
        call: Call,
        session: HttpSession | None,
        head: Head,
        headers: list[Header],
        receive: Receive,
        send: Send,
    ) -> None:
        reply = Reply(
            send,
            headers,
            streams=head.takes_stream,
            json=head.takes_json,
            session=session,
            keep_alive=self.keep_alive,
        )
        call.outlet = reply
        waiting: list[_Attendance] = []

        def waits() -> None:
            waiting.append(_Attendance(self, call, session, reply, receive))

        answer: tuple[bytes, int] | None = None
        try:
            try:
                answer = await _attended(self.dispatch.respond(call), waits)
            except asyncio.CancelledError as error:
                if not waiting or waiting[0].end is None:
                    task = asyncio.current_task()
                    if task is None or task.cancelling():
                        raise
                    # Nobody cancelled this call: its handler waited for something that was.
                    answer = self.dispatch.mishap(call, error)
            finally:
                end = waiting[0].finish() if waiting else None
            if end is _End.STOPPED:
                await reply.finish(*self._farewell(call))
            elif end is _End.CANCELLED or answer is None:
                await reply.abandon()
            else:
                await reply.finish(*answer)
        finally:
            reply.release()

    def _farewell(self, call: Call) -> tuple[bytes, int]:
        """What a call hears that is still open when the server stops."""
        if call.method == LISTEN:
            # The graceful end of a subscription is its result (2026-07-28 § Subscriptions).
            result = ListenResult(meta={SUBSCRIPTION_ID: call.id})
            return success(call.id, self.dispatch.body(call, result)), 200
        return failure(call.id, INTERNAL_ERROR, "The server is stopping"), 503

    async def _accept(
        self,
        message: Message,
        head: Head,
        session: HttpSession | None,
        send: Send,
        cors: list[Header],
    ) -> None:
        """Take a notification or a response, neither of which is answered."""
        method = message.method
        if session is None and (head.session is not None or method is UNSET):
            await _turn_away(send, _GONE if head.session is not None else _HOMELESS, cors)
            return
        if (refusal := _unknown_version(head)) is not None:
            await _turn_away(send, refusal, cors)
            return
        if session is not None:
            if method is UNSET:
                future = session.asked.get(message.id) if isinstance(message.id, str) else None
                if future is not None and not future.done():
                    future.set_result(message)
            elif method == INITIALIZED:
                session.session.initialized()
            elif method == CANCELLED:
                _cancel(message, session)
        await _bare(send, 202, cors)

    async def _get(self, head: Head, receive: Receive, send: Send) -> None:
        """A legacy session's standing stream."""
        if not head.takes_stream:
            why = "GET opens a stream: Accept must allow text/event-stream"
            await _refuse(send, 406, why, _cors(head))
            return
        session = await self._named(head, send, "GET opens the stream of a legacy session")
        if session is None:
            return
        stream = session.standing.open()
        watcher = asyncio.create_task(_left(receive, stream.end))
        try:
            headers = [*STREAM_HEADERS, *_cors(head)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            # Something at once: servers that wait for a first byte send the headers with it.
            chunk = sse.comment()
            while chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                try:
                    chunk = await asyncio.wait_for(stream.take(), self.keep_alive)
                except TimeoutError:
                    chunk = ALIVE
            await send({"type": "http.response.body", "body": b""})
        except OSError:
            pass  # The client is gone, which is how a standing stream usually ends.
        finally:
            watcher.cancel()
            if session.standing.stream is stream:
                session.standing.shut()

    async def _delete(self, head: Head, send: Send) -> None:
        session = await self._named(head, send, "DELETE ends a legacy session")
        if session is not None:
            self.sessions.drop(session)
            await _bare(send, 204, _cors(head))

    async def _named(self, head: Head, send: Send, what: str) -> HttpSession | None:
        """The session that a request without a body names; if there is none, it is refused."""
        if head.session is None or head.mirror.version in MODERN:
            why = f"{what}; send its Mcp-Session-Id, or use POST"
            await _refuse(send, 405, why, [*_ALLOW, *_cors(head)])
            return None
        if (refusal := _unknown_version(head)) is not None:
            await _turn_away(send, refusal, _cors(head))
            return None
        session = self.sessions.find(head.session)
        if session is None:
            await _turn_away(send, _GONE, _cors(head))
        return session

    async def _preflight(self, head: Head, send: Send) -> None:
        headers = _ALLOW
        if head.origin is not None:
            headers = [
                *_cors(head),
                (b"access-control-allow-methods", b"POST, GET, DELETE"),
                (b"access-control-allow-headers", b"*, Authorization"),
                (b"access-control-max-age", b"600"),
            ]
        await _bare(send, 204, headers)

    async def _rest(self, body: bytes, receive: Receive) -> bytes | None:
        """The whole of a body that comes in pieces, or what is too long of it; None if it ends."""
        pieces = [body]
        size = len(body)
        while size <= self.guards.body_limit:
            event = await receive()
            if event["type"] == "http.disconnect":
                return None
            pieces.append(event.get("body", b""))
            size += len(pieces[-1])
            if not event.get("more_body"):
                break
        return b"".join(pieces)

    async def _serve_other(self, kind: str, receive: Receive, send: Send) -> None:
        if kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            starting = event["type"] == "lifespan.startup"
            name = "startup" if starting else "shutdown"
            try:
                await (self.start() if starting else self.stop())
            except Exception as error:
                # The boundary: an HTTP server wants to be told, not raised at.
                log.exception("the service failed at %s", name)
                await send({"type": f"lifespan.{name}.failed", "message": str(error)})
                return
            await send({"type": f"lifespan.{name}.complete"})
            if not starting:
                return


class _End(Enum):
    """Why a call ended before its handler did."""

    LEFT = "its client closed the stream"
    CANCELLED = "its client cancelled it"
    STOPPED = "the server stops"


class _Attendance:
    """What a call needs only once it really waits: someone who notices that its caller left."""

    __slots__ = ("_app", "_call", "_reply", "_session", "_task", "_watcher", "end")

    def __init__(
        self, app: App, call: Call, session: HttpSession | None, reply: Reply, receive: Receive
    ) -> None:
        self.end: _End | None = None
        self._app = app
        self._call = call
        self._session = session
        self._reply = reply
        self._task = asyncio.current_task()
        self._watcher = asyncio.create_task(_left(receive, self._leave))
        app.attended.add(self)
        if session is not None:
            session.running[call.id] = self
        reply.fill_silence()

    def finish(self) -> _End | None:
        """Stop watching; why the call ended before its handler did, if it did."""
        if self.end is not None and self._task is not None:
            self._task.uncancel()
        self._watcher.cancel()
        self._app.attended.discard(self)
        if self._session is not None:
            self._session.running.pop(self._call.id, None)
        return self.end

    def cancel(self) -> None:
        self._finish_early(_End.CANCELLED)

    def stop(self) -> None:
        self._finish_early(_End.STOPPED)

    def _leave(self) -> None:
        self._reply.hang_up()
        # Closing the stream is how a modern client cancels; a legacy one may only have lost it
        # (2025-11-25 § Transports: a disconnect should not be taken for a cancellation).
        if self._session is None:
            self._finish_early(_End.LEFT)

    def _finish_early(self, end: _End) -> None:
        if self.end is None and self._task is not None:
            self.end = end
            self._call.cancelled = True
            self._task.cancel()


@types.coroutine
def _attended(
    coroutine: Coroutine[Any, Any, tuple[bytes, int]], waits: Callable[[], None]
) -> Generator[Any, Any, tuple[bytes, int]]:
    """Run *coroutine* in the task that is there; call *waits* when it first really waits."""
    try:
        yielded = coroutine.send(None)
        waits()
        while True:
            try:
                value = yield yielded
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                # Whatever is thrown in, a cancellation above all, is the coroutine's to see.
                yielded = coroutine.throw(error)
            else:
                yielded = coroutine.send(value)
    except StopIteration as stop:
        return stop.value


async def _left(receive: Receive, leave: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()


_GONE: Final = Refusal(
    SESSION_GONE, "No such session: it ended or never was; send initialize anew", status=404
)
_HOMELESS: Final = Refusal(INVALID_REQUEST, "A response needs the Mcp-Session-Id it belongs to")


def _room_for(id: int | str, session: HttpSession) -> Session | Refusal:
    if id in session.running:
        return Refusal(INVALID_REQUEST, f"The id {id!r} is in use by a call that still runs")
    if len(session.running) >= RUNNING_LIMIT:
        return Refusal(
            INVALID_REQUEST,
            f"More than {RUNNING_LIMIT} calls at once; wait for answers",
            status=429,
        )
    return session.session


def _unknown_version(head: Head) -> Refusal | None:
    version = head.mirror.version
    if version is None or version in REVISIONS:
        return None
    return Refusal(INVALID_REQUEST, f"Unsupported MCP-Protocol-Version {version!r}")


def _cancel(message: Message, session: HttpSession) -> None:
    try:
        run = session.running.get(_cancelled.decode(message.params).request_id)
    except UNREADABLE:
        return  # A malformed cancellation is ignored (§ Cancellation).
    if run is not None:
        run.cancel()


def _cors(head: Head) -> list[Header]:
    if head.origin is None:
        return []
    return [
        (b"access-control-allow-origin", head.origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


async def _refuse(
    send: Send,
    status: int,
    why: str,
    headers: Sequence[Header] = (),
    code: int = INVALID_REQUEST,
) -> None:
    await _turn_away(send, Refusal(code, why, status=status), headers)


async def _turn_away(send: Send, refusal: Refusal, headers: Sequence[Header]) -> None:
    body = refusal.encode()
    length = (b"content-length", b"%d" % len(body))
    kind = (b"content-type", b"application/json")
    await _answer(send, refusal.status, [kind, length, *headers], body)


async def _bare(send: Send, status: int, headers: list[Header]) -> None:
    """A response that is its status and headers alone."""
    await _answer(send, status, headers, b"")


async def _answer(send: Send, status: int, headers: list[Header], body: bytes) -> None:
    try:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    except OSError:
        pass  # The client is gone, and needs to know no more.
