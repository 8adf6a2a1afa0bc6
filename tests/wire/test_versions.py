from __future__ import annotations

import pytest

from interlock.wire.versions import (
    ALL,
    BY_NAME,
    LATEST_LEGACY,
    LATEST_MODERN,
    LEGACY,
    MODERN,
    settle,
)


def test_revisions_compare_by_age():
    assert sorted(ALL) == list(ALL)
    assert [str(revision) for revision in ALL] == sorted(BY_NAME)


def test_every_revision_is_of_one_era():
    assert {*LEGACY, *MODERN} == set(BY_NAME)
    assert not set(LEGACY) & set(MODERN)
    assert max(LEGACY.values()) is LATEST_LEGACY
    assert max(MODERN.values()) is LATEST_MODERN


@pytest.mark.parametrize("name", LEGACY)
def test_a_handshake_settles_on_what_was_asked_for(name: str):
    assert settle(name) is LEGACY[name]


@pytest.mark.parametrize("name", ["", "2026-07-28", "2099-01-01", "latest"])
def test_or_else_on_our_latest(name: str):
    assert settle(name) is LATEST_LEGACY
