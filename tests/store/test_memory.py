from __future__ import annotations

from interlock.store.memory import Ears, MemoryStore
from interlock.testing.clock import Clock


async def test_a_value_touched_often_or_taken_leaves_nothing_behind():
    """What a ttl costs must not grow with the number of requests: sessions are touched by each."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    table = store.table("t")
    for n in range(1000):
        await table.put("kept", b"x", ttl=1000)
        await table.touch("kept", 1000)
        await table.put(f"{n}", b"x", ttl=1000)
        await table.take(f"{n}")
    deadlines = table._deadlines  # pyright: ignore[reportPrivateUsage]
    assert len(deadlines._heap) < 100  # pyright: ignore[reportPrivateUsage]
    clock.turn(1001)
    assert await table.count() == 0
    assert not deadlines._heap  # pyright: ignore[reportPrivateUsage]


def test_a_listener_that_leaves_while_a_message_is_heard_hears_it_no_more():
    ears = Ears()
    heard: list[str] = []

    def first(message: bytes) -> None:
        heard.append("first")
        ears.remove("t", "second")

    ears.add("t", first, "first")
    ears.add("t", lambda _: heard.append("second"), "second")
    ears.hear("t", b"")
    assert heard == ["first"]
