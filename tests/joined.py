"""Clients joined to servers in this process, every message held against the official schemas."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tests.official import complaint

from interlock.client.client import Client, OnChange, OnLog, OnUpdate
from interlock.protocol.call import Service
from interlock.testing.wiretap import Side, Violation, Wiretap
from interlock.transport.channel import Channel
from interlock.transport.duplex import serve
from interlock.transport.memory import pair

IN_PROCESS: Final = "in process"
"""The modern era without a channel between: what a client of a server object uses."""
WIRED: Final = ("legacy", "modern")
"""The eras, over a channel."""


class Joined:
    """Makes clients of servers; `check` raises the first message that its revision forbids.

    What is *sent* and *received* shows over channels only; `tests.heard` listens everywhere.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.sent: list[bytes] = []
        self.received: list[bytes] = []

    def __call__(
        self,
        server: Service,
        revision: str = "auto",
        *,
        on_log: OnLog | None = None,
        on_change: OnChange | None = None,
        on_update: OnUpdate | None = None,
        **options: Any,
    ) -> Client:
        async def join() -> Channel:
            await server.start()
            ours, theirs = pair()
            serving = asyncio.create_task(serve(server, theirs))
            return _Tapped(ours, self, server, serving)

        options.setdefault("timeout", 10)
        return Client(
            server if revision == IN_PROCESS else join,
            revision="modern" if revision == IN_PROCESS else revision,
            on_log=on_log,
            on_change=on_change,
            on_update=on_update,
            **options,
        )

    def check(self) -> None:
        for violation in self.violations:
            raise violation


class _Tapped:
    """The client's end of a pair, with someone listening in."""

    def __init__(
        self, channel: Channel, joined: Joined, server: Service, serving: asyncio.Task[None]
    ) -> None:
        self._channel = channel
        self._joined = joined
        self._server = server
        self._serving: asyncio.Task[None] | None = serving
        self._tap = Wiretap(complaint)
        self.drain = channel.drain
        self.failure = channel.failure

    @property
    def backlog(self) -> int:
        return self._channel.backlog

    async def receive(self) -> list[bytes]:
        batch = await self._channel.receive()
        for message in batch:
            self._joined.received.append(message)
            self._hear("server", message)
        return batch

    def send(self, message: bytes) -> None:
        self._joined.sent.append(message)
        self._hear("client", message)
        self._channel.send(message)

    async def close(self) -> None:
        await self._channel.close()
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.cancel()
            await asyncio.wait([serving])
            await self._server.stop()

    def _hear(self, side: Side, message: bytes) -> None:
        try:
            self._tap.hear(side, message)
        except Violation as violation:
            self._joined.violations.append(violation)
