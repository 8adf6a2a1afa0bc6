"""Changes that are said in one worker, heard by the clients of all: over the bus of their store."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection
from typing import Final

from msgspec import Struct

from interlock.errors import StoreError
from interlock.server.subscriptions import Subscriptions
from interlock.store.ports import Bus, Unsubscribe
from interlock.wire.decoding import Decoder
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.notices import Kind

log: Final = logging.getLogger("interlock.subscriptions")

TOPIC: Final = "interlock/changes/"
"""Followed by the name of the server: workers of one server have the same."""
WAITING: Final = 100
"""How many rounds may wait to be said to the others; beyond it they are not told."""


class _Round(Struct):
    """What changed in one worker in one round. *origin* is the worker, which knows already."""

    origin: str
    kinds: list[Kind] = []
    uris: list[str] = []


_round: Final = Decoder(_Round)


class Carrier:
    """Says to the other workers what *subscriptions* are told here, and the other way round.

    A bus that fails takes nothing from the clients of this worker; those of others hear of the
    next change.
    """

    def __init__(self, bus: Bus, name: str, subscriptions: Subscriptions) -> None:
        self._bus = bus
        self._topic = TOPIC + name
        self._subscriptions = subscriptions
        self._origin = os.urandom(8).hex()
        self._leave: Unsubscribe | None = None
        self._started = False
        self._saying: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen to the others. Does nothing if it does already."""
        if self._started:
            return
        self._started = True
        try:
            self._leave = await self._bus.subscribe(self._topic, self._hear)
        except BaseException:
            # Cancelled or failed, it has not started: the next try starts anew.
            self._started = False
            raise
        self._subscriptions.carry(self._say)

    async def stop(self) -> None:
        self._subscriptions.carry(None)
        if self._saying:
            await asyncio.wait(self._saying)
        leave, self._leave, self._started = self._leave, None, False
        if leave is not None:
            await leave()

    def _hear(self, message: bytes) -> None:
        try:
            heard = _round.decode(message)
        except UNREADABLE as error:
            log.warning("a worker said of changes what cannot be read: %s", error)
            return
        if heard.origin != self._origin:
            self._subscriptions.heard(heard.kinds, heard.uris)

    def _say(self, kinds: Collection[Kind], uris: Collection[str]) -> None:
        if len(self._saying) >= WAITING:
            log.warning("the bus takes nothing; other workers are not told of changes")
            return
        said = _Round(self._origin, list(kinds), list(uris))
        task = asyncio.create_task(self._publish(encode(said)))
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    async def _publish(self, message: bytes) -> None:
        try:
            await self._bus.publish(self._topic, message)
        except StoreError as error:
            log.warning("other workers are not told of changes: %s", error)
