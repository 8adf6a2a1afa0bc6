"""The MCP endpoint, as an ASGI app, for mounting anywhere.

It serves both eras at one path, starts its service by itself when the host does not run lifespans,
and answers with and without a trailing slash.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET

from interlock.errors import INTERNAL_ERROR, INVALID_REQUEST
from interlock.protocol.call import Call, Principal, Service
from interlock.protocol.dispatch import Dispatch, Refusal, admit
from interlock.transport.http.guards import BODY_LIMIT, LOOPBACK, Guards, Head, Rejection
from interlock.transport.http.reply import STREAM_HEADERS, Header, Reply, Send
from interlock.transport.http.sessions import HttpSession, Sessions
from interlock.wire import sse
from interlock.wire.jsonrpc import UNREADABLE, Fault, Message, failure, read
from interlock.wire.methods import INITIALIZE, TO_SERVER
from interlock.wire.notices import CANCELLED, INITIALIZED, CancelledNotice
from interlock.wire.versions import BY_NAME as REVISIONS
from interlock.wire.versions import MODERN

log: Final = logging.getLogger("interlock.http")

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

LOCAL: Final = Principal()
ALIVE_EVERY: Final = 15.0
_EXPOSED: Final = b"Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate"
_cancelled: Final = msgspec.json.Decoder(CancelledNotice)


class App:
    """An ASGI application that serves *service* at *path*.

    Mounted under a prefix it answers at the prefix itself as well. *hosts* and *origins* are what
    `guards.Guards` takes: name your public host when you serve one. Call `close()` before the
    HTTP server waits for connections to end: open streams end only with it.
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
    ) -> None:
        self.service = service
        self.path = path.rstrip("/")
        self.guards = Guards(hosts, origins, body_limit)
        self.sessions = sessions if sessions is not None else Sessions()
        self._dispatch = Dispatch(service)
        self._started: asyncio.Future[None] | None = None
        self._streams: set[asyncio.Task[Any]] = set()
        self._closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._lifespan(receive, send)
            return
        path: str = scope["path"]
        if path != self.path:
            root: str = scope.get("root_path", "")
            inner = path.removeprefix(root) if root else path
            if inner.rstrip("/") != self.path and not (root and inner in ("", "/")):
                await _refuse(send, 404, f"Nothing is served at {path}; MCP is at {self.path}")
                return
        if self._closing:
            await _refuse(send, 503, "The server is shutting down", _LAST)
            return
        if self._started is None or not self._started.done():
            await self.start()
        head = self.guards.inspect(scope["headers"])
        method: str = scope["method"]
        if type(head) is Rejection:
            await _refuse(send, head.status, head.reason)
        elif method == "POST":
            await self._post(head, receive, send)  # type: ignore[arg-type]
        elif method == "GET":
            await self._get(head, receive, send)  # type: ignore[arg-type]
        elif method == "DELETE":
            await self._delete(head, send)  # type: ignore[arg-type]
        elif method == "OPTIONS":
            await self._preflight(head, send)  # type: ignore[arg-type]
        else:
            await _refuse(send, 405, f"{method} is not served; use POST", _ALLOW)

    async def start(self) -> None:
        """Start the service, once; requests do it where nobody else did."""
        self._closing = False
        if self._started is not None and self._started.done() and self._started.exception():
            self._started = None
        if self._started is None:
            started = self._started = asyncio.get_running_loop().create_future()
            try:
                await self.service.start()
            except BaseException as error:
                started.set_exception(error)
                started.exception()  # Retrieved: whoever waits raises it, nobody has to.
                raise
            started.set_result(None)
        else:
            await asyncio.shield(self._started)

    def close(self) -> None:
        """End sessions, streams and calls that still run, and refuse what comes after."""
        self._closing = True
        self.sessions.close()
        for task in list(self._streams):
            task.cancel()

    async def stop(self) -> None:
        self.close()
        if self._started is not None and self._started.done():
            self._started = None
            await self.service.stop()

    # One request.

    async def _post(self, head: Head, receive: Receive, send: Send) -> None:
        if not head.json_body:
            await _refuse(send, 415, "Content-Type must be application/json")
            return
        if not (head.takes_json or head.takes_stream):
            await _refuse(send, 406, "Accept must allow application/json and text/event-stream")
            return
        event = await receive()
        body: bytes | None = event.get("body", b"")
        if event.get("more_body"):
            body = await self._rest(body or b"", receive)
        if body is None or len(body) > self.guards.body_limit:
            await _refuse(
                send, 413, f"The body is longer than the {self.guards.body_limit} bytes taken"
            )
            return
        if event["type"] == "http.disconnect":
            return
        headers = _cors(head)
        message = read(body)
        if type(message) is Fault:
            await _json(send, 400, Refusal.of(message).encode(), headers)
            return
        assert isinstance(message, Message)
        session = self.sessions.find(head.session) if head.session is not None else None
        if message.method is UNSET or message.id is UNSET:
            await self._accept(message, head, session, send, headers)
            return

        belongs: Any = session.session if session is not None else None
        if session is None:
            if head.session is not None:
                belongs = _gone(head.session)
            elif message.method == INITIALIZE:
                session = self.sessions.prepare()
                belongs = session.session
        elif message.id in session.running:
            belongs = Refusal(
                INVALID_REQUEST, f"The id {message.id!r} is in use by a call that still runs"
            )
        call = admit(message, TO_SERVER, head.mirror, belongs, LOCAL)
        if type(call) is Refusal:
            await _json(send, call.status, call.encode(), headers)
            return
        assert isinstance(call, Call)
        if call.session is None:
            session = None
        elif call.row.name == INITIALIZE and session is not None:
            self.sessions.keep(session)
            headers = [*headers, (b"mcp-session-id", session.session.id.encode())]
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
            send, headers, streams=head.takes_stream, json=head.takes_json, session=session
        )
        call.outlet = reply
        attendance = _Attendance(self, call, session, reply, receive)
        try:
            answer, status = await _attended(self._dispatch.respond(call), attendance.begin)
        except asyncio.CancelledError:
            if not attendance.expected and not self._closing:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            if self._closing and not attendance.left:
                last = failure(call.id, INTERNAL_ERROR, "The server is shutting down")
                await reply.finish(last, 503)
            elif not attendance.left:
                await reply.abandon()
            return
        finally:
            attendance.end()
        await reply.finish(answer, status)

    async def _accept(
        self,
        message: Message,
        head: Head,
        session: HttpSession | None,
        send: Send,
        headers: list[Header],
    ) -> None:
        """Take a notification or a response, neither of which is answered."""
        if session is None and (head.session is not None or message.method is UNSET):
            refusal = _gone(head.session or "")
            await _json(send, refusal.status, refusal.encode(), headers)
            return
        version = head.mirror.version
        if session is not None and version is not None and version not in REVISIONS:
            refusal = Refusal(INVALID_REQUEST, f"Unsupported MCP-Protocol-Version {version!r}")
            await _json(send, 400, refusal.encode(), headers)
            return
        if session is not None:
            if message.method is UNSET:
                future = session.asked.get(message.id)  # type: ignore[arg-type]
                if future is not None and not future.done():
                    future.set_result(message)
            elif message.method == INITIALIZED:
                session.session.initialized()
            elif message.method == CANCELLED:
                try:
                    task = session.running.get(_cancelled.decode(message.params).request_id)
                except UNREADABLE:
                    task = None  # A malformed cancellation is ignored (§ Cancellation).
                if task is not None:
                    task.cancel()
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _get(self, head: Head, receive: Receive, send: Send) -> None:
        """A legacy session's standing stream."""
        if not head.takes_stream:
            await _refuse(send, 406, "GET opens a stream: Accept must allow text/event-stream")
            return
        if head.session is None or head.mirror.version in MODERN:
            await _refuse(send, 405, "GET needs the Mcp-Session-Id of a legacy session", _ALLOW)
            return
        session = self.sessions.find(head.session)
        if session is None:
            refusal = _gone(head.session)
            await _json(send, refusal.status, refusal.encode(), _cors(head))
            return
        stream = session.standing.open()
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        watcher = asyncio.create_task(_left(receive, stream.end))
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [*STREAM_HEADERS, *_cors(head)],
                }
            )
            # An empty chunk makes servers that wait for a first byte send the headers.
            await send({"type": "http.response.body", "body": sse.comment(), "more_body": True})
            while True:
                try:
                    chunk = await asyncio.wait_for(stream.take(), ALIVE_EVERY)
                except TimeoutError:
                    chunk = sse.comment("alive")
                if not chunk:
                    break
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except OSError:
            pass  # The client is gone, which is how a standing stream usually ends.
        finally:
            watcher.cancel()
            self._streams.discard(task)
            if session.standing.stream is stream:
                session.standing.shut()

    async def _delete(self, head: Head, send: Send) -> None:
        if head.session is None or head.mirror.version in MODERN:
            await _refuse(send, 405, "DELETE ends a legacy session; this names none", _ALLOW)
            return
        session = self.sessions.find(head.session)
        if session is None:
            refusal = _gone(head.session)
            await _json(send, refusal.status, refusal.encode(), _cors(head))
            return
        self.sessions.drop(session)
        await send({"type": "http.response.start", "status": 204, "headers": _cors(head)})
        await send({"type": "http.response.body", "body": b""})

    async def _preflight(self, head: Head, send: Send) -> None:
        headers: list[Header] = _ALLOW
        if head.origin is not None:
            headers = [
                *_cors(head),
                (b"access-control-allow-methods", b"POST, GET, DELETE"),
                (b"access-control-allow-headers", b"*, Authorization"),
                (b"access-control-max-age", b"600"),
            ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _rest(self, body: bytes, receive: Receive) -> bytes | None:
        """The whole of a body that comes in pieces; None once it is too long."""
        pieces = [body]
        size = len(body)
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                return b""
            pieces.append(event.get("body", b""))
            size += len(pieces[-1])
            if size > self.guards.body_limit:
                return None
            if not event.get("more_body"):
                return b"".join(pieces)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            if event["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as error:
                    # The boundary: an HTTP server wants to be told, not raised at.
                    log.exception("the service did not start")
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif event["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def attend(self, task: asyncio.Task[Any]) -> None:
        self._streams.add(task)

    def forget(self, task: asyncio.Task[Any]) -> None:
        self._streams.discard(task)


class _Attendance:
    """What a call needs only once it really waits: someone who notices that its caller left."""

    __slots__ = (
        "_app",
        "_call",
        "_receive",
        "_reply",
        "_session",
        "_task",
        "_watcher",
        "expected",
        "left",
    )

    def __init__(
        self, app: App, call: Call, session: HttpSession | None, reply: Reply, receive: Receive
    ) -> None:
        self._app = app
        self._call = call
        self._session = session
        self._reply = reply
        self._receive = receive
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.expected = False
        self.left = False

    def begin(self) -> None:
        task = self._task = asyncio.current_task()
        assert task is not None
        self._app.attend(task)
        self._watcher = asyncio.create_task(_left(self._receive, self._leave))
        if self._session is not None:
            # Cancelled by a notification it ends without an answer, which is no failure.
            self._session.running[self._call.id] = task
            self.expected = True
        self._reply.waits()

    def end(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        if self._task is not None:
            self._app.forget(self._task)
        if self._session is not None:
            self._session.running.pop(self._call.id, None)

    def _leave(self) -> None:
        self._reply.dead = True
        self.left = True
        # Closing the stream is how a modern client cancels; a legacy one may only have lost it
        # (2025-11-25 § Transports: a disconnect should not be taken for a cancellation).
        if self._session is None and self._task is not None:
            self.expected = True
            self._call.cancelled = True
            self._task.cancel()


_LAST: Final[list[Header]] = [(b"connection", b"close")]
_ALLOW: Final[list[Header]] = [(b"allow", b"POST, GET, DELETE, OPTIONS")]


@types.coroutine
def _attended(
    coroutine: Coroutine[Any, Any, Any], waits: Callable[[], None]
) -> Generator[Any, Any, Any]:
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
            except BaseException as error:  # noqa: BLE001  whatever is thrown in is passed on
                yielded = coroutine.throw(error)
            else:
                yielded = coroutine.send(value)
    except StopIteration as stop:
        return stop.value


async def _left(receive: Receive, leave: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()


def _gone(id: str) -> Refusal:
    if not id:
        return Refusal(INVALID_REQUEST, "This message needs an Mcp-Session-Id", status=400)
    return Refusal(
        -32001, "No such session: it ended or never was; send initialize anew", status=404
    )


def _cors(head: Head) -> list[Header]:
    if head.origin is None:
        return []
    return [
        (b"access-control-allow-origin", head.origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


async def _refuse(send: Send, status: int, why: str, headers: Sequence[Header] = ()) -> None:
    await _json(send, status, failure(None, INVALID_REQUEST, why), headers)


async def _json(send: Send, status: int, body: bytes, headers: Sequence[Header]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
