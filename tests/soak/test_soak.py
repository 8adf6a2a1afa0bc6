"""A share of what `make soak` does: whoever is never heard of again leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import pytest
from tests.soak.crowd import TurningLoop
from tests.soak.run import KINDS, Kind, go_through

SHARE = 0.005
OBJECTS = 100
"""How many more objects there may be: a cache that fills, a table that grows."""


def counted() -> int:
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_crowd_that_left_is_forgotten(kind: Kind):
    with asyncio.Runner(loop_factory=TurningLoop) as runner:
        runner.run(go_through(kind, SHARE))
        found = runner.run(go_through(kind, SHARE, counted))
    assert found.peak > found.before + kind.number * SHARE
    assert found.after <= found.before + OBJECTS


def test_what_stays_is_found():
    kept: list[bytearray] = []

    def weigh() -> int:
        kept.append(bytearray(100_000))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        with asyncio.Runner(loop_factory=TurningLoop) as runner:
            found = runner.run(go_through(KINDS[-1], 0.002, weigh))
    finally:
        tracemalloc.stop()
    assert not found.came_back(0)
