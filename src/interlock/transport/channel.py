"""Channel: what a transport that carries messages both ways must promise."""

from __future__ import annotations

from typing import Final, Protocol

MESSAGE_LIMIT: Final = 64 * 1024 * 1024
"""The most bytes one message may have, unless told otherwise."""
HIGH_WATER: Final = 1024 * 1024
"""How many bytes may wait for a peer that does not read before notices to it are dropped."""


class Channel(Protocol):
    """A duplex of whole messages. One task receives; any number send.

    Messages arrive complete and in order, without their framing. What a transport cannot take
    for a message (an oversized line, binary noise) it still hands over as far as it can be told
    apart, so that the protocol can answer; it never ends the connection for it.
    """

    async def receive(self) -> list[bytes]:
        """The messages that have arrived, at least one; empty once the peer is gone for good.

        Cancelling it loses nothing: what arrived is given to the next receive.
        """
        ...

    def send(self, message: bytes) -> None:
        """Queue one message. Never blocks; after the end it does nothing."""
        ...

    @property
    def backlog(self) -> int:
        """Bytes sent that the peer has not taken."""
        ...

    async def drain(self) -> None:
        """Wait until the backlog is small, or the channel closed."""
        ...

    async def close(self) -> None:
        """Flush, end the connection and what belongs to it. Safe to call twice, from any task."""
        ...

    def failure(self) -> Exception | None:
        """Why the channel ended, as a caller would want it raised; None if it was closed by us."""
        ...
