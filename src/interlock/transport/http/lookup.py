"""Names looked up with what this machine has, a few at a time and not for long."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

from interlock.errors import TimedOut
from interlock.transport.http.engine import Resolve

AT_ONCE: Final = 3
SECONDS: Final = 5.0


class Lookup:
    """The addresses of a host, as *ask* has them: by default the loop's `getaddrinfo`.

    Nothing stops that once it runs, in one of the few threads that all of a program shares; names
    whose servers never answer would soon have them all. So what still runs is counted, whether or
    not anybody waits for it.
    """

    def __init__(self, ask: Resolve | None = None, *, seconds: float = SECONDS) -> None:
        self._ask = ask or _getaddrinfo
        self._seconds = seconds
        self._free = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Raises `OSError` if there is no such host, `TimedOut` if that was not learnt in time."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
                running = asyncio.ensure_future(self._ask(host, port))
                running.add_done_callback(self._ended)
                return await asyncio.shield(running)
        except TimeoutError:
            raise TimedOut(f"{host} could not be looked up in {self._seconds:g} seconds") from None

    def _ended(self, running: asyncio.Future[Sequence[str]]) -> None:
        self._free.release()
        if not running.cancelled():
            running.exception()  # Perhaps nobody waits any more, and it would be logged as lost.


async def _getaddrinfo(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]
