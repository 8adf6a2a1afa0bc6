"""One connection to a server behind the gateway, as its supervisor keeps it, and what ends it."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from interlock.client.client import Client
from interlock.errors import ConnectFailed, LoginNeeded, PeerError, RpcError
from interlock.gateway.login import Login
from interlock.wire.lifecycle import SetLevelParams
from interlock.wire.meta import LOG_LEVELS, LogLevel

log: Final = logging.getLogger("interlock.gateway")

LEVEL_WAITS: Final = 5.0
"""Seconds a call waits for a legacy server to take note of a lower log level."""
_NEVER: Final = len(LOG_LEVELS)


class Connected:
    """A client that is connected, as the supervisor keeps it."""

    def __init__(self, client: Client, login: Login | None) -> None:
        self.link = client.link
        self.keeping: list[asyncio.Task[None]] = []
        self._client = client
        self._login = login
        self._level = _NEVER
        self._doubted: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def doubt(self, error: Exception) -> None:
        """A call showed that the connection is of no more use, though nothing else has yet."""
        gone = isinstance(error, ConnectFailed) or getattr(error, "status", 0) == 404
        if gone and not self._doubted.done():
            self._doubted.set_result(error)

    def lacks(self, error: LoginNeeded) -> LoginNeeded:
        """A call found that a person has to log in: *error* in words that say how.

        The connection is of no more use, unless only this call needs a login that allows more.
        """
        needed = worded(error, self._login)
        if not needed.scopes and not self._doubted.done():
            self._doubted.set_result(needed)
        return needed

    async def log_from(self, level: LogLevel) -> None:
        """Have a legacy server log from *level* on, at least.

        It has one level for all our callers, each of whom hears what it asked for: so it is told
        the lowest, and never more than what those hear who did not say.
        """
        wanted = min(LOG_LEVELS.index(level), LOG_LEVELS.index("info"))
        if wanted >= self._level or self._client.capabilities.logging is None:
            return
        self._level = wanted
        try:
            await self._client.request(
                "logging/setLevel", SetLevelParams(level=LOG_LEVELS[wanted]), timeout=LEVEL_WAITS
            )
        except (PeerError, RpcError) as error:
            log.debug("a log level was not taken: %s", error)

    async def wait_lost(self) -> Exception | None:
        lost = asyncio.ensure_future(self.link.wait_lost())
        try:
            await asyncio.wait([lost, self._doubted], return_when=asyncio.FIRST_COMPLETED)
            why = lost.result() if lost.done() else self._doubted.result()
            return worded(why, self._login) if isinstance(why, LoginNeeded) else why
        finally:
            lost.cancel()

    async def close(self) -> None:
        for task in self.keeping:
            task.cancel()
        await self._client.close()


def worded(error: LoginNeeded, login: Login | None) -> LoginNeeded:
    """*error* in words that say what to type, if it is known."""
    return login.needed(error) if login is not None else error
