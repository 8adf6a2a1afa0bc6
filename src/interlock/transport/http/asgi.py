"""The MCP endpoint, as an ASGI app, for mounting anywhere.

It serves both eras at one path, starts its service by itself when the host does not run lifespans,
and answers with and without a trailing slash.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import UNSET

from interlock.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    ConfigError,
    StoreError,
)
from interlock.protocol.call import Call, Principal, Service
from interlock.protocol.dispatch import Dispatch, admit
from interlock.protocol.gate import Denial, Gate, RawHeaders
from interlock.protocol.ladder import Refusal
from interlock.protocol.session import Session
from interlock.transport.http.attendance import Attendance, End, resumed
from interlock.transport.http.batches import several, sort
from interlock.transport.http.bodies import NO_JSON, take
from interlock.transport.http.documents import document, publish
from interlock.transport.http.elsewhere import meeting
from interlock.transport.http.expiry import at_expiry, left_to
from interlock.transport.http.following import follow
from interlock.transport.http.guards import BODY_LIMIT, LOOPBACK, Guards, Head, Rejection
from interlock.transport.http.hardening import hardened
from interlock.transport.http.lifespan import Lifespan
from interlock.transport.http.plain import (
    LAST,
    AsgiWay,
    Header,
    Receive,
    Scope,
    Send,
    Way,
    address,
    bare,
    cors,
    deny,
    preflight,
    refuse,
    turn_away,
)
from interlock.transport.http.reply import KEEP_ALIVE, Reply
from interlock.transport.http.sessions import HttpSession, Sessions
from interlock.transport.http.sse2024 import SseEndpoint
from interlock.transport.http.streams import Stream
from interlock.transport.websocket import Sockets
from interlock.transport.websocket import refuse as refuse_socket
from interlock.wire.jsonrpc import Fault, Message, failure, join_batch, read, success
from interlock.wire.meta import SUBSCRIPTION_ID
from interlock.wire.methods import INITIALIZE, LISTEN, TO_SERVER
from interlock.wire.notices import ListenResult
from interlock.wire.versions import BY_NAME as REVISIONS
from interlock.wire.versions import MODERN

log: Final = logging.getLogger("interlock.http")

GREETING_LIMIT: Final = 64 * 1024
"""The most bytes that `initialize` may have."""
SESSION_GONE: Final = -32001
"""What the field answers for a legacy session that is not there; the spec gives it a status only."""

ANYBODY: Final = Principal(scopes=frozenset())
"""Who comes where nobody is asked: the same as whoever runs this process, but with no scopes, so that
what needs some is not open to all by mistake."""

_NEITHER: Final = "Accept must allow application/json and text/event-stream"
_METHODS: Final = b"POST, GET, DELETE"
_ALLOW: Final[list[Header]] = [(b"allow", _METHODS + b", OPTIONS")]


class App:
    """An ASGI application that serves *service* at *path*.

    Mounted under a prefix it answers at the prefix itself as well. *hosts* and *origins* are what
    `guards.Guards` takes: name your public host when you serve one. *keep_alive* is after how many
    seconds of silence a stream says that it lives. At *sse_path* it also serves clients that know
    only the transport of 2024, with *websocket* WebSockets at *path*, which are outside the
    specification. *gate* says who may come in, on every way in; by default it is the service's, if
    that has one. Call `close()` before the HTTP server waits for connections to end: open streams
    end only with it.
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
        sse_path: str | None = None,
        websocket: bool = False,
        gate: Gate | None = None,
    ) -> None:
        self.service = service
        self.path = path.rstrip("/")
        found: object = gate if gate is not None else getattr(service, "gate", None)
        self.gate = found if isinstance(found, Gate) else None
        resource = self.gate.resource if self.gate is not None else ""
        if resource:
            # Whoever named the resource's host has said that it is ours.
            named = urlsplit(resource).hostname or ""
            hosts = (*hosts, f"[{named}]" if ":" in named else named)
        self._fixed = hardened(resource)
        self.guards = Guards(hosts, origins, body_limit, self._fixed)
        self.sessions = sessions if sessions is not None else Sessions()
        self.dispatch = Dispatch(service)
        self.sessions.meet = meeting(self.dispatch)
        self.keep_alive = keep_alive
        self.sse: SseEndpoint | None = None
        if sse_path is not None:
            self.sse = SseEndpoint(service, sse_path, body_limit, keep_alive, self.gate)
        self.sockets = Sockets(service, limit=body_limit) if websocket else None
        self.attended: set[Attendance] = set()
        self._lifespan = Lifespan(_Gated(service, self.gate), self._end)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._serve_other(scope, receive, send)
            return
        old = None
        if scope["path"] != self.path and not _is_at(scope, self.path, mounted=True):
            old = self.sse
            if old is None or not _is_at(scope, old.path):
                await self._serve_beside(scope, send)
                return
        if not self._lifespan.ready and (why := await self._lifespan.begin()) is not None:
            await refuse(send, 503, why, [*LAST, *self._fixed], code=INTERNAL_ERROR)
            return
        head = self.guards.inspect(scope["headers"])
        if type(head) is Rejection:
            await refuse(send, head.status, head.reason, self._fixed)
            return
        principal = ANYBODY
        # A browser asks before it sends who it is; what it is told then is told to anybody.
        if self.gate is not None and scope["method"] != "OPTIONS":
            found = await self._let_in(self.gate, scope)
            if type(found) is Denial:
                await deny(send, found, cors(head))
                return
            principal = found
        if old is not None:
            await old.serve(scope, head, receive, send, principal)
            return
        try:
            match scope["method"]:
                case "POST":
                    body = await self._body(head, receive, send)
                    if body is not None:
                        way = AsgiWay(receive, send)
                        running = await self._answer(head, principal, body, way)
                        del body, way  # It may be open for days.
                        if running is not None:
                            await running
                case "GET":
                    await self._get(head, principal, receive, send)
                case "DELETE":
                    await self._delete(head, principal, send)
                case "OPTIONS":
                    await bare(send, 204, preflight(head, _METHODS))
                case "HEAD":
                    await bare(send, 405, [*_ALLOW, *self._fixed])
                case method:
                    why = f"{method} is not served; use POST"
                    await refuse(send, 405, why, [*_ALLOW, *self._fixed])
        except StoreError as error:
            await self._unknown(error, head, send)

    def post(
        self, head: Head, headers: RawHeaders, query: bytes, body: bytes, way: Way
    ) -> Coroutine[Any, Any, None]:
        """Answer a POST to our own path that a server of ours has read whole.

        It is what `__call__` does for one, without what only a stranger's server needs: *head* is
        what the guards made of *headers*. What is right and needs nobody's leave, as most do, is
        read before anything is awaited.
        """
        if (
            self.gate is None
            and head.session is None
            and head.json_body
            and head.takes_json
            and self._lifespan.ready
        ):
            message = read(body)
            if type(message) is Message and message.method is not UNSET:
                call = admit(message, TO_SERVER, head.mirror, None, ANYBODY)
                if type(call) is Call:
                    return self._run(call, None, head, cors(head), way)
        return self._post(head, headers, query, body, way)

    async def _post(
        self, head: Head, headers: RawHeaders, query: bytes, body: bytes, way: Way
    ) -> None:
        try:
            if not self._lifespan.ready and (why := await self._lifespan.begin()) is not None:
                await refuse(way.send, 503, why, [*LAST, *self._fixed], code=INTERNAL_ERROR)
                return
            principal = ANYBODY
            if self.gate is not None:
                found = await self.gate.admit("POST", self.path, query, headers)
                if type(found) is Denial:
                    await deny(way.send, found, cors(head))
                    return
                principal = found
            if not (head.takes_json or head.takes_stream):
                await refuse(way.send, 406, _NEITHER, cors(head))
            elif not head.json_body:
                await refuse(way.send, 415, NO_JSON, cors(head))
            else:
                running = await self._answer(head, principal, body, way)
                del body
                if running is not None:
                    await running
        except StoreError as error:
            await self._unknown(error, head, way.send)

    async def start(self) -> None:
        """Start the service, once; requests do it where nobody else did.

        Raises what starting it raised; the next try starts anew.
        """
        await self._lifespan.start()

    def close(self) -> None:
        """End sessions, streams and calls that still run. Nothing is answered after it."""
        self._lifespan.close()

    async def stop(self) -> None:
        """Close, and stop the service if it was started."""
        await self._lifespan.stop()

    def _end(self) -> None:
        for attendance in list(self.attended):
            attendance.stop()
        self.sessions.close()
        if self.sse is not None:
            self.sse.close()
        if self.sockets is not None:
            self.sockets.close()

    # One request.

    async def _let_in(self, gate: Gate, scope: Scope) -> Principal | Denial:
        path = address(scope) if scope.get("root_path") else scope["path"]
        query = scope.get("query_string", b"")
        method = scope.get("method", "GET")  # A WebSocket's opening request is a GET.
        return await gate.admit(method, path, query, scope["headers"])

    async def _unknown(self, error: StoreError, head: Head, send: Send) -> None:
        # Raised before anything is answered; afterwards nothing depends on the table.
        log.error("sessions cannot be looked up: %s", error)
        why = "Sessions cannot be looked up at the moment; try again"
        await refuse(send, 503, why, cors(head), code=INTERNAL_ERROR)

    async def _body(self, head: Head, receive: Receive, send: Send) -> bytes | None:
        """What is posted; None if it is not to be acted on, which is answered then."""
        headers = cors(head)
        if head.takes_json or head.takes_stream:
            return await take(head, receive, send, self.guards.body_limit, headers)
        await refuse(send, 406, _NEITHER, headers)
        return None

    async def _answer(
        self, head: Head, principal: Principal, body: bytes, way: Way
    ) -> Coroutine[Any, Any, None] | None:
        """Answer what was posted, which is *body*; a call is returned instead, to be run.

        It may be open for days, as subscriptions are: what it came in is let go of by then.
        """
        headers = cors(head)
        send = way.send
        if not self._lifespan.ready:  # It was closed while the body came.
            why = "The server is stopping"
            await refuse(send, 503, why, [*LAST, *self._fixed], code=INTERNAL_ERROR)
            return None
        message = read(body)
        session = None
        if head.session is not None:
            session = await self.sessions.find(head.session, principal)
        if type(message) is Fault:
            found = several(body, session)
            if session is not None:
                if isinstance(found, list):
                    await self._batch(found, session, head, principal, way)
                    return None
                session.spoil(message)
            await turn_away(send, Refusal.of(found if type(found) is Fault else message), headers)
            return None
        number = message.id
        if message.method is UNSET or number is UNSET or number is None:
            await self._accept(message, head, session, send, headers)
            return None

        belongs: Session | Refusal | None = None
        if session is not None:
            belongs = session.room_for(number)
        elif head.session is not None:
            belongs = _GONE
        elif message.method == INITIALIZE:
            session = self.sessions.prepare(principal)
            # All of it is remembered for as long as the session lives.
            belongs = session.session if len(body) <= GREETING_LIMIT else _LONG
        call = admit(message, TO_SERVER, head.mirror, belongs, principal)
        if type(call) is Refusal:
            await turn_away(send, call, headers)
            return None
        if call.session is None:
            session = None
        elif session is not None and call.row.name == INITIALIZE:
            await self.sessions.keep(session)
            headers = [*headers, (b"mcp-session-id", session.session.id.encode())]
        return self._run(call, session, head, headers, way)

    async def _run(
        self,
        call: Call,
        session: HttpSession | None,
        head: Head,
        headers: list[Header],
        way: Way,
    ) -> None:
        """Run *call* and send what comes of it."""
        reply = Reply(way, headers, head.takes_stream, head.takes_json, session, self.keep_alive)
        try:
            begun = self._begin(call, session, reply, way)
            answer = begun if isinstance(begun, tuple) else await begun
            if session is not None:
                await self.sessions.save(session)
            if answer is None:
                await reply.abandon()
            elif call.missing and self.gate is not None:
                asked = self.gate.short(call.principal, call.missing)
                await reply.finish(*answer, asked.headers)
            else:
                await reply.finish(*answer)
        finally:
            reply.release()

    async def _batch(
        self,
        found: list[bytes],
        session: HttpSession,
        head: Head,
        principal: Principal,
        way: Way,
    ) -> None:
        """Answer the messages of an array together."""
        headers = cors(head)
        if (refusal := _unknown_version(head)) is not None:
            await turn_away(way.send, refusal, headers)
            return
        calls, answers = sort(found, session, head.mirror, principal)
        if not calls and not answers:
            await bare(way.send, 202, headers)
            return
        reply = Reply(way, headers, head.takes_stream, head.takes_json, session, self.keep_alive)
        way.watch(reply.hang_up)
        try:
            async with asyncio.TaskGroup() as group:
                each = [group.create_task(self._attend(call, session, reply)) for call in calls]
            await self.sessions.save(session)
            answers += [answer[0] for task in each if (answer := task.result()) is not None]
            if answers:
                await reply.finish_all(answers, join_batch(answers))
            else:
                await reply.abandon()
        finally:
            way.unwatch()
            reply.release()

    async def _attend(
        self, call: Call, session: HttpSession, reply: Reply
    ) -> tuple[bytes, int] | None:
        """The answer to one call of several, whose connection is watched already."""
        begun = self._begin(call, session, reply, None)
        return begun if isinstance(begun, tuple) else await begun

    def _begin(
        self, call: Call, session: HttpSession | None, reply: Reply, way: Way | None
    ) -> tuple[bytes, int] | Coroutine[Any, Any, tuple[bytes, int] | None]:
        """The answer to *call* and its status, or what to wait for until they are there.

        What is waited for may be None: its caller wants no answer any more. Without *way* somebody
        else watches the connection.
        """
        call.outlet = reply
        work = self.dispatch.respond(call)
        try:
            # Most are done in one step. Only who really waits is watched over.
            awaited = work.send(None)
        except StopIteration as stop:
            answer: tuple[bytes, int] = stop.value
            return answer
        except asyncio.CancelledError as error:
            return self._astray(call, error)
        return self._watch(call, session, reply, way, work, awaited)

    async def _watch(
        self,
        call: Call,
        session: HttpSession | None,
        reply: Reply,
        way: Way | None,
        work: Coroutine[Any, Any, tuple[bytes, int]],
        awaited: object,
    ) -> tuple[bytes, int] | None:
        """The same for a call that waits for *awaited*: it may be ended before it is done."""
        attendance = Attendance(call, session, self.attended, reply, way)
        expiry = None
        if call.principal.expires_at is not None and call.method == LISTEN:
            # A subscription lasts no longer than what it was opened with (2026-07-28
            # § Subscriptions).
            expiry = at_expiry(call.principal, attendance.stop)
        answer: tuple[bytes, int] | None = None
        try:
            answer = await resumed(work, awaited)
        except asyncio.CancelledError as error:
            if attendance.end is None:
                answer = self._astray(call, error)
        finally:
            end = attendance.finish()
            if expiry is not None:
                expiry.cancel()
        if end is End.STOPPED:
            return self._farewell(call)
        return None if end is End.CANCELLED else answer

    def _astray(self, call: Call, error: asyncio.CancelledError) -> tuple[bytes, int]:
        """What is answered if nobody cancelled this call, but its handler waited for what was."""
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise error
        return self.dispatch.mishap(call, error)

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
        headers: list[Header],
    ) -> None:
        """Take a notification or a response, neither of which is answered."""
        if session is None and (head.session is not None or message.method is UNSET):
            await turn_away(send, _GONE if head.session is not None else _HOMELESS, headers)
            return
        if (refusal := _unknown_version(head)) is not None:
            await turn_away(send, refusal, headers)
            return
        if session is not None:
            session.take(message)
            await self.sessions.save(session)
        await bare(send, 202, headers)

    async def _get(self, head: Head, principal: Principal, receive: Receive, send: Send) -> None:
        """A legacy session's standing stream, or one that its client comes back to."""
        if not head.takes_stream:
            why = "GET opens a stream: Accept must allow text/event-stream"
            await refuse(send, 406, why, cors(head))
            return
        session = await self._named(
            head, principal, send, "GET opens the stream of a legacy session"
        )
        if session is None:
            return
        if head.last_event is None:
            stream, after = session.stand()
        else:
            found = session.resume(head.last_event)
            if found is None:
                found = await self.sessions.elsewhere(session, head.last_event)
            if found is None:
                await turn_away(send, _LET_GO, cors(head))
                return
            stream, after = found
        fresh = head.last_event is None and isinstance(stream, Stream) and after == stream.last
        await follow(
            stream,
            after,
            receive,
            send,
            cors(head),
            keep_alive=self.keep_alive,
            prime=fresh and session.primes,
            lasts=left_to(principal),
        )

    async def _delete(self, head: Head, principal: Principal, send: Send) -> None:
        session = await self._named(head, principal, send, "DELETE ends a legacy session")
        if session is not None:
            await self.sessions.end(session)
            await bare(send, 204, cors(head))

    async def _named(
        self, head: Head, principal: Principal, send: Send, what: str
    ) -> HttpSession | None:
        """The session that a request without a body names; if there is none, it is refused."""
        if head.session is None or head.mirror.version in MODERN:
            why = f"{what}; send its Mcp-Session-Id, or use POST"
            await refuse(send, 405, why, [*_ALLOW, *cors(head)])
            return None
        if (refusal := _unknown_version(head)) is not None:
            await turn_away(send, refusal, cors(head))
            return None
        session = await self.sessions.find(head.session, principal)
        if session is None:
            await turn_away(send, _GONE, cors(head))
        return session

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan.serve(receive, send)
        elif scope["type"] == "websocket":
            sockets = self.sockets
            if sockets is None or not _is_at(scope, self.path, mounted=True):
                await send({"type": "websocket.close", "code": 1000})
            elif type(head := self.guards.inspect(scope["headers"])) is Rejection:
                # Before anything is accepted: any page in a browser may try.
                await refuse_socket(scope, send, head.status, head.reason)
            elif (why := await self._lifespan.begin()) is not None:
                await refuse_socket(scope, send, 503, why)
            elif self.gate is None:
                await sockets.serve(scope, receive, send, ANYBODY)
            elif type(found := await self._let_in(self.gate, scope)) is Denial:
                await refuse_socket(scope, send, found.status, found.reason, found.headers)
            else:
                await sockets.serve(scope, receive, send, found)

    async def _serve_beside(self, scope: Scope, send: Send) -> None:
        """Answer what is asked at another path: where to learn how to come in, or nothing."""
        if self.gate is not None and (found := document(self.gate, scope)) is not None:
            await publish(scope, send, found, self._fixed)
            return
        why = f"Nothing is served at {scope['path']}; try {self.path}"
        await refuse(send, 404, why, self._fixed)


