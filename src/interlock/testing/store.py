"""What every store must keep to: one check a promise, to be run over any backend.

`PROMISES` take an open store and the clock it was made with; `SHARED` take two open stores over one
place, for backends that several processes can use. A broken promise raises `AssertionError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from interlock.store.ports import Entry, Record, Store
from interlock.testing.clock import Clock

Promise: TypeAlias = Callable[[Store, Clock], Awaitable[None]]
SharedPromise: TypeAlias = Callable[[Store, Store], Awaitable[None]]

HEARD_WITHIN: Final = 10.0
"""Seconds after which a message that must be heard counts as lost."""


async def a_value_is_kept_under_its_key(store: Store, clock: Clock) -> None:
    table = store.table("t")
    assert await table.get("a") is None
    version = await table.put("a", b"one")
    assert version is not None
    assert version > 0
    assert await table.get("a") == Entry(b"one", version)
    assert await table.get("A") is None
    assert await store.table("other").get("a") is None


async def a_table_of_one_name_is_one_table(store: Store, clock: Clock) -> None:
    await store.table("t").put("a", b"x")
    found = await store.table("t").get("a")
    assert found is not None
    assert found.value == b"x"


async def any_bytes_and_any_text_are_kept_as_they_are(store: Store, clock: Clock) -> None:
    table = store.table("t")
    for key, value in [
        ("", b""),
        ("nul\0nul", b"\0\xff" * 1000),
        ("Grüße/%_*?\N{PERSONAL COMPUTER}", b"x" * 1_000_000),
        ("long" * 250_000, b"x"),
    ]:
        await table.put(key, value)
        found = await table.get(key)
        assert found is not None
        assert found.value == value
        assert await table.take(key) == value


async def versions_only_grow_even_over_removal(store: Store, clock: Clock) -> None:
    table = store.table("t")
    one = await table.put("a", b"1")
    two = await table.put("a", b"2")
    assert one is not None
    assert two is not None
    assert two > one
    await table.take("a")
    three = await table.put("a", b"3")
    assert three is not None
    assert three > two


async def a_value_is_put_only_over_the_version_asked_for(store: Store, clock: Clock) -> None:
    table = store.table("t")
    one = await table.put("a", b"1", version=0)
    assert one is not None
    assert await table.put("a", b"x", version=0) is None
    two = await table.put("a", b"2", version=one)
    assert two is not None
    assert await table.put("a", b"x", version=one) is None
    assert await table.get("a") == Entry(b"2", two)
    assert await table.put("b", b"x", version=two) is None
    assert await table.get("b") is None


async def of_many_who_put_over_one_version_one_does(store: Store, clock: Clock) -> None:
    table = store.table("t")
    version = await table.put("a", b"")
    done = await asyncio.gather(
        *[table.put("a", str(n).encode(), version=version) for n in range(20)]
    )
    assert len([new for new in done if new is not None]) == 1


async def of_many_who_take_a_value_one_gets_it(store: Store, clock: Clock) -> None:
    table = store.table("t")
    await table.put("a", b"x")
    taken = await asyncio.gather(*[table.take("a") for _ in range(20)])
    assert sorted(taken, key=bool) == [None] * 19 + [b"x"]
    assert await table.take("a") is None
    assert await table.get("a") is None


async def what_expired_is_gone(store: Store, clock: Clock) -> None:
    table = store.table("t")
    await table.put("short", b"x", ttl=10)
    await table.put("long", b"y", ttl=20)
    await table.put("ever", b"z")
    clock.turn(9)
    assert await table.get("short") is not None
    clock.turn(1)
    assert await table.get("short") is None
    assert await table.take("short") is None
    assert not await table.touch("short", 10)
    assert await table.keys() == ["ever", "long"]
    assert await table.count() == 2
    assert await table.put("short", b"again", version=0) is not None


async def a_new_value_has_a_new_time(store: Store, clock: Clock) -> None:
    table = store.table("t")
    await table.put("a", b"x", ttl=10)
    await table.put("a", b"y")
    await table.put("b", b"x")
    await table.put("b", b"y", ttl=10)
    await table.put("c", b"x", ttl=100)
    await table.put("c", b"y", ttl=10)
    clock.turn(11)
    assert await table.keys() == ["a"]


async def a_touched_value_lives_on_and_stays_the_same(store: Store, clock: Clock) -> None:
    table = store.table("t")
    version = await table.put("a", b"x", ttl=10)
    for _ in range(200):
        clock.turn(6)
        assert await table.touch("a", 10)
    assert await table.get("a") == Entry(b"x", version or 0)
    assert await table.touch("a", None)
    clock.turn(1000)
    assert await table.get("a") is not None
    assert not await table.touch("b", 10)
    assert await table.get("b") is None


async def keys_come_in_order_page_by_page(store: Store, clock: Clock) -> None:
    table = store.table("t")
    names = [f"k/{n:03}" for n in range(25)] + ["k", "k0", "j/1", "k/é", "k/\U0010ffff!", "l/1"]
    for name in names:
        await table.put(name, b"")
    assert await table.keys() == sorted(names)
    seen: list[str] = []
    while page := await table.keys("k/", after=seen[-1] if seen else "", limit=10):
        assert len(page) <= 10
        seen += page
    assert seen == sorted(name for name in names if name.startswith("k/"))
    assert await table.count("k/") == 27
    assert await table.count() == len(names)
    assert await table.keys("nothing") == []
    assert await table.keys("k/\U0010ffff") == ["k/\U0010ffff!"]


async def a_stream_is_read_as_it_was_written(store: Store, clock: Clock) -> None:
    journal = store.journal("j")
    assert await journal.read("s") == []
    written = [await journal.append("s", str(n).encode()) for n in range(5)]
    assert written == [1, 2, 3, 4, 5]
    assert await journal.append("other", b"x") == 1
    records = list(await journal.read("s"))
    assert records == [Record(n + 1, str(n).encode()) for n in range(5)]
    assert list(await journal.read("s", after=3)) == records[3:]
    assert list(await journal.read("s", after=1, limit=2)) == records[1:3]
    assert await journal.read("s", after=5) == []
    assert list(await store.journal("k").read("s")) == []


async def a_trimmed_stream_counts_on(store: Store, clock: Clock) -> None:
    journal = store.journal("j")
    for n in range(5):
        await journal.append("s", str(n).encode())
    await journal.trim("s", before=4)
    assert [record.sequence for record in await journal.read("s")] == [4, 5]
    assert [record.sequence for record in await journal.read("s", after=4)] == [5]
    await journal.trim("s", before=100)
    assert await journal.read("s") == []
    assert await journal.append("s", b"x") == 6
    await journal.trim("none", before=3)


async def a_dropped_stream_begins_anew(store: Store, clock: Clock) -> None:
    journal = store.journal("j")
    await journal.append("s", b"x")
    await journal.append("t", b"y")
    await journal.drop("s")
    await journal.drop("none")
    assert await journal.read("s") == []
    assert len(await journal.read("t")) == 1
    assert await journal.append("s", b"z") == 1
    assert list(await journal.read("s")) == [Record(1, b"z")]


async def a_stream_that_is_not_written_to_is_forgotten_in_time(store: Store, clock: Clock) -> None:
    journal = store.journal("j")
    await journal.append("s", b"1", ttl=10)
    await journal.append("ever", b"1", ttl=10)
    await journal.append("ever", b"2")
    clock.turn(9)
    await journal.append("s", b"2", ttl=10)
    clock.turn(9)
    assert len(await journal.read("s")) == 2
    clock.turn(1)
    assert await journal.read("s") == []
    assert await journal.append("s", b"3") == 1
    assert len(await journal.read("ever")) == 2


async def many_may_append_at_once(store: Store, clock: Clock) -> None:
    journal = store.journal("j")
    numbers = await asyncio.gather(*[journal.append("s", b"") for _ in range(50)])
    assert sorted(numbers) == list(range(1, 51))


async def a_message_reaches_whoever_listens(store: Store, clock: Clock) -> None:
    ears = [Ear(), Ear()]
    await store.bus.publish("t", b"before")
    for ear in ears:
        await store.bus.subscribe("t", ear)
    for n in range(100):
        await store.bus.publish("t", str(n).encode())
    await store.bus.publish("other", b"elsewhere")
    for ear in ears:
        assert await ear.heard(100) == [str(n).encode() for n in range(100)]


async def whoever_left_hears_no_more(store: Store, clock: Clock) -> None:
    left, stays = Ear(), Ear()
    leave = await store.bus.subscribe("t", left)
    await store.bus.subscribe("t", stays)
    await store.bus.publish("t", b"1")
    assert await left.heard(1) == [b"1"]
    await leave()
    await leave()
    await store.bus.publish("t", b"2")
    assert await stays.heard(2) == [b"1", b"2"]
    assert left.messages == [b"1"]


async def a_store_is_closed_by_its_last_user(store: Store, clock: Clock) -> None:
    await store.open()
    await store.close()
    await store.table("t").put("a", b"x")
    await store.close()
    await store.open()
    assert await store.table("t").take("a") == b"x"


async def what_one_writes_the_other_reads(one: Store, other: Store) -> None:
    version = await one.table("t").put("a", b"1")
    assert await other.table("t").get("a") == Entry(b"1", version or 0)
    assert await other.table("t").put("a", b"2", version=version) is not None
    assert await one.table("t").put("a", b"3", version=version) is None
    assert await one.journal("j").append("s", b"1") == 1
    assert await other.journal("j").append("s", b"2") == 2
    assert [record.value for record in await one.journal("j").read("s")] == [b"1", b"2"]


async def of_two_places_one_gets_the_value(one: Store, other: Store) -> None:
    tables = [store.table("t") for store in (one, other)]
    keys = [str(n) for n in range(50)]
    for key in keys:
        await tables[0].put(key, b"x")
    taken = await asyncio.gather(*[table.take(key) for key in keys for table in tables])
    assert taken.count(b"x") == 50
    version = await tables[0].put("count", b"0")

    async def count(place: int) -> None:
        for _ in range(25):
            while True:
                entry = await tables[place].get("count")
                assert entry is not None
                more = str(int(entry.value) + 1).encode()
                if await tables[place].put("count", more, version=entry.version):
                    break

    await asyncio.gather(count(0), count(1))
    entry = await tables[0].get("count")
    assert entry is not None
    assert entry.value == b"50"
    assert entry.version > (version or 0)


async def a_message_reaches_the_other_place_once(one: Store, other: Store) -> None:
    here, there = Ear(), Ear()
    await other.bus.publish("t", b"before")
    await one.bus.subscribe("t", here)
    leave = await other.bus.subscribe("t", there)
    said = [str(n).encode() for n in range(1000)]
    for message in said:
        await one.bus.publish("t", message)
    assert await there.heard(1000) == said
    assert here.messages == said
    await leave()
    await one.bus.publish("t", b"unheard")
    await other.bus.subscribe("t", there)
    await one.bus.publish("t", b"heard")
    assert (await there.heard(1001))[1000:] == [b"heard"]


async def a_message_that_was_given_up_is_heard_by_all_or_by_none(one: Store, other: Store) -> None:
    here, there = Ear(), Ear()
    await one.bus.subscribe("t", here)
    await other.bus.subscribe("t", there)
    for n in range(50):
        saying = asyncio.ensure_future(one.bus.publish("t", str(n).encode()))
        await asyncio.sleep(0)
        saying.cancel()
        await asyncio.wait([saying])
    await one.bus.publish("t", b"the last")
    assert await there.heard(len(here.messages)) == here.messages


class Ear:
    """Collects what it hears."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._heard = asyncio.Event()

    def __call__(self, message: bytes) -> None:
        self.messages.append(message)
        self._heard.set()

    async def heard(self, number: int) -> list[bytes]:
        """The messages, once there are so many."""
        async with asyncio.timeout(HEARD_WITHIN):
            while len(self.messages) < number:
                self._heard.clear()
                await self._heard.wait()
        return self.messages


PROMISES: Final[tuple[Promise, ...]] = (
    a_value_is_kept_under_its_key,
    a_table_of_one_name_is_one_table,
    any_bytes_and_any_text_are_kept_as_they_are,
    versions_only_grow_even_over_removal,
    a_value_is_put_only_over_the_version_asked_for,
    of_many_who_put_over_one_version_one_does,
    of_many_who_take_a_value_one_gets_it,
    what_expired_is_gone,
    a_new_value_has_a_new_time,
    a_touched_value_lives_on_and_stays_the_same,
    keys_come_in_order_page_by_page,
    a_stream_is_read_as_it_was_written,
    a_trimmed_stream_counts_on,
    a_dropped_stream_begins_anew,
    a_stream_that_is_not_written_to_is_forgotten_in_time,
    many_may_append_at_once,
    a_message_reaches_whoever_listens,
    whoever_left_hears_no_more,
    a_store_is_closed_by_its_last_user,
)
SHARED: Final[tuple[SharedPromise, ...]] = (
    what_one_writes_the_other_reads,
    of_two_places_one_gets_the_value,
    a_message_reaches_the_other_place_once,
    a_message_that_was_given_up_is_heard_by_all_or_by_none,
)
