"""What each person has, when it is made, and when it ends; the clock is turned here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Raw
from tests.gateway.people import DOOR, Diary, key, logged_in, principal
from tests.gateway.test_relay import Ear

from interlock import RpcError
from interlock.auth.credentials import Credentials
from interlock.gateway.audience import Audience
from interlock.gateway.config import HttpServer, Server
from interlock.gateway.login import Logins
from interlock.gateway.realm import IDLE, Realm, Realms, name_of, who
from interlock.gateway.supervisor import State
from interlock.protocol.call import LOCAL, Call, Principal
from interlock.protocol.session import Envelope, Session
from interlock.transport.http.asgi import ANYBODY
from interlock.transport.warden import Warden
from interlock.wire.lifecycle import SetLevelParams
from interlock.wire.meta import Wire
from interlock.wire.methods import BY_NAME, LISTEN
from interlock.wire.notices import Filter, ListenParams
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN


class World:
    """Realms over some servers, and the clock that they go by."""

    def __init__(self, servers: dict[str, Server], **options: Any) -> None:
        self.own, self.shared = Diary(), Diary(public=True)
        self.now = 0.0
        self.audience = Audience()
        self.warden = Warden()
        self.credentials = Credentials.in_memory()
        self.events: list[tuple[str, str]] = []
        self.realms = Realms(
            servers,
            logins=Logins(self.credentials),
            warden=self.warden,
            audience=self.audience,
            on_event=lambda name, what, detail: self.events.append((name, what)),
            clock=lambda: self.now,
            **options,
        )

    def of(self, person: str) -> Realm:
        return self.realms.of(principal(person))


@asynccontextmanager
async def world(*logins: str, **options: Any) -> AsyncGenerator[World]:
    """Over a diary that wants logins, called "own", and a public one that all share."""
    own, shared = Diary(), Diary(public=True)
    async with own.served() as ones, shared.served() as everyones:
        made = World(
            {
                "own": HttpServer(name="own", written="own", url=ones),
                "shared": HttpServer(name="shared", written="shared", url=everyones, oauth=None),
            },
            **options,
        )
        made.own, made.shared = own, shared
        for person in logins:
            own.admit(person, f"token-of-{person}")
            await logged_in(made.credentials, ones, person, f"token-of-{person}")
        made.realms.start()
        await made.realms.first.settled(10)
        try:
            yield made
        finally:
            made.realms.hush()
            await made.realms.stop()
            await made.warden.close()
            await made.credentials.close()


class Listener(Ear):
    """An ear that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def notify(self, method: str, params: Wire | Raw) -> None:
        super().notify(method, params)
        self._more.set()

    async def until(self, method: str) -> None:
        async with asyncio.timeout(5):
            while method not in [heard for heard, _ in self.heard]:
                self._more.clear()
                await self._more.wait()


def listening(realm: Realm, whose: Principal, *uris: str) -> tuple[asyncio.Task[Any], Listener]:
    """Somebody who listens to lists and resources of a realm."""
    ear = Listener()
    wanted = Filter(tools_list_changed=True, resource_subscriptions=list(uris) or None)
    params = ListenParams(notifications=wanted)
    call = Call(BY_NAME[LISTEN], params, Envelope(LATEST_MODERN), whose, ear)
    return asyncio.create_task(realm.subscriptions.listen(call)), ear


def grow(diary: Diary) -> None:
    @diary.server.tool
    async def fresh() -> str:
        return "fresh"


# Who is who.


