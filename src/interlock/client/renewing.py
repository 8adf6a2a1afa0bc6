"""A link over HTTP whose session is begun anew when a legacy server has forgotten it.

What the session knew of us is told again: the log level, and the resources that were subscribed
to. Modern servers have no sessions, and pipes none that could be forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from msgspec import Raw

from interlock.errors import PeerError, RpcError
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.transport.http.client import SessionForgotten
from interlock.transport.link import Link
from interlock.wire.jsonrpc import encode
from interlock.wire.lifecycle import DiscoverResult, InitializeResult, SetLevelParams
from interlock.wire.meta import RawResult, Wire
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import (
    LIST_CHANGED,
    RESOURCE_UPDATED,
    ChangedNotice,
    Kind,
    UpdatedNotice,
)
from interlock.wire.resources import SubscribeParams

log: Final = logging.getLogger("interlock.client")

RESTORE_PATIENCE: Final = 10.0
"""Seconds that a server gets to take note of a log level or a subscription again."""

_LEVEL: Final = BY_NAME["logging/setLevel"]
_SUBSCRIBE: Final = BY_NAME["resources/subscribe"]
_UNSUBSCRIBE: Final = BY_NAME["resources/unsubscribe"]
_REMEMBERED: Final = (_LEVEL, _SUBSCRIBE, _UNSUBSCRIBE)
_KINDS: Final[tuple[Kind, ...]] = ("tools", "prompts", "resources")


class SessionLink(Link, Protocol):
    """What is renewed: a link whose calls raise `SessionForgotten`."""

    async def retire(self) -> None:
        """Close once the calls that run have ended."""
        ...


class RenewingLink:
    """A link that replaces itself; whoever holds it need not know.

    *open* shakes hands once more. A call that the server took nothing of is sent again, and so is
    one that may be sent twice (`safe`); any other raises `SessionForgotten`, since nobody knows
    whether it ran. Calls that still run on the old session end there. With *listening* the session
    is begun anew as soon as it is known to be gone, else with the next call; *on_notice* then hears
    that whatever it listens for may have changed.
    """

    def __init__(
        self,
        link: SessionLink,
        open: Callable[[], Awaitable[SessionLink]],
        *,
        on_notice: Callable[[str, Raw], None] | None = None,
        listening: bool = False,
    ) -> None:
        self._link = link
        self._open = open
        self._on_notice = on_notice
        self._level: SetLevelParams | None = None
        self._watched: dict[str, None] = {}
        self._renewing: asyncio.Task[SessionLink] | None = None
        self._retired: dict[SessionLink, asyncio.Task[None]] = {}
        self._listening = listening
        self._lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._keeping = asyncio.create_task(self._keep(), name="interlock session")

    @property
    def envelope(self) -> Envelope:
        return self._link.envelope

    @property
    def greeting(self) -> InitializeResult | DiscoverResult:
        return self._link.greeting

    async def handle(self, call: Call) -> RawResult:
        link = self._link
        if self._renewing is not None:
            link = await self._renewed(link)
        try:
            result = await link.handle(call)
        except SessionForgotten as error:
            if error.taken and not call.row.safe:
                raise
            result = await (await self._renewed(link)).handle(call)
        if call.row in _REMEMBERED:
            self._remember(call)
        return result

    def notify(self, method: str, params: Wire | Raw) -> None:
        self._link.notify(method, params)

    async def wait_lost(self) -> Exception | None:
        """Wait until no session can be begun any more; why, or None if it was closed by us."""
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        self._lose(None)
        tasks: list[asyncio.Task[Any]] = [self._keeping, *self._retired.values()]
        if self._renewing is not None:
            tasks.append(self._renewing)
        old = list(self._retired)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for link in (*old, self._link):
            await link.close()

    def _remember(self, call: Call) -> None:
        params = call.params
        if isinstance(params, SetLevelParams):
            self._level = params
        elif isinstance(params, SubscribeParams):
            if call.row is _SUBSCRIBE:
                self._watched[params.uri] = None
            else:
                self._watched.pop(params.uri, None)

    async def _keep(self) -> None:
        """Notice that the session is gone though nobody calls: an update would never be heard."""
        while True:
            link = self._link
            why = await link.wait_lost()
            if not isinstance(why, SessionForgotten):
                return
            if not (self._listening or self._watched):
                return  # The next call will find out.
            try:
                await self._renewed(link)
            except (PeerError, RpcError) as error:
                log.debug("no new session: %s", error)
                return

    async def _renewed(self, link: SessionLink) -> SessionLink:
        """The link that follows *link*; only one is opened, however many wait for it."""
        if self._link is not link:
            return self._link
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(link), name="interlock new session")
            self._renewing.add_done_callback(self._renewal_ended)
        # In a task of its own: of several that wait for it, each may be cancelled.
        return await asyncio.shield(self._renewing)

    def _renewal_ended(self, task: asyncio.Task[SessionLink]) -> None:
        self._renewing = None
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._lose(error)

    async def _renew(self, old: SessionLink) -> SessionLink:
        fresh = await self._open()
        self._link = fresh
        retiring = asyncio.create_task(old.retire(), name="interlock old session")
        self._retired[old] = retiring
        retiring.add_done_callback(lambda _: self._retired.pop(old, None))
        if self._level is not None:
            await self._restore(Call(_LEVEL, self._level, fresh.envelope))
        for uri in list(self._watched):
            await self._restore(Call(_SUBSCRIBE, SubscribeParams(uri=uri), fresh.envelope))
        self._tell_all()
        if self._keeping.done():
            self._keeping = asyncio.create_task(self._keep(), name="interlock session")
        return fresh

    async def _restore(self, call: Call) -> None:
        call.patience = RESTORE_PATIENCE
        try:
            await self._link.handle(call)
        except (PeerError, RpcError) as error:
            # A server that refuses what it took before can still be used.
            log.warning("%s could not be said again in a new session: %s", call.method, error)

    def _tell_all(self) -> None:
        """Say that whatever is listened for may have changed: nobody knows what was missed."""
        if self._on_notice is None:
            return
        can = self.greeting.capabilities
        for kind in _KINDS:
            if getattr(can, kind) is not None:
                self._on_notice(LIST_CHANGED[kind], Raw(encode(ChangedNotice())))
        for uri in self._watched:
            self._on_notice(RESOURCE_UPDATED, Raw(encode(UpdatedNotice(uri=uri))))

    def _lose(self, why: Exception | None) -> None:
        if not self._lost.done():
            self._lost.set_result(why)
