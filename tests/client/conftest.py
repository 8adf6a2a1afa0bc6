"""A client for each server, in each era."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.joined import Joined


@pytest.fixture(params=["legacy", "modern"])
def era(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def joined() -> Iterator[Joined]:
    """Makes a client of a server; all that they said is checked when the test is over."""
    joined = Joined()
    yield joined
    joined.check()