@pytest.mark.parametrize(
    ("principal", "name"),
    [
        (Principal("ada", "https://i.test/a"), "https://i.test/a#ada"),
        (Principal("ada", "https://i.test/a", "one"), "https://i.test/a#ada"),
        (Principal("ada", "https://i.test/a", scopes=frozenset({"x"})), "https://i.test/a#ada"),
        (Principal("", "https://i.test/a", "one"), "https://i.test/a##one"),
        (Principal("#one", "https://i.test/a"), "https://i.test/a#%23one"),
        (Principal("b#c", "a"), "a#b%23c"),
        (Principal("c", "a#b"), "a%23b#c"),
        (Principal("ä b@x", "i"), "i#%C3%A4%20b@x"),
    ],
)
def test_a_persons_name_is_stable_and_nobody_elses(principal: Principal, name: str) -> None:
    assert name_of(who(principal)) == name


async def test_whoever_is_not_asked_and_the_owner_have_the_first_realm() -> None:
    async with world(owner=principal("ada")) as it:
        first = it.realms.first
        for same in (LOCAL, Principal(), ANYBODY, principal("ada"), Principal("ada", DOOR, "c")):
            assert it.realms.of(same) is first
        for other in (Principal("ada", "https://else.test"), principal("bob"), Principal("ada")):
            assert it.realms.of(other) is not first
        assert it.of("bob") is it.realms.of(Principal("bob", DOOR, "another-client"))
        assert it.of("bob").name == key("bob")


def test_without_a_server_that_wants_logins_all_have_the_same() -> None:
    made = World({"x": HttpServer(name="x", written="x", url="http://x.test", oauth=None)})
    assert made.of("ada") is made.of("bob") is made.realms.first
    assert len(made.realms) == 0


# What is shared, and what is not.


async def test_only_servers_that_may_want_a_login_are_made_anew() -> None:
    async with world() as it:
        ada, bob, first = it.of("ada"), it.of("bob"), it.realms.first
        assert list(ada.upstreams) == list(first.upstreams) == ["own", "shared"]
        assert ada.upstreams["shared"] is bob.upstreams["shared"] is first.upstreams["shared"]
        owns = {id(realm.upstreams["own"]) for realm in (ada, bob, first)}
        assert len(owns) == 3
        assert ada.catalog.tool("shared__whoami") is not None
        await ada.settled(10)
        assert ada.upstreams["own"].state is State.NEEDS_LOGIN


async def test_what_happens_to_the_servers_of_others_is_not_the_operators() -> None:
    async with world() as it:
        before = list(it.events)
        await it.of("ada").settled(10)
        assert it.events == before
        assert ("own", "needs login") in it.events


async def test_a_change_of_a_shared_server_reaches_all() -> None:
    async with world() as it:
        ada = it.of("ada")
        _, ear = listening(ada, principal("ada"))
        _, at_home = listening(it.realms.first, LOCAL)
        grow(it.shared)
        for heard in (ear, at_home):
            await heard.until("notifications/tools/list_changed")
        assert ada.catalog.tool("shared__fresh") is not None
        assert it.of("bob").catalog.tool("shared__fresh") is not None


async def test_what_changes_at_ones_own_server_is_heard_by_that_person_alone() -> None:
    uri = "own+diary://today"
    async with world("ada") as it:
        ada, bob = it.of("ada"), it.of("bob")
        await asyncio.gather(ada.settled(10), bob.settled(10))
        ears = {name: listening(it.of(name), principal(name), uri)[1] for name in ("ada", "bob")}
        for ear in ears.values():
            await ear.until("notifications/subscriptions/acknowledged")
        for realm in (ada, bob):
            assert realm.own[0].watched("diary://today") == ["diary://today"]
        ada.updated(ada.own[0], "diary://today")
        await ears["ada"].until("notifications/resources/updated")
        grow(it.own)
        await ears["ada"].until("notifications/tools/list_changed")
        assert len(ears["bob"].heard) == 1
        assert ada.catalog.tool("own__fresh") is not None
        assert bob.catalog.tool("own__fresh") is None


