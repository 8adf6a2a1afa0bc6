"""A small share of what `make fuzz` sends, at every side and in both eras (issue 3, 6)."""

from __future__ import annotations

import logging

import pytest
from tests.fuzz.corpus import record
from tests.fuzz.run import fire, fire_requests, sides
from tests.fuzz.watching import Wrong, watching

COUNT = 400
REQUESTS = {"requests over sockets": 2000, "requests at the protocol": 18_000}
SEED = "tests"

every_side = pytest.mark.parametrize(("name", "revision"), sides())


@every_side
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_whatever_is_sent_a_last_ping_is_answered(name: str, revision: str):
    told = await fire(name, revision, SEED, await record(revision), COUNT)
    assert revision in told


@pytest.mark.parametrize("name", REQUESTS)
async def test_whatever_request_is_sent_a_last_one_is_answered(name: str):
    assert "sent" in await fire_requests(name, SEED, REQUESTS[name])


def test_an_error_in_the_log_is_found():
    with pytest.raises(Wrong, match="something broke"), watching("here"):
        logging.getLogger("interlock.anything").error("something broke")
