"""Who wants to hear of changes, in both eras: said once, heard by all.

Modern clients hold a `subscriptions/listen` call open; legacy ones hear of list changes on their
session's standing outlet, and of resources they subscribed to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, TypeVar

from interlock.errors import INVALID_REQUEST, RpcError
from interlock.protocol.call import Call
from interlock.protocol.session import Session
from interlock.wire.meta import SUBSCRIPTION_ID, EmptyResult, Id
from interlock.wire.notices import (
    ACKNOWLEDGED,
    LIST_CHANGED,
    RESOURCE_UPDATED,
    AcknowledgedNotice,
    ChangedNotice,
    Filter,
    Kind,
    ListenParams,
    ListenResult,
    UpdatedNotice,
)
from interlock.wire.resources import SubscribeParams

T = TypeVar("T")

LISTENERS: Final = 10_000
URIS: Final = 1_000
"""The most listeners a server keeps, and the most resources one of them may watch."""


class _Listener:
    """One open `subscriptions/listen`."""

    __slots__ = ("call", "done", "filter", "meta", "uris")

    def __init__(self, call: Call, filter: Filter, done: asyncio.Future[None]) -> None:
        self.call = call
        self.filter = filter
        self.uris = frozenset(filter.resource_subscriptions or ())
        self.meta: dict[str, Id] = {SUBSCRIPTION_ID: call.id}
        self.done = done

    def wants(self, kind: Kind) -> bool:
        return {
            "tools": self.filter.tools_list_changed,
            "prompts": self.filter.prompts_list_changed,
            "resources": self.filter.resources_list_changed,
        }[kind]


class Subscriptions:
    """Everyone who listens to one service.

    `changed` and `updated` may be called from any thread; the rest belongs to the event loop.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: dict[int, _Listener] = {}
        self._sessions: dict[int, Session] = {}
        self._watching: dict[int, set[str]] = {}

    def __len__(self) -> int:
        return len(self._listeners) + len(self._sessions)

    def attach(self, session: Session) -> None:
        """Tell a legacy *session* of changes until it closes."""
        self._loop = asyncio.get_running_loop()
        key = id(session)
        self._sessions[key] = session
        self._watching[key] = set()

        def leave() -> None:
            self._sessions.pop(key, None)
            self._watching.pop(key, None)

        session.on_close(leave)

    async def listen(self, call: Call) -> ListenResult:
        """Answer `subscriptions/listen`: acknowledge, then stay until one side ends it."""
        params = call.params
        assert isinstance(params, ListenParams)
        wanted = params.notifications
        if len(self._listeners) >= LISTENERS:
            raise RpcError(INVALID_REQUEST, f"More than {LISTENERS} subscriptions; try later")
        if len(wanted.resource_subscriptions or ()) > URIS:
            raise RpcError(INVALID_REQUEST, f"A subscription can watch {URIS} resources at most")
        self._loop = asyncio.get_running_loop()
        listener = _Listener(call, wanted, self._loop.create_future())
        call.outlet.notify(
            ACKNOWLEDGED, AcknowledgedNotice(notifications=wanted, meta=dict(listener.meta))
        )
        self._listeners[id(listener)] = listener
        try:
            await listener.done
        finally:
            del self._listeners[id(listener)]
        return ListenResult(meta=dict(listener.meta))

    async def subscribe(self, call: Call) -> EmptyResult:
        """Answer legacy `resources/subscribe`."""
        uris = self._uris(call)
        if len(uris) >= URIS:
            raise RpcError(INVALID_REQUEST, f"A session can watch {URIS} resources at most")
        assert isinstance(call.params, SubscribeParams)
        uris.add(call.params.uri)
        return EmptyResult()

    async def unsubscribe(self, call: Call) -> EmptyResult:
        """Answer legacy `resources/unsubscribe`; of what was not subscribed it is no error."""
        assert isinstance(call.params, SubscribeParams)
        self._uris(call).discard(call.params.uri)
        return EmptyResult()

    def changed(self, kind: Kind) -> None:
        """Tell everyone who wants to know that a list is not what it was."""
        self._soon(self._changed, kind)

    def updated(self, uri: str) -> None:
        """Tell everyone who watches the resource that its contents changed."""
        self._soon(self._updated, uri)

    def end(self) -> None:
        """End every open subscription with its result, as a server that stops should."""
        for listener in list(self._listeners.values()):
            if not listener.done.done():
                listener.done.set_result(None)

    def _uris(self, call: Call) -> set[str]:
        key = id(call.session)
        if key not in self._watching:
            raise RpcError(INVALID_REQUEST, "There is no session to subscribe in")
        return self._watching[key]

    def _soon(self, tell: Callable[[T], None], what: T) -> None:
        """Tell at once from the loop's own thread; from a sync handler's, let the loop do it."""
        if self._loop is None or not len(self):
            return
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            tell(what)
            return
        with contextlib.suppress(RuntimeError):  # The loop was closed, and its listeners with it.
            self._loop.call_soon_threadsafe(tell, what)

    def _changed(self, kind: Kind) -> None:
        method = LIST_CHANGED[kind]
        for session in list(self._sessions.values()):
            session.standing.notify(method, ChangedNotice())
        for listener in list(self._listeners.values()):
            if listener.wants(kind):
                listener.call.outlet.notify(method, ChangedNotice(meta=dict(listener.meta)))

    def _updated(self, uri: str) -> None:
        for key, session in list(self._sessions.items()):
            if uri in self._watching[key]:
                session.standing.notify(RESOURCE_UPDATED, UpdatedNotice(uri=uri))
        for listener in list(self._listeners.values()):
            if uri in listener.uris:
                notice = UpdatedNotice(uri=uri, meta=dict(listener.meta))
                listener.call.outlet.notify(RESOURCE_UPDATED, notice)