async def test_two_may_watch_a_shared_resource_and_one_of_them_stop() -> None:
    uri = "shared+diary://today"
    async with world() as it:
        shared = it.realms.first.upstreams["shared"]
        watchers = [listening(it.of(name), principal(name), uri) for name in ("ada", "bob")]
        for _, ear in watchers:
            await ear.until("notifications/subscriptions/acknowledged")
        for left, (task, _) in zip((["diary://today"], []), watchers, strict=True):
            task.cancel()
            await asyncio.wait([task])
            assert shared.watched("diary://today") == left


async def test_what_ones_own_server_logs_is_heard_by_that_person_alone() -> None:
    audience, line = Audience(), Raw(b'{"level":"info","data":"x"}')
    ears: dict[str, Ear] = {}
    for person in ("ada", "bob"):
        ears[person] = Ear()
        params = SetLevelParams(level="debug")
        session = Session(person, ears[person])
        row = BY_NAME["logging/setLevel"]
        envelope = Envelope(LATEST_LEGACY)
        await audience.set_level(Call(row, params, envelope, principal(person), session=session))
    audience.hear(line)
    assert [len(ear.heard) for ear in ears.values()] == [0, 0]
    audience.hear(line, whose=lambda each: each == principal("bob"))
    assert [len(ear.heard) for ear in ears.values()] == [0, 1]


# How long.


async def test_who_is_not_heard_of_for_long_loses_their_connections() -> None:
    async with world() as it:
        ada = it.of("ada")
        own = ada.own[0]
        await ada.settled(10)
        it.now = IDLE - 1
        it.realms.sweep()
        assert len(it.realms) == 1
        with ada.use():
            it.now += 2 * IDLE
            it.realms.sweep()
            assert len(it.realms) == 1  # A call runs.
        it.now += IDLE
        it.realms.sweep()
        assert len(it.realms) == 0
        again = it.of("ada")
        assert again is not ada
        await again.settled(10)
        assert own.state is State.STOPPED


async def test_who_listens_is_not_idle() -> None:
    async with world() as it:
        ada = it.of("ada")
        task, ear = listening(ada, principal("ada"))
        await ear.until("notifications/subscriptions/acknowledged")
        it.now = 2 * IDLE
        it.realms.sweep()
        assert it.of("ada") is ada
        task.cancel()
        await asyncio.wait([task])
        it.now += IDLE
        it.realms.sweep()
        assert len(it.realms) == 0


async def test_beyond_the_limit_the_longest_idle_makes_room_and_goes_on_to_listen() -> None:
    async with world(limit=2) as it:
        ada = it.of("ada")
        task, ear = listening(ada, principal("ada"), "own+diary://today", "shared+diary://today")
        await ear.until("notifications/subscriptions/acknowledged")
        it.now = 1
        it.of("bob")
        it.now = 2
        it.of("eve")
        assert len(it.realms) == 2
        assert not ada.awake
        assert ada.own == []
        assert not task.done()
        grow(it.shared)
        await ear.until("notifications/tools/list_changed")
        it.now = 3
        assert it.of("ada") is ada
        assert ada.catalog.tool("shared__fresh") is not None
        assert ada.own[0].watched("diary://today") == ["diary://today"]
        assert len(it.realms) == 2


async def test_who_comes_back_just_as_they_would_be_forgotten_is_not() -> None:
    async with world(limit=1) as it:
        ada = it.of("ada")
        task, ear = listening(ada, principal("ada"))
        await ear.until("notifications/subscriptions/acknowledged")
        it.of("bob")
        task.cancel()
        await asyncio.wait([task])
        assert it.of("ada") is ada
        assert it.of("ada") is ada
        assert len(it.realms) == 1


async def test_nobody_who_has_a_call_running_makes_room() -> None:
    async with world(limit=1) as it:
        with it.of("ada").use(), pytest.raises(RpcError, match="1 persons have calls running"):
            it.of("bob")
        assert it.of("bob").awake
        assert len(it.realms) == 1


async def test_listening_is_no_call() -> None:
    async with world(limit=1) as it:
        ada = it.of("ada")
        with ada.use(listening=True):
            it.of("bob")
        assert not ada.awake
