"""Proofs are taken once, within bounds, in one process and in several."""

from __future__ import annotations

import pytest

from interlock.auth.dpop import WINDOW, Proof
from interlock.auth.replay import Seen
from interlock.store.memory import MemoryStore
from interlock.testing.clock import Clock


@pytest.mark.parametrize("shared", [False, True])
async def test_a_proof_is_new_once(shared: bool):
    clock = Clock()
    seen = Seen(MemoryStore().table("proofs") if shared else None, clock=clock)
    proof = Proof("key", "a", clock())
    assert await seen.first(proof)
    assert not await seen.first(proof)
    assert await seen.first(Proof("key", "b", clock()))
    assert await seen.first(Proof("another", "a", clock()))


async def test_processes_that_share_a_table_take_it_once_together():
    table = MemoryStore().table("proofs")
    clock = Clock()
    proof = Proof("key", "a", clock())
    assert await Seen(table, clock=clock).first(proof)
    assert not await Seen(table, clock=clock).first(proof)


async def test_what_is_too_old_anyway_is_forgotten():
    clock = Clock()
    seen = Seen(clock=clock)
    for number in range(100):
        await seen.first(Proof(f"key{number % 3}", str(number), clock()))
    assert len(seen) == 100
    clock.turn(WINDOW + 2)
    assert await seen.first(Proof("key", "last", clock()))
    assert len(seen) == 1


async def test_whoever_floods_it_forgets_only_their_own():
    clock = Clock()
    seen = Seen(limit=100, clock=clock)
    mine = Proof("mine", "a", clock())
    assert await seen.first(mine)
    for number in range(1000):
        await seen.first(Proof("theirs", str(number), clock()))
        assert len(seen) <= 100
    assert not await seen.first(mine)
    assert not await seen.first(Proof("theirs", "999", clock()))


async def test_keys_without_end_are_bounded_too():
    clock = Clock()
    seen = Seen(limit=100, clock=clock)
    for number in range(1000):
        assert await seen.first(Proof(str(number), "a", clock()))
    assert len(seen) <= 100
