"""Run an Exchange over a Channel: tasks for calls in, futures for calls out."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Sized
from typing import Final

from msgspec import Raw, Struct

from interlock.errors import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    ConnectionLost,
    InvalidMessage,
    RpcError,
    TimedOut,
)
from interlock.protocol.call import LOCAL, Call, Principal, Service
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.exchange import (
    Batch,
    Cancel,
    Event,
    Exchange,
    Noise,
    Notice,
    Progress,
    Reply,
    Send,
    Spoilt,
    Told,
)
from interlock.protocol.outgoing import Outgoing, outcome
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.session import Session
from interlock.transport.channel import HIGH_WATER, MESSAGE_LIMIT, Channel
from interlock.transport.eager import eagerly
from interlock.transport.pipes import PipeChannel
from interlock.wire.jsonrpc import Message, encode, join_batch, notification, request
from interlock.wire.meta import Id, RawResult, Wire
from interlock.wire.methods import INITIALIZE, LISTEN, TO_SERVER
from interlock.wire.notices import CANCELLED, PROGRESS, CancelledNotice

GRACE: Final = 2.0
"""Seconds that running calls get to finish once the peer will send nothing more."""


class Waiting:
    """A request of ours without its answer: what comes is a message, or why none will."""

    __slots__ = (
        "answering",
        "deadline",
        "future",
        "id",
        "loop",
        "method",
        "outlet",
        "patience",
        "renewed",
        "timer",
    )

    def __init__(
        self,
        id: Id,
        method: str,
        outlet: Outlet,
        loop: asyncio.AbstractEventLoop,
        answering: Sized = (),
    ) -> None:
        """*answering* is what the peer asks us and waits for, while it does."""
        self.answering = answering
        self.id = id
        self.method = method
        self.outlet = outlet
        self.loop = loop
        # Failures travel as results: one that nobody is left to take needs no warning.
        self.future: asyncio.Future[Message | Exception] = loop.create_future()
        self.patience = self.deadline = math.inf
        self.renewed = 0.0
        self.timer: asyncio.TimerHandle | None = None

    def settle(self, answer: Message | Exception) -> None:
        if not self.future.done():
            self.future.set_result(answer)

    def arm(self, patience: float | None, deadline: float | None) -> None:
        """Give up after *patience* seconds without progress, and at *deadline* in any case."""
        if patience is None and deadline is None:
            return
        now = self.renewed = self.loop.time()
        end = math.inf
        if deadline is not None:
            end = self.deadline = deadline
        if patience is not None:
            self.patience = patience
            end = min(end, now + patience)
        self.timer = self.loop.call_at(end, self._check)

    def renew(self) -> None:
        self.renewed = self.loop.time()

    def disarm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def _check(self) -> None:
        if self.answering:
            self.renew()  # As long as the peer waits for us, nobody can wait for the peer.
        # Progress only notes the time; the timer finds out when it fires that it was too early.
        end = min(self.renewed + self.patience, self.deadline)
        if end > self.loop.time():
            self.timer = self.loop.call_at(end, self._check)
        elif end == self.deadline:
            self.settle(TimedOut(f"{self.method} took longer than its deadline"))
        else:
            why = f"{self.method} got no answer and no progress for {self.patience:g} s"
            self.settle(TimedOut(why))


class _CallOutlet(Struct, eq=False):
    """The way back for one call: the shared channel, until the call has been answered."""

    duplex: Duplex | None
    legacy: bool
    asked: tuple[Waiting, ...] = ()

    def notify(self, method: str, params: Wire | Raw) -> None:
        if self.duplex is not None:
            self.duplex.notify(method, params)

    async def drain(self) -> None:
        if self.duplex is not None:
            await self.duplex.channel.drain()

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        if not self.legacy:
            raise RpcError(METHOD_NOT_FOUND, f"{method} cannot be sent to a modern client")
        duplex = self.duplex
        if duplex is None:
            raise ConnectionLost(f"{method} was asked after the call had been answered")
        waiting = duplex.waiting(method)
        self.asked = (*self.asked, waiting)
        try:
            return await duplex.ask(method, params, waiting=waiting)
        except InvalidMessage as error:
            # For a handler it is what an error would have been: the question has no answer.
            raise RpcError(INVALID_PARAMS, str(error)) from None
        finally:
            self.asked = tuple(other for other in self.asked if other is not waiting)

    def close_stream(self, retry: float) -> None:
        pass

    def shut(self) -> None:
        self.duplex = None
        for waiting in self.asked:
            # By a task that the handler left behind: a question belongs to a call that runs.
            waiting.settle(ConnectionLost("the call was over before it was answered"))


class _Run(Struct, eq=False):
    """A call of the peer's that did not finish at once."""

    call: Call
    outlet: _CallOutlet
    task: asyncio.Task[None]

    def cancel(self) -> None:
        # From here on the call gets no answer, whatever its handler makes of it (§ Cancellation).
        self.call.cancelled = True
        self.outlet.shut()
        self.task.cancel()


