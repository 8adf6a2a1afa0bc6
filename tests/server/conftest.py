"""A client for each server, in each era; and a server with tasks, with its callers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import pytest
from tests.joined import IN_PROCESS, WIRED, Joined
from tests.server.task_callers import EXPERIMENT, MODERN, Bench, Caller


@pytest.fixture(params=[*WIRED, IN_PROCESS])
def era(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def joined() -> Iterator[Joined]:
    """Makes a client of a server; all that they said is checked when the test is over."""
    joined = Joined()
    yield joined
    joined.check()


@pytest.fixture
async def bench() -> AsyncGenerator[Bench]:
    bench = Bench()
    await bench.server.start()
    yield bench
    bench.released.set()
    await bench.server.stop()


@pytest.fixture(params=[MODERN, EXPERIMENT])
def caller(bench: Bench, request: pytest.FixtureRequest) -> Caller:
    return bench.caller(request.param)
