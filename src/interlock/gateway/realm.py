"""What each person has behind the gateway: what all share, and what is theirs alone.

A server that is told who calls is another server to each person: another connection, other lists,
other results. Whoever runs the gateway is its first person; the others come with their first call,
and what is theirs is let go of when they are not heard of any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Final, TypeAlias
from urllib.parse import quote

from interlock.errors import INTERNAL_ERROR, RpcError
from interlock.gateway.audience import Audience
from interlock.gateway.catalog import Catalog
from interlock.gateway.config import HttpServer, Server
from interlock.gateway.login import Login, Logins, may_want_login
from interlock.gateway.names import SEPARATOR, public_uri
from interlock.gateway.upstream import Upstream
from interlock.protocol.call import LOCAL, Principal
from interlock.server.subscriptions import Follow, Subscriptions
from interlock.transport.warden import Warden
from interlock.wire.notices import Kind

LIMIT: Final = 200
"""How many persons have servers of their own at once, besides whoever runs the gateway."""
IDLE: Final = 30 * 60.0
"""After how many seconds without a call theirs are ended, unless somebody listens to changes."""
ROUND: Final = 60.0
"""How many seconds pass between two looks for those."""

OnEvent: TypeAlias = Callable[[str, str, str], None]
"""Hears what happens to a server: its name, what, and the details."""
Who: TypeAlias = tuple[str, str, str]
"""An issuer, whom it means, and if it means nobody, which client."""

_NOBODY: Final[Who] = ("", "", "")


def who(principal: Principal) -> Who:
    """Which person a principal is, with whichever client they come."""
    subject = principal.subject
    # A token that is nobody's is its client's (RFC 6749 § 4.4).
    return principal.issuer, subject, "" if subject else principal.client_id


def name_of(person: Who) -> str:
    """What a person's logins are kept under: stable, and nobody else's."""
    issuer, subject, client = person
    name = f"{quote(issuer, safe=':/')}#{quote(subject, safe=':@')}"
    return name if subject else f"{name}#{quote(client, safe=':@/')}"


class Realm:
    """What one person has: servers by name, what these offer, and who listens to changes of it.

    *name* is what the person's logins are kept under, "" for whoever runs the gateway. While it
    is not awake there is only what is shared.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.upstreams: Mapping[str, Upstream] = {}
        self.own: list[Upstream] = []
        """Those of *upstreams* that nobody else has."""
        self.catalog = Catalog(())
        self.subscriptions = Subscriptions()
        self.subscriptions.on_watch = self._watch
        self.awake = False
        self.used = clock()
        self._clock = clock
        self._running = 0
        self._shared: list[Upstream] = []
        """What all have, as far as it has not settled yet; once it has, it stays so."""
        self._watched: dict[str, tuple[str, str]] = {}

    @property
    def busy(self) -> bool:
        """Whether something goes on in it."""
        return self._running > 0 or any(upstream.busy for upstream in self.own)

    @property
    def heard(self) -> bool:
        """Whether somebody listens to what changes."""
        return len(self.subscriptions) > 0

    @contextlib.contextmanager
    def use(self, *, listening: bool = False) -> Generator[None]:
        """It is used meanwhile; by those who only listen, only now."""
        self.used = self._clock()
        if listening:
            yield
            return
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self.used = self._clock()

    async def wake(self) -> None:
        """Start what needed a login and has one now."""
        for upstream in self.own:  # What all share wants no login.
            if upstream.login_needed is not None:
                await upstream.wake()

    async def settled(self, timeout: float) -> None:
        """Wait until each server runs, or has failed to once; at most *timeout* seconds."""
        if self._shared:
            self._shared = [each for each in self._shared if not each.settled.is_set()]
        waiting = [
            asyncio.ensure_future(upstream.settled.wait())
            for upstream in (*self._shared, *self.own)
            if not upstream.settled.is_set()
        ]
        if waiting:
            try:
                await asyncio.wait(waiting, timeout=timeout)
            finally:
                for waiter in waiting:
                    waiter.cancel()

    def owner(self, name: str) -> Upstream | None:
        """The server whose name a public name begins with."""
        head = name.partition(SEPARATOR)[0]
        return next((each for each in self.upstreams.values() if each.prefix == head), None)

    def have(self, upstreams: Mapping[str, Upstream], own: list[Upstream]) -> None:
        """Have other servers from now on; what is watched is watched at them."""
        self.upstreams, self.own = upstreams, own
        self._shared = [each for each in upstreams.values() if each not in own]
        for server, uri in self._watched.values():
            if (upstream := upstreams.get(server)) is not None and upstream in own:
                upstream.watch(uri, watched=True)

    def tell(self, changed: set[Kind]) -> None:
        for kind in sorted(changed):
            self.subscriptions.changed(kind)

    def updated(self, upstream: Upstream, uri: str) -> None:
        # What changed may lie within what is watched (2025-11-25 § Resources, Subscriptions).
        for watched in upstream.watched(uri):
            # Whoever watches it may have found it under its original name, inside a result.
            self.subscriptions.updated(public_uri(upstream.name, watched))
            self.subscriptions.updated(watched)

    def _watch(self, uri: str, watched: bool) -> None:
        if watched:
            found = self.catalog.uri(uri)
            if found is None:
                return
            self._watched[uri] = place = (found.server, found.name)
        elif (place := self._watched.pop(uri, None)) is None:
            return
        if (upstream := self.upstreams.get(place[0])) is not None:
            upstream.watch(place[1], watched=watched)