class _Together:
    """The answers to what came in one array, sent as one when all are there."""

    __slots__ = ("_answers", "_channel", "_open")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._answers: list[bytes] = []
        self._open = 1  # the reading of the array itself

    def expect(self, task: asyncio.Task[None]) -> None:
        """Wait for *task*, which may add an answer or be cancelled."""
        self._open += 1
        task.add_done_callback(lambda _: self.done())

    def add(self, answer: bytes) -> None:
        self._answers.append(answer)

    def done(self) -> None:
        self._open -= 1
        if not self._open and self._answers:
            self._channel.send(join_batch(self._answers))


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
        self._runs: dict[Id, _Run] = {}
        self._ended = False

    async def run(self) -> None:
        """Take messages until the peer is gone, then end what still waits or runs.

        Calls that run get `GRACE` seconds to finish: `server < requests` is a use. What a server
        asked that has gone nobody need answer. Cancelling it ends them at once.
        """
        take = self._take_all
        channel = self.channel
        # Pipes hand over what comes in the step that read it; any other wakes this one.
        prompt = isinstance(channel, PipeChannel)
        receive = functools.partial(channel.receive, take) if prompt else channel.receive
        grace = 0.0
        try:
            while batch := await receive():
                take(batch)
                if self.exchange.serves and channel.backlog > MESSAGE_LIMIT:
                    # Whoever asks without end and reads no answer is not read either.
                    await channel.drain()
            grace = GRACE if self.exchange.serves else 0.0
        finally:
            self._ended = True
            for waiting in list(self.exchange.waiting.values()):
                waiting.settle(self._why())
            await self._end_runs(grace)

    async def handle(self, call: Call) -> RawResult:
        """Send *call* and wait for its answer; progress renews its patience.

        Raises `RpcError`, `TimedOut`, or why the channel ended. Cancelling it tells the peer.
        """
        outgoing = self.outgoing
        if outgoing is None:
            raise ConnectionLost("the era is not settled yet")
        row = call.row
        waiting = Waiting(self.exchange.next_id(), row.name, call.outlet, self._loop, self._runs)
        params = outgoing.params(call, waiting.id if row.may_ask else None)
        message = await self._round_trip(waiting, params, call.patience, call.deadline)
        return outcome(message, row.name, modern=outgoing.revision.modern)

    def waiting(self, method: str) -> Waiting:
        """What to `ask` with, for who may have to settle it before its answer comes."""
        return Waiting(self.exchange.next_id(), method, SILENT, self._loop)

    async def ask(
        self,
        method: str,
        params: Wire | Raw,
        *,
        patience: float | None = None,
        waiting: Waiting | None = None,
    ) -> Raw:
        """Send a request that is outside any era: the handshake, or a server's question."""
        data = params if isinstance(params, Raw) else encode(params)
        waiting = waiting or self.waiting(method)
        message = await self._round_trip(waiting, data, patience, None)
        return Raw(outcome(message, method, modern=False).body)

    def notify(self, method: str, params: Wire | Raw) -> None:
        """Send a notification, unless the peer has let too much pile up."""
        if self.channel.backlog > HIGH_WATER:
            return
        data = params if isinstance(params, Raw) else encode(params)
        self.channel.send(notification(method, data))

    async def _round_trip(
        self,
        waiting: Waiting,
        params: bytes | Raw,
        patience: float | None,
        deadline: float | None,
    ) -> Message:
        if self._ended:
            raise self._why()
        self.exchange.waiting[waiting.id] = waiting
        self.channel.send(request(waiting.id, waiting.method, params))
        try:
            waiting.arm(patience, deadline)
            answer = await waiting.future
        except asyncio.CancelledError:
            self._give_up(waiting, "cancelled")
            raise
        finally:
            waiting.disarm()
        if type(answer) is Message:
            return answer
        self._give_up(waiting, "timed out" if isinstance(answer, TimedOut) else str(answer))
        raise answer

    def _give_up(self, waiting: Waiting, why: str) -> None:
        """Forget a request of ours, and tell the peer if it may still be at work on it."""
        pending = self.exchange.waiting.pop(waiting.id, None) is not None
        if pending and waiting.method != INITIALIZE and not self._ended:
            notice = CancelledNotice(request_id=waiting.id, reason=why)
            self.channel.send(notification(CANCELLED, encode(notice)))

    def _take_all(self, batch: list[bytes]) -> None:
        receive = self.exchange.receive
        for data in batch:
            event = receive(data)
            if type(event) is Call:
                self._start(event, None)
            else:
                self._take(event)

    def _take(self, event: Event[Waiting], together: _Together | None = None) -> None:
        match event:
            case Call() as call:
                self._start(call, together)
            case Reply(waiting, message):
                waiting.settle(message)
            case Send(reply):
                if together is None:
                    self.channel.send(reply)
                else:
                    together.add(reply)
            case Batch(events):
                together = _Together(self.channel)
                for each in events:
                    self._take(each, together)
                together.done()
            case Progress(waiting, notice):
                waiting.renew()
                waiting.outlet.notify(PROGRESS, notice)
            case Told(waiting, method, params):
                waiting.outlet.notify(method, params)
            case Cancel(running):
                running.cancel()
            case Spoilt(waiting, why):
                waiting.settle(InvalidMessage(f"{waiting.method} gets no answer: {why}"))
            case Notice(method, params):
                if self._on_notice is not None:
                    self._on_notice(method, params)
            case Noise(what):
                if self._on_noise is not None:
                    self._on_noise(what)
            case None:
                pass

    def _start(self, call: Call, together: _Together | None) -> None:
        outlet = call.outlet = _CallOutlet(self, call.session is not None)
        task = eagerly(self._answer(call, outlet, together), self._loop)
        if not task.done():
            self._runs[call.id] = self.exchange.running[call.id] = _Run(call, outlet, task)
            # Not in `_answer`: a task that is cancelled before it starts runs none of it.
            task.add_done_callback(lambda _: self._forget(call.id))
        if together is not None:
            together.expect(task)

    def _forget(self, id: Id) -> None:
        del self._runs[id]
        del self.exchange.running[id]
        if not self.exchange.serves:
            for waiting in self.exchange.waiting.values():
                waiting.renew()

    async def _answer(self, call: Call, outlet: _CallOutlet, together: _Together | None) -> None:
        try:
            body, _ = await self._dispatch.respond(call)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this call: its handler waited for something that was.
            body, _ = self._dispatch.mishap(call, error)
        finally:
            outlet.shut()
        if call.cancelled:
            return
        if together is None:
            self.channel.send(body)
        else:
            together.add(body)

    async def _end_runs(self, grace: float) -> None:
        runs = list(self._runs.values())
        tasks = [run.task for run in runs]
        try:
            if tasks and grace:
                for run in runs:
                    if run.call.method == LISTEN:
                        run.cancel()  # It waits for what will not come any more.
                await asyncio.wait(tasks, timeout=grace)
        finally:
            for run in runs:
                run.cancel()
        if tasks:
            # What handlers do when cancelled belongs to the end, within bounds.
            await asyncio.wait(tasks, timeout=GRACE)

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

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        raise RpcError(METHOD_NOT_FOUND, f"{method} can only be asked during a call")

    def close_stream(self, retry: float) -> None:
        pass


async def serve(
    service: Service, channel: Channel, *, name: str = "", principal: Principal = LOCAL
) -> None:
    """Serve one peer, *principal*, over *channel*, in whichever era it speaks, until it is gone.

    The service is not started or stopped: who serves several peers does that once, and gives the
    session of each a *name*, so that nobody takes one of them for another.
    """
    standing = _Standing()
    session = Session(name, standing)
    duplex = Duplex(channel, Exchange(TO_SERVER, session, principal), Dispatch(service))
    standing.duplex = duplex
    try:
        await duplex.run()
    finally:
        session.close()
        await channel.close()
