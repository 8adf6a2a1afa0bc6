"""Who wants to hear of changes, in both eras: said once, heard by all.

Modern clients hold a `subscriptions/listen` call open; legacy ones hear of list changes on their
session's standing outlet, and of resources they subscribed to. What changes several times before
it is told is told once, and always after the last time: everyone has a list of what is *due* to
them, which only ever grows by what they watch and empties as fast as they read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

from msgspec import Raw

from interlock.errors import INVALID_PARAMS, INVALID_REQUEST, RpcError
from interlock.protocol.call import LOCAL, Call, Principal
from interlock.protocol.session import Session
from interlock.server.ear import Ear, Told
from interlock.wire.meta import SUBSCRIPTION_ID, EmptyResult
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

LISTENERS: Final = 10_000
EACH: Final = 1_000
"""The most listeners a service keeps, and the most of one principal that was authenticated."""
URIS: Final = 1_000
ALL_URIS: Final = 100_000
URI_LENGTH: Final = 2_048
"""The most resources one listener may watch, and all together; the most characters of a URI."""
PAUSE: Final = 0.05
"""Seconds between two rounds of telling: a first change is told at once, what follows together."""

KINDS: Final[tuple[Kind, ...]] = ("tools", "prompts", "resources")

_FEW: Final = 8

_HEARD: Final = ListenParams(notifications=Filter())
"""What stands in a call for params that were read."""

T = TypeVar("T")
Say: TypeAlias = Callable[[Collection[Kind], Collection[str]], None]
"""Takes the lists and the resources that changed in one round."""
Tell: TypeAlias = Callable[[str, str, Told], None]
"""Sends a listener a notice of a method, in place of one with the same key that is still due."""


class Follow(Protocol):
    """What lets a listener hear of tasks too (`taskIds`)."""

    async def __call__(
        self, call: Call, ids: Sequence[str], tell: Tell
    ) -> tuple[list[str], Callable[[], None]]:
        """The ids that will be told of, and what to call when the listener leaves.

        Raises `RpcError` to refuse the whole subscription.
        """
        ...


class Subscriptions:
    """Everyone who listens to one service.

    *offered* gives the kinds that the service has at a moment: nobody hears of others. *pause* is
    how many seconds pass between two rounds of telling. `changed` and `updated` may be called from
    any thread; the rest belongs to the event loop.
    """

    def __init__(
        self, offered: Callable[[], Iterable[Kind]] = lambda: KINDS, *, pause: float = PAUSE
    ) -> None:
        self.on_watch: Callable[[str, bool], None] = lambda uri, watched: None
        """Called when somebody begins to watch a resource that nobody watched, and with False when
        nobody does any more: for whoever has to watch it elsewhere."""
        self.follow: Follow | None = None
        """Set by whoever has tasks to tell of."""
        self.allow: Callable[[Call, str], None] = lambda call, uri: None
        """Raises for a resource that the caller may not watch: what changes when is part of it."""
        self._offered = offered
        self._pause = pause
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: dict[Ear, asyncio.Future[None]] = {}
        self._sessions: dict[int, Ear] = {}
        self._watched: dict[str, int] = {}
        self._watching = 0
        self._kinds: dict[Kind, None] = {}
        self._uris: dict[str, None] = {}
        self._say: Say | None = None
        self._said_kinds: dict[Kind, None] = {}
        self._said_uris: dict[str, None] = {}
        self._round: asyncio.Handle | None = None
        self._again_at = 0.0

    def __len__(self) -> int:
        return len(self._listeners) + len(self._sessions)

    # Who hears.

    def attach(self, session: Session) -> None:
        """Tell a legacy *session* of changes until it closes."""
        self._loop = asyncio.get_running_loop()
        key = id(session)
        kinds = frozenset(self._offered())
        ear = Ear(session.standing, _SHARED.get(kinds, kinds), session.watched)
        self._sessions[key] = ear

        def leave() -> None:
            self._sessions.pop(key, None)
            if not self._sessions:
                self._sessions.clear()  # A dictionary keeps the room of all that it ever held.
            self._forget(ear)

        session.on_close(leave)

    async def listen(self, call: Call) -> ListenResult:
        """Answer `subscriptions/listen`: acknowledge, then stay until one side ends it."""
        params = call.params
        assert isinstance(params, ListenParams)
        loop = self._loop = asyncio.get_running_loop()
        wanted = params.notifications
        # It may be open for days, and there may be thousands: what it came in is not kept.
        call.raw, call.params = Raw(), _HEARD
        honoured = self._honour(wanted)
        for uri in honoured.resource_subscriptions or ():
            self.allow(call, uri)
        ear = Ear(
            call.outlet,
            _kinds(honoured),
            _collected(honoured.resource_subscriptions or ()),
            call.id,
            call.principal,
        )
        self._admit(ear)
        # It counts from here on, so that what is awaited below leaves no gap in the bounds.
        done = self._listeners[ear] = loop.create_future()
        self._watch(ear.uris)
        stop: Callable[[], None] | None = None
        try:
            if wanted.task_ids is not None and self.follow is not None:
                honoured.task_ids, stop = await self.follow(call, wanted.task_ids, ear.hear)
            call.outlet.notify(
                ACKNOWLEDGED,
                AcknowledgedNotice(notifications=honoured, meta={SUBSCRIPTION_ID: call.id}),
            )
            del params, wanted, honoured
            ear.acknowledged()
            await done
        finally:
            if stop is not None:
                stop()
            del self._listeners[ear]
            self._forget(ear)
        return ListenResult(meta={SUBSCRIPTION_ID: call.id})

    async def subscribe(self, call: Call) -> EmptyResult:
        """Answer legacy `resources/subscribe`."""
        ear = self._ear(call)
        assert isinstance(call.params, SubscribeParams)
        uri = call.params.uri
        if uri not in ear.uris:
            self._check([uri], len(ear.uris) + 1)
            self.allow(call, uri)
            ear.uris = frozenset([*ear.uris, uri])
            self._watch([uri])
            _remember(call, ear)
        return EmptyResult()

    async def unsubscribe(self, call: Call) -> EmptyResult:
        """Answer legacy `resources/unsubscribe`; of what was not subscribed it is no error."""
        ear = self._ear(call)
        assert isinstance(call.params, SubscribeParams)
        uri = call.params.uri
        if uri in ear.uris:
            ear.uris = frozenset(each for each in ear.uris if each != uri)
            self._unwatch([uri])
            _remember(call, ear)
        return EmptyResult()

    def end(self, principal: Principal | None = None) -> None:
        """End open subscriptions with their results: all, as a server that stops should, or those
        of a *principal* that may hear no more.
        """
        for ear, done in list(self._listeners.items()):
            if not done.done() and principal in (None, ear.principal):
                done.set_result(None)

    # What they hear.

    def changed(self, kind: Kind) -> None:
        """Tell everyone who wants to know that a list is not what it was."""
        self._soon(self._note_kind, kind)

    def updated(self, uri: str) -> None:
        """Tell everyone who watches the resource that its contents changed."""
        self._soon(self._note_uri, uri)

    def carry(self, say: Say | None) -> None:
        """Hand what is said here to *say* as well, round by round, for others to hear."""
        self._loop = asyncio.get_running_loop()
        self._say = say

    def heard(self, kinds: Iterable[Kind], uris: Iterable[str]) -> None:
        """Tell of what changed elsewhere, and say it to nobody else."""
        self._kinds |= dict.fromkeys(kinds)
        self._uris |= dict.fromkeys(uri for uri in uris if uri in self._watched)
        if self._kinds or self._uris:
            self._begin_round()

    def _soon(self, note: Callable[[T], None], what: T) -> None:
        """Note it at once in the loop's own thread; from a sync handler's, let the loop do it."""
        if self._loop is None or not (len(self) or self._say):
            return
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            note(what)
            return
        with contextlib.suppress(RuntimeError):  # The loop was closed, and its listeners with it.
            self._loop.call_soon_threadsafe(note, what)

    def _note_kind(self, kind: Kind) -> None:
        self._kinds[kind] = None
        if self._say is not None:
            self._said_kinds[kind] = None
        self._begin_round()

    def _note_uri(self, uri: str) -> None:
        if self._say is not None:
            self._said_uris[uri] = None  # Somebody may watch it elsewhere.
        elif uri not in self._watched:
            return
        self._uris[uri] = None
        self._begin_round()

    def _begin_round(self) -> None:
        if self._round is None and self._loop is not None:
            # Never in this very step: whoever changes one thing often changes more.
            wait = self._again_at - self._loop.time()
            tell = self._tell_round
            self._round = (
                self._loop.call_later(wait, tell) if wait > 0 else self._loop.call_soon(tell)
            )

    def _tell_round(self) -> None:
        assert self._loop is not None
        self._round = None
        self._again_at = self._loop.time() + self._pause
        kinds, self._kinds = self._kinds, {}
        uris, self._uris = self._uris, {}
        if self._say is not None and (self._said_kinds or self._said_uris):
            self._say(self._said_kinds, self._said_uris)
            self._said_kinds, self._said_uris = {}, {}
        for ear in [*self._sessions.values(), *self._listeners]:
            for kind in kinds:
                if kind in ear.kinds:
                    ear.owe(LIST_CHANGED[kind], "", ChangedNotice())
            for uri in uris:
                if uri in ear.uris:
                    ear.owe(RESOURCE_UPDATED, uri, UpdatedNotice(uri=uri))
            ear.tell()

    # The bounds.

    def _honour(self, wanted: Filter) -> Filter:
        """What of a filter is acknowledged: the kinds there are, each resource once."""
        offered = frozenset(self._offered())
        uris = list(dict.fromkeys(wanted.resource_subscriptions or ()))
        self._check(uris, len(uris))
        return Filter(
            tools_list_changed=wanted.tools_list_changed and "tools" in offered,
            prompts_list_changed=wanted.prompts_list_changed and "prompts" in offered,
            resources_list_changed=wanted.resources_list_changed and "resources" in offered,
            resource_subscriptions=uris if uris and "resources" in offered else None,
        )

    def _check(self, more: Collection[str], together: int) -> None:
        """Raise unless *more* resources may be watched, by one who then watches *together*."""
        if together > URIS:
            raise RpcError(INVALID_REQUEST, f"Nobody can watch more than {URIS} resources at once")
        if self._watching + len(more) > ALL_URIS:
            raise RpcError(INVALID_REQUEST, "Too many resources are watched here; try later")
        if any(len(uri) > URI_LENGTH for uri in more):
            raise RpcError(INVALID_PARAMS, f"A URI to watch has {URI_LENGTH} characters at most")

    def _admit(self, ear: Ear) -> None:
        if len(self._listeners) >= LISTENERS:
            raise RpcError(INVALID_REQUEST, "Too many subscriptions are open here; try later")
        # Whoever was not authenticated shares a principal with everyone else who was not.
        if ear.principal != LOCAL:
            mine = sum(other.principal == ear.principal for other in self._listeners)
            if mine >= EACH:
                raise RpcError(INVALID_REQUEST, f"You have {mine} subscriptions open; end some")

    def _watch(self, uris: Iterable[str]) -> None:
        for uri in uris:
            self._watching += 1
            count = self._watched[uri] = self._watched.get(uri, 0) + 1
            if count == 1:
                self.on_watch(uri, True)

    def _unwatch(self, uris: Iterable[str]) -> None:
        for uri in uris:
            self._watching -= 1
            self._watched[uri] -= 1
            if not self._watched[uri]:
                del self._watched[uri]
                self.on_watch(uri, False)

    def _forget(self, ear: Ear) -> None:
        ear.leave()
        self._unwatch(ear.uris)
        ear.uris = frozenset()

    def _ear(self, call: Call) -> Ear:
        ear = self._sessions.get(id(call.session))
        if ear is None:
            raise RpcError(INVALID_REQUEST, "There is no session to subscribe in")
        return ear


def _remember(call: Call, ear: Ear) -> None:
    if call.session is not None:
        call.session.watched = frozenset(ear.uris)


def _collected(uris: Sequence[str]) -> frozenset[str] | tuple[str, ...]:
    """*uris* to look things up in; a set of a few weighs five times as much, and is no faster."""
    return tuple(uris) if len(uris) <= _FEW else frozenset(uris)


def _kinds(filter: Filter) -> frozenset[Kind]:
    return _SETS[
        filter.tools_list_changed, filter.prompts_list_changed, filter.resources_list_changed
    ]


# Shared, because a set by itself is a good part of what an idle listener weighs.
_SETS: Final[dict[tuple[bool, ...], frozenset[Kind]]] = {
    wanted: frozenset(kind for kind, each in zip(KINDS, wanted, strict=True) if each)
    for wanted in itertools.product((False, True), repeat=3)
}
_SHARED: Final = {kinds: kinds for kinds in _SETS.values()}
