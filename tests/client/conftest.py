"""A client for each server, in each era."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.joined import IN_PROCESS, WIRED, Joined


@pytest.fixture(params=[*WIRED, IN_PROCESS])
def era(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def joined() -> Iterator[Joined]:
    """Makes a client of a server; all that they said is checked when the test is over."""
    joined = Joined()
    yield joined
    joined.check()
