"""One who hears of changes, and what is still due to them.

What is due grows by what they listen to, and no further: a notice takes the place of an earlier one
that was not sent yet. It is sent as fast as they read.
"""

from __future__ import annotations

import asyncio
from typing import TypeAlias

from interlock.protocol.call import Principal
from interlock.protocol.outlet import Outlet
from interlock.wire.meta import SUBSCRIPTION_ID, Id
from interlock.wire.notices import Kind, Notice
from interlock.wire.tasks import Task

Told: TypeAlias = Notice | Task


class Ear:
    """One who hears: a legacy session, or an open `subscriptions/listen`, which has an *id*."""

    __slots__ = ("due", "id", "kinds", "outlet", "principal", "silent", "telling", "uris")

    def __init__(
        self,
        outlet: Outlet,
        kinds: frozenset[Kind],
        uris: frozenset[str] | tuple[str, ...],
        id: Id | None = None,
        principal: Principal | None = None,
    ) -> None:
        self.outlet = outlet
        self.kinds = kinds
        self.uris = uris
        self.id = id
        self.principal = principal
        # The acknowledgement is the first message of a subscription (2026-07-28 § Subscriptions).
        self.silent = id is not None
        self.due: dict[tuple[str, str], Told] | None = None
        self.telling: asyncio.Task[None] | None = None

    def acknowledged(self) -> None:
        self.silent = False
        self.tell()

    def hear(self, method: str, key: str, notice: Told) -> None:
        self.owe(method, key, notice)
        self.tell()

    def owe(self, method: str, key: str, notice: Told) -> None:
        """Have *notice* told, in place of one of the same method and key that still is due."""
        if self.id is not None:
            notice.meta = {**(notice.meta or {}), SUBSCRIPTION_ID: self.id}
        if self.due is None:
            self.due = {}
        self.due[method, key] = notice

    def tell(self) -> None:
        """Send what is due: at once if there is room for it, else as soon as there is."""
        if self.silent or self.telling is not None or not self.due:
            return
        # One step of draining tells whether there is: nearly always, and then no task is needed.
        draining = self.outlet.drain()
        try:
            draining.send(None)
        except StopIteration:
            self._send()
        else:
            draining.close()
            self.telling = asyncio.create_task(self._tell())

    def leave(self) -> None:
        self.due = None
        if self.telling is not None:
            self.telling.cancel()

    async def _tell(self) -> None:
        try:
            while self.due:
                await self.outlet.drain()
                self._send()
        finally:
            self.telling = None

    def _send(self) -> None:
        due, self.due = self.due, None
        for (method, _), notice in (due or {}).items():
            self.outlet.notify(method, notice)
