"""A small share of what `make fuzz` sends, at every side and in both eras (issue 3, 6)."""

from __future__ import annotations

import logging

import pytest
from tests.fuzz.corpus import record
from tests.fuzz.run import fire, sides
from tests.fuzz.watching import Wrong, watching

COUNT = 400
SEED = "tests"

every_side = pytest.mark.parametrize(("name", "revision"), sides())


@every_side
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_whatever_is_sent_a_last_ping_is_answered(name: str, revision: str):
    told = await fire(name, revision, SEED, await record(revision), COUNT)
    assert revision in told


def test_an_error_in_the_log_is_found():
    with pytest.raises(Wrong, match="something broke"), watching("here"):
        logging.getLogger("interlock.anything").error("something broke")
