"""Link: a way to one peer whose era is settled, and so a Handler for calls out; and what such a way
takes from whoever wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Raw

from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.wire.lifecycle import DiscoverResult, InitializeResult
from interlock.wire.meta import RawResult, Wire


class Guardian(Protocol):
    """Whoever ends what this program started, should this program be killed: a `Warden` is one."""

    @property
    def environment(self) -> dict[str, str]: ...

    def start(self) -> None: ...

    def announce(self) -> None: ...

    def guard(self, pgid: int) -> None: ...

    def release(self, pgid: int) -> None: ...


class Authorization(Protocol):
    """Proves to servers who we are: an engine put around another, which does as it is told."""

    @property
    def extensions(self) -> tuple[str, ...]:
        """What the protocol calls its way, for a client to declare; usually nothing."""
        ...

    def around(self, engine: Any, url: str, on_person: Callable[[bool], None] | None = None) -> Any:
        """An engine that sends what it is given to the server at *url* with *engine*, and with
        proof; closing it closes *engine*. *on_person* hears when a person is waited for, and when
        that is over: their time is not the server's.

        Engines are `transport.http.engine.Engine`s: programs without HTTP do not load that room.
        """
        ...


class Link(Protocol):
    """What a client does its calls over, whatever lies beneath."""

    @property
    def envelope(self) -> Envelope:
        """What every call of ours carries: the revision that was settled, who we are."""
        ...

    @property
    def greeting(self) -> InitializeResult | DiscoverResult:
        """What the peer said of itself when the era was settled."""
        ...

    async def handle(self, call: Call) -> RawResult:
        """Send *call*, wait for its result.

        Raises `RpcError` for an error of the peer's, `TimedOut`, `ConnectionLost`. Cancelling it
        cancels the call at the peer.
        """
        ...

    def notify(self, method: str, params: Wire | Raw) -> None:
        """Send a notification that belongs to no call (legacy era; over HTTP in the background)."""
        ...

    async def wait_lost(self) -> Exception | None:
        """Wait until the link is of no more use; why, or None if it was closed by us."""
        ...

    async def close(self) -> None:
        """End it. Safe to call twice and from any task."""
        ...
