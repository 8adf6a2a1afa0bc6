"""Run an Exchange over a Channel: tasks for calls in, futures for calls out."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
from msgspec import Raw

from interlock.errors import METHOD_NOT_FOUND, ConnectionLost, RpcError, TimedOut
from interlock.protocol.call import Call, Service
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.exchange import (
    Cancel,
    Exchange,
    Noise,
    Notice,
    Progress,
    Reply,
    Send,
)
from interlock.protocol.outgoing import Outgoing, outcome
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.session import Session
from interlock.transport.channel import HIGH_WATER, Channel
from interlock.wire.jsonrpc import Message, encode, notification, request
from interlock.wire.meta import Id, RawResult, Wire
from interlock.wire.methods import INITIALIZE, TO_SERVER
from interlock.wire.notices import CANCELLED, PROGRESS, CancelledNotice

log: Final = logging.getLogger("interlock.duplex")

GRACE: Final = 2.0
"""Seconds that running calls get to finish once the peer will send nothing more."""


class Waiting:
    """A request of ours without its answer."""

    __slots__ = ("future", "id", "method", "outlet", "patience", "renewed", "timer")

    def __init__(self, id: Id, method: str, future: asyncio.Future[Message], outlet: Outlet):
        self.id = id
        self.method = method
        self.future = future
        self.outlet = outlet
        self.patience = 0.0
        self.renewed = 0.0
        self.timer: asyncio.TimerHandle | None = None


class _CallOutlet:
    """The way back for one call: the shared channel, until the call has been answered."""

    __slots__ = ("_duplex",)

    def __init__(self, duplex: Duplex) -> None:
        self._duplex: Duplex | None = duplex

    def notify(self, method: str, params: Wire | Raw) -> None:
        if self._duplex is not None:
            self._duplex.notify(method, params)

    async def drain(self) -> None:
        if self._duplex is not None:
            await self._duplex.channel.drain()

    async def ask(self, method: str, params: Wire | Raw) -> Raw:
        if self._duplex is None:
            raise ConnectionLost(f"{method} was asked after the call had been answered")
        return await self._duplex.ask(method, params)

    def shut(self) -> None:
        self._duplex = None


class Duplex:
    """One end of a conversation over a channel, and a Handler for calls out over it.

    *dispatch* answers what the peer asks. *on_notice* gets notifications that belong to no call,
    and *on_noise* a line about whatever was no message; neither may block.
    """

    def __init__(
        self,
        channel: Channel,
        exchange: Exchange[Waiting],
        dispatch: Dispatch,
        *,
        on_notice: Callable[[str, Raw], None] | None = None,
        on_noise: Callable[[str], None] | None = None,
    ) -> None:
        self.channel = channel
        self.exchange = exchange
        self.outgoing: Outgoing | None = None
        self._dispatch = dispatch
        self._on_notice = on_notice
        self._on_noise = on_noise
        self._loop = asyncio.get_running_loop()
        self._ended = False

    async def run(self) -> None:
        """Take messages until the peer is gone, then end what still waits or runs.

        Calls that run get `GRACE` seconds to finish: `server < requests` is a use. Cancelling it
        ends them at once.
        """
        take = self._take
        receive = self.channel.receive
        grace = 0.0
        try:
            while batch := await receive():
                for data in batch:
                    take(data)
            grace = GRACE
        finally:
            self._ended = True
            self._fail_waiting()
            tasks: list[asyncio.Task[None]] = list(self.exchange.running.values())
            if tasks and grace:
                await asyncio.wait(tasks, timeout=grace)
            for task in tasks:
                task.cancel()

    async def handle(self, call: Call) -> RawResult:
        """Send *call* and wait for its answer; progress renews its patience.

        Raises `RpcError`, `TimedOut`, or why the channel ended. Cancelling it tells the peer.
        """
        outgoing = self.outgoing
        if outgoing is None:
            raise ConnectionLost("the era is not settled yet")
        id = self.exchange.next_id()
        token = id if call.row.may_ask else None
        message = await self._round_trip(
            id,
            call.method,
            outgoing.params(call, token),
            call.outlet,
            call.patience,
            call.deadline,
        )
        return outcome(message, call.method, modern=outgoing.revision.modern)

    async def ask(self, method: str, params: Wire | Raw, *, patience: float | None = None) -> Raw:
        """Send a request that is outside any era: the handshake, or a server's question."""
        data = params if isinstance(params, Raw) else encode(params)
        message = await self._round_trip(
            self.exchange.next_id(), method, data, SILENT, patience, None
        )
        return Raw(outcome(message, method, modern=False).body)

    def notify(self, method: str, params: Wire | Raw) -> None:
        """Send a notification, unless the peer has let too much pile up."""
        if self.channel.backlog > HIGH_WATER:
            return
        data = params if isinstance(params, Raw) else encode(params)
        self.channel.send(notification(method, data))

    async def _round_trip(
        self,
        id: Id,
        method: str,
        params: bytes | Raw,
        outlet: Outlet,
        patience: float | None,
        deadline: float | None,
    ) -> Message:
        if self._ended:
            raise self._why()
        channel, waiting = self.channel, self.exchange.waiting
        slot = waiting[id] = Waiting(id, method, self._loop.create_future(), outlet)
        channel.send(request(id, method, params))
        try:
            if patience is not None or deadline is not None:
                self._arm(slot, patience, deadline)
            if channel.backlog > HIGH_WATER:
                await channel.drain()
            return await slot.future
        except (asyncio.CancelledError, TimedOut) as error:
            if method != INITIALIZE and waiting.pop(id, None) is not None:
                why = "timed out" if isinstance(error, TimedOut) else "cancelled"
                self.notify(CANCELLED, CancelledNotice(request_id=id, reason=why))
            raise
        finally:
            waiting.pop(id, None)
            if slot.timer is not None:
                slot.timer.cancel()

    def _arm(self, slot: Waiting, patience: float | None, deadline: float | None) -> None:
        now = self._loop.time()
        slot.patience = patience if patience is not None else float("inf")
        slot.renewed = now
        end = min(now + slot.patience, deadline if deadline is not None else float("inf"))
        slot.timer = self._loop.call_at(end, self._expire, slot, deadline)

    def _expire(self, slot: Waiting, deadline: float | None) -> None:
        if slot.future.done():
            return
        now = self._loop.time()
        end = min(slot.renewed + slot.patience, deadline if deadline is not None else float("inf"))
        if end > now:
            slot.timer = self._loop.call_at(end, self._expire, slot, deadline)
        elif deadline is not None and deadline <= now:
            slot.future.set_exception(TimedOut(f"{slot.method} took longer than its deadline"))
        else:
            slot.future.set_exception(
                TimedOut(f"{slot.method} got no answer and no progress for {slot.patience:g} s")
            )

    def _take(self, data: bytes) -> None:
        event = self.exchange.receive(data)
        if event is None:
            return
        kind = type(event)
        if kind is Call:
            self._start(event)
        elif kind is Reply:
            if not event.waiting.future.done():
                event.waiting.future.set_result(event.message)
        elif kind is Send:
            self.channel.send(event.data)
        elif kind is Progress:
            event.waiting.renewed = self._loop.time()
            event.waiting.outlet.notify(PROGRESS, event.notice)
        elif kind is Cancel:
            event.running.cancel()
        elif kind is Notice:
            if self._on_notice is not None:
                self._on_notice(event.method, event.params)
        elif kind is Noise and self._on_noise is not None:
            self._on_noise(event.what)

    def _start(self, call: Call) -> None:
        call.outlet = _CallOutlet(self)
        task = _eagerly(self._answer(call), self._loop)
        if not task.done():
            self.exchange.running[call.id] = task

    async def _answer(self, call: Call) -> None:
        # A call that was cancelled gets no answer (§ Cancellation); the exception ends its task.
        try:
            reply = await self._dispatch.respond(call)
            self.channel.send(reply if type(reply) is bytes else reply.encode())  # type: ignore[union-attr]
        finally:
            call.outlet.shut()  # type: ignore[attr-defined]
            self.exchange.running.pop(call.id, None)

    def _fail_waiting(self) -> None:
        waiting, self.exchange.waiting = self.exchange.waiting, {}
        for slot in waiting.values():
            if not slot.future.done():
                slot.future.set_exception(self._why())

    def _why(self) -> Exception:
        return self.channel.failure() or ConnectionLost("the connection was closed")


