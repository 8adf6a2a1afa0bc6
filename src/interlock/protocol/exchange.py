"""Both directions of one duplex channel: ids, replies, progress, cancellation. No I/O.

Feed it a message, get back what it means; what waits for an answer is kept under its id. The same
on both sides: a server's exchange differs from a client's in its table alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from msgspec import UNSET, Raw, Struct, field

from interlock.errors import INVALID_REQUEST
from interlock.protocol.call import LOCAL, Call, Principal
from interlock.protocol.dispatch import Refusal, Table, admit
from interlock.protocol.session import Session
from interlock.wire.decoding import Decoder
from interlock.wire.jsonrpc import UNREADABLE, Fault, Message, failure, read, read_batch
from interlock.wire.meta import SUBSCRIPTION_ID, Id
from interlock.wire.methods import TO_SERVER
from interlock.wire.notices import CANCELLED, INITIALIZED, PROGRESS, CancelledNotice, ProgressNotice

T = TypeVar("T")
"""Whatever a shell keeps for a request that it sent: a future, a callback."""

RUNNING_LIMIT: Final = 1000
"""How many calls of one peer may run at once; more are refused, not queued."""

ALONE: Final = "A request of 2026-07-28 comes by itself, never in an array"

_cancelled: Final = Decoder(CancelledNotice)
_progress: Final = Decoder(ProgressNotice)


class _Named(Struct):
    subscription: Id | None = field(default=None, name=SUBSCRIPTION_ID)


class _Noted(Struct):
    meta: _Named | None = field(default=None, name="_meta")


_noted: Final = Decoder(_Noted)


class Running(Protocol):
    """Whatever a shell keeps for a call that it runs."""

    def cancel(self) -> object:
        """End the call, unanswered."""
        ...


class Reply(Struct, Generic[T]):
    """A request that we sent has its answer: the message holds a result or an error."""

    waiting: T
    message: Message


class Spoilt(Struct, Generic[T]):
    """A request that we sent will not be answered any more: the peer said so, or said nonsense."""

    waiting: T
    why: str


class Progress(Struct, Generic[T]):
    """A request that we sent is getting on."""

    waiting: T
    notice: ProgressNotice


class Cancel(Struct):
    """The peer has no more use for an answer to this call of its own, which still runs."""

    running: Running


class Told(Struct, Generic[T]):
    """A notification of a subscription of ours: a call that stays open to hear them."""

    waiting: T
    method: str
    params: Raw


class Notice(Struct):
    """A notification that belongs to no request of ours."""

    method: str
    params: Raw


class Send(Struct):
    """Nothing to do but to send this."""

    data: bytes


class Batch(Struct, Generic[T]):
    """Several messages in one. What the requests among them are answered with is one message too.

    Each event must be acted on before the next is taken.
    """

    events: Iterator[Event[T]]


class Noise(Struct):
    """Something that is no message, or that answers nothing we asked. Worth a line in a log."""

    what: str


Event: TypeAlias = (
    Call
    | Reply[T]
    | Spoilt[T]
    | Progress[T]
    | Told[T]
    | Cancel
    | Notice
    | Send
    | Batch[T]
    | Noise
    | None
)


class Exchange(Generic[T]):
    """The state of one duplex conversation.

    *waiting* holds what we asked, *running* what we were asked: a shell puts its own handle there
    when it starts a call and takes it out when it has answered. *session* is None on a client's
    side until a legacy era is settled: a modern server asks nothing, and is answered nothing.
    """

    def __init__(
        self, table: Table, session: Session | None = None, principal: Principal = LOCAL
    ) -> None:
        self.table = table
        self.session = session
        self.principal = principal
        self.waiting: dict[Id, T] = {}
        self.running: dict[Id, Running] = {}
        self.serves = table is TO_SERVER
        self._last_id = 0

    def next_id(self) -> int:
        """An id for a request of ours, never used before on this channel."""
        self._last_id += 1
        return self._last_id

    def receive(self, data: bytes, *, batched: bool = False) -> Event[T]:
        """What one message means; None if it asks for nothing. *batched* was part of an array."""
        message = read(data)
        if type(message) is Fault:
            return self._fault(message) if batched else self._several(data, message)
        if message.method is UNSET:
            return self._reply(message)
        number = message.id
        if number is UNSET or number is None:
            return self._notice(message.method, message.params)
        if self.session is None:
            return Noise(f"{message.method} was asked of a client that nothing can be asked of")
        if number in self.running:
            why = f"The id {number!r} is in use by a call that still runs"
            return Send(failure(number, INVALID_REQUEST, why))
        if len(self.running) >= RUNNING_LIMIT:
            why = f"More than {RUNNING_LIMIT} calls at once; wait for answers"
            return Send(failure(number, INVALID_REQUEST, why))
        call = admit(message, self.table, None, self.session, self.principal)
        if batched and type(call) is Call and call.session is None:
            call = Refusal(INVALID_REQUEST, ALONE, id=number)
        return Send(call.encode()) if type(call) is Refusal else call

    def _several(self, data: bytes, fault: Fault) -> Event[T]:
        """What was no message, if it is an array and this session may have those."""
        if self.session is None or not self.session.envelope.revision.batches:
            return self._fault(fault)
        found = read_batch(data)
        if found is None or type(found) is Fault:
            return self._fault(found or fault)
        return Batch(self.receive(each, batched=True) for each in found)

    def _fault(self, fault: Fault) -> Send | Spoilt[T] | Noise:
        if fault.id is not None and not fault.asks:
            found = self.waiting.pop(fault.id, None)
            if found is not None:
                return Spoilt(found, fault.message)
        if self.serves:
            return Send(failure(fault.id, fault.code, fault.message))
        # A client answers no faults: its answer might be one to the server, and so on for ever.
        return Noise(fault.message)

    def _reply(self, message: Message) -> Reply[T] | Noise:
        found = None
        if message.id is not UNSET and message.id is not None:
            found = self.waiting.pop(message.id, None)
        if found is None:
            # Late answers to what was cancelled are expected; they are dropped by their id.
            return Noise(f"an answer to nothing that was asked (id {message.id!r})")
        return Reply(found, message)

    def _notice(
        self, method: str, params: Raw
    ) -> Progress[T] | Told[T] | Cancel | Spoilt[T] | Notice | Noise | None:
        try:
            if method == PROGRESS:
                notice = _progress.decode(params)
                waiting = self.waiting.get(notice.progress_token)
                return Progress(waiting, notice) if waiting is not None else None
            if method == CANCELLED:
                return self._cancelled(_cancelled.decode(params).request_id)
        except UNREADABLE as error:
            return Noise(f"{method}: {error}")
        if method == INITIALIZED and self.session is not None:
            self.session.initialized()
            return None
        if self.session is None and (subscription := _subscription_of(params)) is not None:
            return self._told(subscription, method, params)
        return Notice(method, params)

    def _told(self, subscription: Id, method: str, params: Raw) -> Told[T] | Noise:
        """Several subscriptions share one pipe, and are told apart by the id of their request."""
        waiting = self.waiting.get(subscription)
        if waiting is None:
            return Noise(f"{method} of a subscription that is not open (id {subscription!r})")
        return Told(waiting, method, params)

    def _cancelled(self, id: Id) -> Cancel | Spoilt[T] | None:
        running = self.running.get(id)
        if running is not None:
            return Cancel(running)
        if self.session is None:
            # How a modern server may end a subscription; nothing else of ours is its to cancel.
            waiting = self.waiting.pop(id, None)
            if waiting is not None:
                return Spoilt(waiting, "the server ended it")
        return None


def _subscription_of(params: Raw) -> Id | None:
    """The id that a notification names as its subscription, if it does."""
    try:
        meta = _noted.decode(params or b"{}").meta
    except UNREADABLE:
        return None  # Whoever takes the notification will find out what is wrong with it.
    return meta.subscription if meta is not None else None
