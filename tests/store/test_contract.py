"""Every backend held against every promise of `interlock.store.ports`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.store.slow import SlowStore

from interlock.store.memory import MemoryStore
from interlock.store.ports import Store
from interlock.store.sqlite import SqliteStore
from interlock.testing.clock import Clock
from interlock.testing.store import PROMISES, SHARED, Promise, SharedPromise

BACKENDS: dict[str, Callable[[Path, Clock], Store]] = {
    "memory": lambda path, clock: MemoryStore(clock=clock),
    "sqlite": lambda path, clock: SqliteStore(path / "store.db", clock=clock),
    "slow": lambda path, clock: SlowStore(clock=clock),
}
BETWEEN_PROCESSES = ("sqlite",)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_keeps_the_promise(backend: str, promise: Promise, tmp_path: Path):
    clock = Clock()
    store = BACKENDS[backend](tmp_path, clock)
    await store.open()
    try:
        await promise(store, clock)
    finally:
        await store.close()


@pytest.mark.parametrize("promise", SHARED, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("backend", BETWEEN_PROCESSES)
async def test_keeps_the_promise_for_two_at_once(
    backend: str, promise: SharedPromise, tmp_path: Path
):
    clock = Clock()
    one, other = (BACKENDS[backend](tmp_path, clock) for _ in range(2))
    await one.open()
    await other.open()
    try:
        await promise(one, other)
    finally:
        await one.close()
        await other.close()
