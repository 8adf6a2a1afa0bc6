"""Link: a way to one peer whose era is settled, and so a Handler for calls out."""

from __future__ import annotations

from typing import Protocol

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