class _Standing:
    """The outlet of a session over a channel: what belongs to no call goes the same way."""

    def __init__(self) -> None:
        self.duplex: Duplex | None = None

    def notify(self, method: str, params: Wire | Raw) -> None:
        if self.duplex is not None:
            self.duplex.notify(method, params)

    async def drain(self) -> None:
        if self.duplex is not None:
            await self.duplex.channel.drain()

    async def ask(self, method: str, params: Wire | Raw) -> Raw:
        raise RpcError(METHOD_NOT_FOUND, f"{method} can only be asked during a call")


async def serve(service: Service, channel: Channel) -> None:
    """Serve one peer over *channel*, in whichever era it speaks, until it is gone.

    The service is not started or stopped: who serves several peers does that once.
    """
    standing = _Standing()
    session = Session(standing=standing)
    duplex = Duplex(channel, Exchange(TO_SERVER, session), Dispatch(service))
    standing.duplex = duplex
    try:
        await duplex.run()
    finally:
        session.close()
        await channel.close()


if sys.version_info >= (3, 12):

    def _eagerly(
        coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Task[None]:
        """Run *coroutine* as far as it goes without waiting; the rest is a task."""
        return asyncio.Task(coroutine, loop=loop, eager_start=True)

else:

    def _eagerly(
        coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Task[None]:
        # 3.11 has no eager tasks, and stepping by hand would show the handler the reader's task
        # as its own: `asyncio.timeout` in a handler would cancel the reader.
        return loop.create_task(coroutine)
