"""Both directions of one duplex channel: ids, replies, progress, cancellation. No I/O.

Feed it a message, get back what it means; what waits for an answer is kept under its id. The same
on both sides: a server's exchange differs from a client's in its table alone.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from interlock.errors import INVALID_REQUEST
from interlock.protocol.call import LOCAL, Call, Principal
from interlock.protocol.dispatch import Refusal, Table, admit
from interlock.protocol.session import Session
from interlock.wire.jsonrpc import UNREADABLE, Fault, Message, failure, read
from interlock.wire.meta import Id
from interlock.wire.notices import CANCELLED, INITIALIZED, PROGRESS, CancelledNotice, ProgressNotice

T = TypeVar("T")
"""Whatever a shell keeps for a request that it sent: a future, a callback."""

RUNNING_LIMIT: Final = 1000
"""How many calls of one peer may run at once; more are refused, not queued."""

_cancelled: Final = msgspec.json.Decoder(CancelledNotice)
_progress: Final = msgspec.json.Decoder(ProgressNotice)


class Reply(Struct):
    """A request that we sent has its answer: the message holds a result or an error."""

    waiting: Any
    message: Message


class Progress(Struct):
    """A request that we sent is getting on."""

    waiting: Any
    notice: ProgressNotice


class Cancel(Struct):
    """The peer has no more use for an answer to this call of its own, which still runs."""

    running: Any


class Notice(Struct):
    """A notification that belongs to no request of ours."""

    method: str
    params: Raw


class Send(Struct):
    """Nothing to do but to send this."""

    data: bytes


class Noise(Struct):
    """Something that is no message, or that answers nothing we asked. Worth a line in a log."""

    what: str


Event: TypeAlias = Call | Reply | Progress | Cancel | Notice | Send | Noise


class Exchange(Generic[T]):
    """The state of one duplex conversation.

    *waiting* holds what we asked, *running* what we were asked: a shell puts its own handle there
    when it starts a call and takes it out when it has answered.
    """

    def __init__(
        self, table: Table, session: Session | None = None, principal: Principal = LOCAL
    ) -> None:
        self.table = table
        self.session = session
        self.principal = principal
        self.waiting: dict[Id, T] = {}
        self.running: dict[Id, Any] = {}
        self._last_id = 0

    def next_id(self) -> int:
        """An id for a request of ours, never used before on this channel."""
        self._last_id += 1
        return self._last_id

    def receive(self, data: bytes) -> Event | None:
        """What one message means; None if it asks for nothing."""
        message = read(data)
        if type(message) is Fault:
            if message.id is None and self.session is None:
                return Noise(message.message)
            return Send(failure(message.id, message.code, message.message))
        assert isinstance(message, Message)
        if message.method is UNSET:
            return self._reply(message)
        if message.id is UNSET:
            return self._notice(str(message.method), message.params)
        if message.id in self.running:
            return self._no(message, f"The id {message.id!r} is in use by a call that still runs")
        if len(self.running) >= RUNNING_LIMIT:
            return self._no(message, f"More than {RUNNING_LIMIT} calls at once; wait for answers")
        call = admit(message, self.table, None, self.session, self.principal)
        return Send(call.encode()) if type(call) is Refusal else call  # type: ignore[return-value]

    def _no(self, message: Message, why: str) -> Send:
        return Send(failure(message.id or None, INVALID_REQUEST, why))

    def _reply(self, message: Message) -> Reply | Noise:
        found = self.waiting.pop(message.id, None) if message.id is not None else None  # type: ignore[arg-type]
        if found is None:
            # Late answers to what was cancelled are expected; they are dropped by their id.
            return Noise(f"an answer to nothing that was asked (id {message.id!r})")
        return Reply(found, message)

    def _notice(self, method: str, params: Raw) -> Progress | Cancel | Notice | Noise | None:
        try:
            if method == PROGRESS:
                notice = _progress.decode(params)
                found = self.waiting.get(notice.progress_token)
                return Progress(found, notice) if found is not None else None
            if method == CANCELLED:
                running = self.running.get(_cancelled.decode(params).request_id)
                return Cancel(running) if running is not None else None
        except UNREADABLE as error:
            return Noise(f"{method}: {error}")
        if method == INITIALIZED and self.session is not None:
            self.session.initialized()
            return None
        return Notice(method, params)