class _Gated:
    """A service and the gate before it, started and stopped as one."""

    def __init__(self, service: Service, gate: Gate | None) -> None:
        self._service = service
        self._gate = gate

    async def start(self) -> None:
        if self._gate is None and getattr(self._service, "scoped", False):
            raise ConfigError(
                f"{self._service.info.name} has tools that need scopes, and over HTTP nobody is asked "
                "for any: give it auth=AuthSettings(…), or take scopes= away"
            )
        await self._service.start()
        if self._gate is not None:
            await self._gate.start()

    async def stop(self) -> None:
        if self._gate is not None:
            await self._gate.stop()
        await self._service.stop()


def _is_at(scope: Scope, ours: str, *, mounted: bool = False) -> bool:
    """Whether *ours* is asked for, or the prefix itself that we are *mounted* under."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
        if path in ("", "/"):
            return mounted
    return path.rstrip("/") == ours


_GONE: Final = Refusal(
    SESSION_GONE, "No such session: it ended or never was; send initialize anew", status=404
)
_LET_GO: Final = Refusal(
    INVALID_REQUEST,
    "The stream of this Last-Event-ID is not here: it was never, or is kept no more",
)
_LONG: Final = Refusal(
    INVALID_PARAMS, f"initialize may have at most {GREETING_LIMIT} bytes", status=413
)
_HOMELESS: Final = Refusal(INVALID_REQUEST, "A response needs the Mcp-Session-Id it belongs to")


def _unknown_version(head: Head) -> Refusal | None:
    version = head.mirror.version
    if version is None or version in REVISIONS:
        return None
    return Refusal(INVALID_REQUEST, f"Unsupported MCP-Protocol-Version {version!r}")