class Realms:
    """The realms of a gateway over the servers of its configuration.

    *owner* is who else is whoever runs the gateway, once callers say who they are. Without a server
    that may want a login, all have the first realm.
    """

    def __init__(
        self,
        servers: Mapping[str, Server],
        *,
        logins: Logins,
        warden: Warden,
        audience: Audience,
        owner: Principal | None = None,
        on_event: OnEvent | None = None,
        limit: int = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = servers
        self._personal = {
            name: entry
            for name, entry in servers.items()
            if isinstance(entry, HttpServer) and may_want_login(entry)
        }
        self._logins = logins
        self._warden = warden
        self._audience = audience
        self._owners = {_NOBODY, who(owner)} if owner is not None else {_NOBODY}
        self._on_event = on_event
        self._limit = limit
        self._clock = clock
        self._others: dict[Who, Realm] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.follow: Follow | None = None
        """What lets listeners hear of tasks too."""
        self.several = bool(self._personal)
        """Whether persons differ in what they have."""
        self._shared = {
            name: Upstream(
                entry,
                warden=warden,
                changed=self._changed,
                updated=self._updated,
                unheard=audience.hear,
                on_event=on_event,
            )
            for name, entry in servers.items()
            if name not in self._personal
        }
        self.first = Realm("", clock)
        self._furnish(self.first)
        self.first.awake = True

    def __len__(self) -> int:
        """How many persons have servers of their own, besides whoever runs the gateway."""
        return sum(realm.awake for realm in self._others.values())

    def of(self, principal: Principal) -> Realm:
        """What *principal* has; made, and its servers started, if it had nothing yet.

        Raises `RpcError` if too many others are at it.
        """
        if principal is LOCAL or not self.several:
            return self.first
        person = who(principal)
        if person in self._owners:
            return self.first
        realm = self._others.get(person)
        if realm is None or not realm.awake:
            self._make_room()
            if realm is None:
                realm = Realm(name_of(person), self._clock)
                realm.subscriptions.follow = self.follow
            self._others[person] = realm  # Also if making room has just forgotten it.
            self._furnish(realm)
            realm.awake, realm.used = True, self._clock()
            for upstream in realm.own:
                upstream.start()
            self._look_later()
        return realm

    def named(self, name: str) -> Realm | None:
        """The realm whose logins are kept under *name*, if its person was heard of lately."""
        return next(
            (each for each in (self.first, *self._others.values()) if each.name == name), None
        )

    def start(self) -> None:
        """Start what everyone has, and what whoever runs the gateway has."""
        self.first.subscriptions.follow = self.follow
        for upstream in self.first.upstreams.values():
            upstream.start()

    def sweep(self) -> None:
        """End what belongs to persons who were not heard of for long."""
        long_ago = self._clock() - IDLE
        for person, realm in list(self._others.items()):
            if realm.busy or realm.heard:
                continue
            if realm.awake and realm.used <= long_ago:
                self._let_go(realm)
            if not realm.awake:
                del self._others[person]

    def hush(self) -> None:
        """End all open subscriptions, gracefully."""
        for realm in (self.first, *self._others.values()):
            realm.subscriptions.end()

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for realm in self._others.values():
            if realm.awake:
                self._let_go(realm)
        self._others.clear()
        ending = [upstream.stop() for upstream in self.first.upstreams.values()]
        await asyncio.gather(*ending, *self._leaving)

    def _furnish(self, realm: Realm) -> None:
        """Give *realm* what everyone has, and servers of its own."""
        realm.catalog = Catalog(self._servers)
        own = [self._made(entry, realm) for entry in self._personal.values()]
        for name in self._shared if realm is not self.first else ():
            realm.catalog.follow(name, self.first.catalog)
        by_name = self._shared | {upstream.name: upstream for upstream in own}
        realm.have({name: by_name[name] for name in self._servers}, own)

    def _made(self, entry: HttpServer, realm: Realm) -> Upstream:
        def changed(upstream: Upstream) -> set[Kind]:
            if upstream not in realm.own:
                return set()  # It was let go of.
            changed = realm.catalog.update(upstream.name, upstream.definitions)
            realm.tell(changed)
            return changed

        return Upstream(
            entry,
            warden=self._warden,
            changed=changed,
            updated=realm.updated,
            unheard=partial(self._audience.hear, whose=partial(self._is_of, realm)),
            # What happens to the servers of others is theirs; the operator sees whether it can.
            on_event=self._on_event if not realm.name else None,
            login=Login(entry, self._logins, realm.name),
        )

    def _is_of(self, realm: Realm, principal: Principal) -> bool:
        person = who(principal)
        return person in self._owners if not realm.name else self._others.get(person) is realm

    def _changed(self, upstream: Upstream) -> set[Kind]:
        changed = self.first.catalog.update(upstream.name, upstream.definitions)
        self.first.tell(changed)
        for realm in self._others.values():
            if realm.awake:
                realm.catalog.follow(upstream.name, self.first.catalog)
            realm.tell(changed)
        return changed

    def _updated(self, upstream: Upstream, uri: str) -> None:
        for realm in (self.first, *self._others.values()):
            realm.updated(upstream, uri)

    def _make_room(self) -> None:
        awake = [realm for realm in self._others.values() if realm.awake]
        if len(awake) < self._limit:
            return
        idle = [realm for realm in awake if not realm.busy]
        if not idle:
            raise RpcError(
                INTERNAL_ERROR,
                f"{self._limit} persons have calls running here at once; try again later",
            )
        self._let_go(min(idle, key=lambda realm: realm.used))
        self.sweep()

    def _let_go(self, realm: Realm) -> None:
        """End the servers that are *realm*'s own; who listens goes on to hear of the others."""
        realm.awake = False
        ending, shared = realm.own, self._shared
        realm.have(shared, [])
        realm.catalog = Catalog(self._servers)
        task = asyncio.create_task(_stop(ending), name=f"interlock ends servers of {realm.name}")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ROUND, self._look)

    def _look(self) -> None:
        self._timer = None
        self.sweep()
        if self._others:
            self._look_later()


async def _stop(upstreams: list[Upstream]) -> None:
    await asyncio.gather(*(upstream.stop() for upstream in upstreams))
