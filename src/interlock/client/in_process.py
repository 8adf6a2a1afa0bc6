"""A way to a service in this process: its handler is called, and nothing is framed.

Only what a wire would show crosses. Params and results are JSON on their way, so that neither side
holds what is the other's; the envelope around them is made for whoever listens in, and for nobody
else. Modern calls only: a handshake, and a server that asks, take a channel.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from collections import deque
from collections.abc import Callable, Generator
from typing import Literal, TypeAlias

from msgspec import Raw, Struct

from interlock.client.greeting import Elsewhere, Wish, discovery, read_discovery
from interlock.errors import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    ConnectFailed,
    ConnectionLost,
    InvalidMessage,
    RpcError,
    TimedOut,
)
from interlock.protocol.call import Call, Service
from interlock.protocol.dispatch import Dispatch, Refusal, admit
from interlock.protocol.exchange import (
    RUNNING_LIMIT,
    Exchange,
    Noise,
    Notice,
    Progress,
    Spoilt,
    Told,
)
from interlock.protocol.outgoing import Outgoing, outcome
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.session import Session
from interlock.transport.channel import HIGH_WATER
from interlock.transport.duplex import GRACE, Waiting
from interlock.transport.eager import eagerly
from interlock.transport.link import Link
from interlock.wire.jsonrpc import UNREADABLE, Fault, Message, encode, notification, read, request
from interlock.wire.lifecycle import DiscoverResult
from interlock.wire.meta import Id, RawResult, Wire
from interlock.wire.methods import DISCOVER, TO_CLIENT, TO_SERVER
from interlock.wire.notices import CANCELLED, PROGRESS, CancelledNotice
from interlock.wire.versions import Revision

Hear: TypeAlias = Callable[[Literal["client", "server"], bytes], None]
_Task: TypeAlias = asyncio.Task[tuple[bytes, int]]


async def in_process(service: Service, wish: Wish) -> Link | None:
    """Start *service* and settle on the modern revision; None if that leads to nothing.

    Then it is stopped again, and whoever asks it over a channel finds out what it does speak.
    """
    if wish.modern is None:
        return None
    await service.start()
    link = InProcessLink(service, wish, wish.modern)
    try:
        async with asyncio.timeout(wish.probe if wish.legacy is not None else None):
            await link.discover(wish.modern)
    except (RpcError, ConnectFailed, InvalidMessage, Elsewhere, TimeoutError, *UNREADABLE):
        await link.close()
        return None
    except BaseException:
        await link.close()
        raise
    return link


class InProcessLink:
    """Calls of one client to *service*, which was started and is stopped when the link is closed.

    *hear* is shown every message as it would have crossed a wire. A handler runs in a task of its
    own and in the context in which the link was made: no more of its caller reaches it than would
    over a wire.
    """

    greeting: DiscoverResult

    def __init__(
        self, service: Service, wish: Wish, revision: Revision, *, hear: Hear | None = None
    ) -> None:
        self.envelope = wish.envelope(revision)
        self._service = service
        self._wish = wish
        self._hear = hear
        self._dispatch = Dispatch(service)
        self._outgoing = Outgoing(self.envelope)
        self._session = Session()  # One that was never opened, as a modern client's stays.
        self._exchange: Exchange[Waiting] = Exchange(TO_CLIENT, None)
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._runs: dict[Id, _Run] = {}
        self._notices: deque[bytes] = deque()
        self._backlog = 0
        self._closing: asyncio.Task[None] | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()

    async def discover(self, revision: Revision) -> None:
        params = discovery(self._wish, revision)
        message = await self._round_trip(self._exchange.next_id(), DISCOVER, params, SILENT)
        raw = Raw(outcome(message, DISCOVER, modern=False).body)
        self.greeting = read_discovery(raw, revision, self._wish)

    async def handle(self, call: Call) -> RawResult:
        row = call.row
        number = self._exchange.next_id()
        params = self._outgoing.params(call, number if row.may_ask else None)
        message = await self._round_trip(
            number, row.name, params, call.outlet, call.patience, call.deadline
        )
        return outcome(message, row.name, modern=True)

    def notify(self, method: str, params: Wire | Raw) -> None:
        """Say what no modern server acts on."""
        if self._hear is not None:
            data = params if isinstance(params, Raw) else encode(params)
            self._hear("client", notification(method, data))

    async def wait_lost(self) -> Exception | None:
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        # In a task of its own: two may close, and one of them be cancelled.
        if self._closing is None:
            name = f"interlock ends {self._wish.name}"
            self._closing = asyncio.create_task(self._close(), name=name)
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._lost.set_result(None)
        await _turn()  # What just began is among the calls that wait by then.
        for waiting in list(self._exchange.waiting.values()):
            waiting.settle(_closed())
        runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        if runs:
            # What handlers do when cancelled belongs to the end, within bounds.
            await asyncio.wait([run.task for run in runs], timeout=GRACE)
        await self._service.stop()

    async def _round_trip(
        self,
        id: int,
        method: str,
        params: bytes | Raw,
        outlet: Outlet,
        patience: float | None = None,
        deadline: float | None = None,
    ) -> Message:
        if self._closing is not None:
            raise _closed()
        if self._hear is not None:
            self._hear("client", request(id, method, params))
        call = self._admit(id, method, params)
        if type(call) is Refusal:
            await _turn()
            return self._read(id, method, call.encode())
        call.outlet = way = _Way(self)
        # In a copy each: a context cannot be entered twice, and handlers call other services.
        task = self._context.copy().run(eagerly, self._dispatch.respond(call), self._loop)
        if not self._notices:
            # Whoever calls in a loop lets others have their turn, as over any wire. Handlers that
            # do not wait are done by then, on 3.11 too, where they begin only now.
            try:
                await _turn()
            except asyncio.CancelledError:
                self._give_up(_Run(call, way, task), "cancelled")
                raise
            if task.done() and not self._notices:
                way.link = None
                return self._answer(call, task)
        waiting = Waiting(id, method, outlet, self._loop)
        run = _Run(call, way, task)
        self._exchange.waiting[id] = waiting
        self._runs[id] = run
        task.add_done_callback(lambda _: self._done(run, waiting))
        try:
            waiting.arm(patience, deadline)
            answer = await waiting.future
        except asyncio.CancelledError:
            self._give_up(run, "cancelled")
            raise
        finally:
            waiting.disarm()
            self._exchange.waiting.pop(id, None)
        if type(answer) is Message:
            return answer
        self._give_up(run, "timed out" if isinstance(answer, TimedOut) else str(answer))
        raise answer

    def _admit(self, id: int, method: str, params: bytes | Raw) -> Call | Refusal:
        message = Message("2.0", id, method, Raw(params))
        if len(self._runs) >= RUNNING_LIMIT:
            why = f"More than {RUNNING_LIMIT} calls at once; wait for answers"
            return Refusal(INVALID_REQUEST, why, id=id)
        if type(params) is bytes and not params.isascii():
            # Somebody else's JSON may stand in it, which is no text.
            message = read(request(id, method, params))
            if type(message) is Fault:
                return Refusal(message.code, message.message, id=id)
        return admit(message, TO_SERVER, None, self._session)

    def _done(self, run: _Run, waiting: Waiting) -> None:
        run.way.link = None
        del self._runs[waiting.id]
        if run.call.cancelled:
            return
        try:
            waiting.settle(self._answer(run.call, run.task))
        except InvalidMessage as error:
            waiting.settle(error)

    def _answer(self, call: Call, task: _Task) -> Message:
        try:
            framed, _ = task.result()
        except asyncio.CancelledError as error:
            # Nobody cancelled this call: its handler waited for something that was.
            framed, _ = self._dispatch.mishap(call, error)
        return self._read(call.id, call.row.name, framed)

    def _read(self, id: Id, method: str, answer: bytes) -> Message:
        if self._hear is not None:
            self._hear("server", answer)
        head = b'{"jsonrpc":"2.0","id":%d,"result":' % id
        if answer.startswith(head) and answer.isascii():
            return Message("2.0", id, result=Raw(answer[len(head) : -1]))
        message = read(answer)
        if type(message) is Fault:
            raise InvalidMessage(f"{method} gets no answer: {message.message}")
        return message

    def _give_up(self, run: _Run, why: str) -> None:
        """End a call that may still run."""
        if run.task.done():
            return
        if self._hear is not None and self._closing is None:
            notice = CancelledNotice(request_id=run.call.id, reason=why)
            self._hear("client", notification(CANCELLED, encode(notice)))
        run.cancel()

    def say(self, method: str, params: Wire | Raw) -> None:
        """Send a notification, unless too many wait to be heard; it is heard in the next step."""
        if self._backlog > HIGH_WATER:
            return
        notice = notification(method, params if isinstance(params, Raw) else encode(params))
        if self._hear is not None:
            self._hear("server", notice)
        self._notices.append(notice)
        self._backlog += len(notice)
        if len(self._notices) == 1:
            self._loop.call_soon(self._tell, context=self._context)

    async def drain(self) -> None:
        while self._backlog > HIGH_WATER:
            await _turn()

    def _tell(self) -> None:
        notices, self._notices = self._notices, deque()
        self._backlog = 0
        for notice in notices:
            match self._exchange.receive(notice):
                case Progress(waiting, progress):
                    waiting.renew()
                    waiting.outlet.notify(PROGRESS, progress)
                case Told(waiting, method, params):
                    waiting.outlet.notify(method, params)
                case Spoilt(waiting, why):
                    waiting.settle(InvalidMessage(f"{waiting.method} gets no answer: {why}"))
                case Notice(method, params):
                    if self._wish.on_notice is not None:
                        self._wish.on_notice(method, params)
                case Noise(what):
                    if self._wish.on_noise is not None:
                        self._wish.on_noise(what)
                case _:
                    pass


class _Way(Struct, eq=False):
    """The way back for one call, until it has been answered."""

    link: InProcessLink | None

    def notify(self, method: str, params: Wire | Raw) -> None:
        if self.link is not None:
            self.link.say(method, params)

    async def drain(self) -> None:
        if self.link is not None:
            await self.link.drain()

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        raise RpcError(METHOD_NOT_FOUND, f"{method} cannot be sent to a modern client")

    def close_stream(self, retry: float) -> None:
        pass


class _Run(Struct, eq=False):
    """A call that did not end at once."""

    call: Call
    way: _Way
    task: _Task

    def cancel(self) -> None:
        # From here on the call gets no answer, whatever its handler makes of it (§ Cancellation).
        self.call.cancelled = True
        self.way.link = None
        self.task.cancel()


@types.coroutine
def _turn() -> Generator[None]:
    """Let the loop go round once."""
    yield


def _closed() -> ConnectionLost:
    return ConnectionLost("the connection was closed")
