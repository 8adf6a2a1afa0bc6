"""Hear of changes from a modern server: one `subscriptions/listen`, kept open."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

from interlock.errors import METHOD_NOT_FOUND, ConnectionLost, PeerError, RpcError
from interlock.protocol.call import Call
from interlock.transport.link import Link
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import Wire
from interlock.wire.methods import BY_NAME, LISTEN
from interlock.wire.notices import (
    ACKNOWLEDGED,
    LIST_CHANGED,
    RESOURCE_UPDATED,
    AcknowledgedNotice,
    ChangedNotice,
    Filter,
    Kind,
    ListenParams,
    UpdatedNotice,
)

log: Final = logging.getLogger("interlock.client")

PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds before a subscription that broke off is opened again, less up to half of jitter."""
ACKNOWLEDGED_WITHIN: Final = 5.0
"""Seconds a server gets to acknowledge before whoever subscribed goes on without."""

_acknowledged: Final = msgspec.json.Decoder(AcknowledgedNotice)

OnNotice = Callable[[str, Raw], None]


class Subscription:
    """What a client wants to hear from one server, and the open call that it hears it over.

    What breaks off is opened again, and then everything that was subscribed to counts as changed:
    nobody can know what was missed.
    """

    def __init__(self, link: Link, on_notice: OnNotice) -> None:
        self.filter = Filter()
        self._link = link
        self._on_notice = on_notice
        self._task: asyncio.Task[None] | None = None
        self._acknowledged = asyncio.Event()
        self._honoured: Filter | None = None
        self._asked = self.filter
        self._changing = asyncio.Lock()

    @property
    def refused(self) -> list[str]:
        """The resources that the server's last acknowledgement leaves out."""
        if self._honoured is None:
            return []
        honoured = self._honoured.resource_subscriptions or ()
        return [uri for uri in self._asked.resource_subscriptions or () if uri not in honoured]

    async def want(self, filter: Filter) -> None:
        """Hear of *filter* from now on, instead of what was wanted before.

        Returns when the server has acknowledged it; raises `RpcError` if it refuses, and what was
        heard before is heard still. A server that does not say either is waited for a few seconds
        only.
        """
        self.filter = filter  # At once: the next wish is made of this one.
        # One after the other: what a caller is told must be about what it wanted itself.
        async with self._changing:
            await self._change(filter)

    async def _change(self, filter: Filter) -> None:
        old, before = self._task, (self._asked, self._honoured, self._acknowledged)
        self._asked, self._honoured = filter, None
        self._acknowledged = acknowledged = asyncio.Event()
        if filter == Filter():
            self._task = None
            await _end(old)
            return
        self._task = task = asyncio.create_task(self._listen(filter, acknowledged))
        heard = asyncio.create_task(acknowledged.wait())
        try:
            await asyncio.wait(
                [task, heard],
                timeout=ACKNOWLEDGED_WITHIN,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            heard.cancel()
            refused = task.done() and not task.cancelled() and not acknowledged.is_set()
            if not refused:
                # The old one ends after the new one has begun, so that nothing falls between.
                await _end(old)
        if task.cancelled():
            raise ConnectionLost("the client was closed while it subscribed")
        if refused:
            self._task = old
            self._asked, self._honoured, self._acknowledged = before
            if self.filter is filter:
                self.filter = self._asked
            task.result()

    async def close(self) -> None:
        task, self._task = self._task, None
        await _end(task)

    async def _listen(self, filter: Filter, acknowledged: asyncio.Event) -> None:
        tries = 0
        while True:
            ear = _Ear(self._on_notice, acknowledged, self._honour)
            params = ListenParams(notifications=filter)
            call = Call(BY_NAME[LISTEN], params, self._link.envelope, outlet=ear)
            again = acknowledged.is_set()
            acknowledged.clear()
            telling = asyncio.create_task(self._tell_all(filter, acknowledged)) if again else None
            try:
                await self._link.handle(call)
                log.debug("the server ended the subscription")
            except RpcError as error:
                log.debug("no subscription: %s", error)
                if not again:
                    raise
                return
            except PeerError as error:
                log.debug("subscription broke off: %s", error)
            finally:
                if telling is not None:
                    telling.cancel()
            tries = 0 if acknowledged.is_set() else tries + 1
            acknowledged.set()
            pause = PAUSES[min(tries, len(PAUSES) - 1)] * (1 - os.urandom(1)[0] / 512)
            lost = asyncio.ensure_future(self._link.wait_lost())
            done, _ = await asyncio.wait([lost], timeout=pause)
            lost.cancel()
            if done:
                return

    def _honour(self, params: Raw) -> None:
        """Take note of an acknowledgement: what it leaves out will not be told."""
        try:
            self._honoured = _acknowledged.decode(params).notifications
        except UNREADABLE as error:
            log.debug("an acknowledgement that cannot be read: %s", error)

    async def _tell_all(self, filter: Filter, acknowledged: asyncio.Event) -> None:
        """Once listening again, say that whatever was subscribed to may have changed."""
        await acknowledged.wait()
        kinds: dict[Kind, bool] = {
            "tools": filter.tools_list_changed,
            "prompts": filter.prompts_list_changed,
            "resources": filter.resources_list_changed,
        }
        for kind, wanted in kinds.items():
            if wanted:
                self._on_notice(LIST_CHANGED[kind], Raw(encode(ChangedNotice())))
        for uri in filter.resource_subscriptions or ():
            self._on_notice(RESOURCE_UPDATED, Raw(encode(UpdatedNotice(uri=uri))))


class _Ear:
    """The outlet of a listen call: hands on what it hears."""

    def __init__(
        self, on_notice: OnNotice, acknowledged: asyncio.Event, honour: Callable[[Raw], None]
    ) -> None:
        self._on_notice = on_notice
        self._acknowledged = acknowledged
        self._honour = honour

    def notify(self, method: str, params: Wire | Raw) -> None:
        data = params if isinstance(params, Raw) else Raw(encode(params))
        if method == ACKNOWLEDGED:
            self._honour(data)
            self._acknowledged.set()
        else:
            self._on_notice(method, data)

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        raise RpcError(METHOD_NOT_FOUND, f"{method} cannot be asked on a subscription")

    def close_stream(self, retry: float) -> None:
        pass


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # Read, so that nobody is warned of it: it ended, which was the wish.
