"""Where the notifications and questions of a running call go."""

from __future__ import annotations

from typing import Final, Protocol

from msgspec import Raw

from interlock.errors import METHOD_NOT_FOUND, RpcError
from interlock.wire.meta import Wire


class Outlet(Protocol):
    """The way back to whoever sent a call, open while the call runs.

    `notify` never blocks: what nobody can hear is dropped, and so are notices beyond what the
    transport may hold for a reader that does not read. `drain` waits for such a reader.
    """

    def notify(self, method: str, params: Wire | Raw) -> None:
        """Send a notification on the call's own stream; silently dropped where there is none."""
        ...

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was sent."""
        ...

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        """Ask the peer something and wait for the result.

        A legacy peer gets a request on the call's own stream. A modern one is answered with the
        question and calls again with the result; *key* is what the question is called then, and
        what the same question is known by if the handler has to run again. Without one it is made
        from what is asked. Raises `RpcError` if the peer answered with an error or cannot be asked.
        """
        ...

    def close_stream(self, retry: float) -> None:
        """Close the call's stream early, if its client can fetch the rest from another (SEP-1699).

        *retry* is after how many seconds it should. Does nothing anywhere else.
        """
        ...


class Silent:
    """The outlet of a call that nobody listens to."""

    def notify(self, method: str, params: Wire | Raw) -> None:
        pass

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        raise RpcError(METHOD_NOT_FOUND, f"Nobody can be asked here: {method} needs a client")

    def close_stream(self, retry: float) -> None:
        pass


SILENT: Final = Silent()
