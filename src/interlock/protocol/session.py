"""The legacy handshake, as a table of states, and what a session remembers from it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from msgspec import Struct

from interlock.protocol.outlet import SILENT, Outlet
from interlock.wire.lifecycle import InitializeParams
from interlock.wire.meta import ClientCapabilities, Implementation, LogLevel
from interlock.wire.versions import LATEST_LEGACY, Revision, settle


class Envelope(Struct, frozen=True):
    """What is known of the sender: carried by the request, or remembered by a session."""

    revision: Revision
    client: Implementation | None = None
    capabilities: ClientCapabilities = ClientCapabilities()
    log_level: LogLevel | None = None


class State(Enum):
    """Where a handshake stands (2025-11-25 § Lifecycle)."""

    NEW = "before initialize"
    GREETED = "after initialize"
    READY = "after notifications/initialized"
    CLOSED = "closed"


NEXT: Final = {
    (State.NEW, "initialize"): State.GREETED,
    (State.GREETED, "notifications/initialized"): State.READY,
    # Said twice, or before the answer to initialize was read, it changes nothing.
    (State.READY, "notifications/initialized"): State.READY,
}
"""The messages that move a handshake. `initialize` moves only a new one: a second is refused."""

EARLY: Final = frozenset({"initialize", "ping"})
"""What may be asked before the handshake. After `initialize` a client should wait for its own
`initialized` to be sent, but hosts exist that do not, and nothing is lost by answering."""


# Shared, because most sessions are idle and there may be many.
_UNSETTLED: Final = Envelope(LATEST_LEGACY)
_NOTHING: Final[frozenset[str]] = frozenset()


class Session:
    """One legacy client's conversation: its envelope, its log level, and its standing outlet.

    *standing* carries what belongs to no call (list changes, resource updates); a transport sets
    it. *watched* are the resources that its client subscribed to; who tells of them keeps it up to
    date. Not for concurrent use from several threads.
    """

    __slots__ = ("_leaving", "envelope", "id", "standing", "state", "watched")

    def __init__(self, id: str = "", standing: Outlet = SILENT) -> None:
        self.id = id
        self.standing = standing
        self.state = State.NEW
        self.envelope = _UNSETTLED
        self.watched = _NOTHING
        self._leaving: list[Callable[[], None]] = []

    def open(self, params: InitializeParams) -> None:
        """Settle the revision and remember who the client is."""
        self.state = NEXT[self.state, "initialize"]
        self.envelope = Envelope(
            settle(params.protocol_version), params.client_info, params.capabilities
        )

    def initialized(self) -> None:
        self.state = NEXT.get((self.state, "notifications/initialized"), self.state)

    def set_level(self, level: LogLevel) -> None:
        """Remember the least log level to send (`logging/setLevel`)."""
        old = self.envelope
        self.envelope = Envelope(old.revision, old.client, old.capabilities, level)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call *callback* when the session ends; at once if it has."""
        if self.state is State.CLOSED:
            callback()
        else:
            self._leaving.append(callback)

    def close(self) -> None:
        self.state = State.CLOSED
        leaving, self._leaving = self._leaving, []
        for callback in leaving:
            callback()
