from __future__ import annotations

import pytest

from interlock.protocol.session import NEXT, Session, State
from interlock.wire.lifecycle import InitializeParams
from interlock.wire.meta import ClientCapabilities, Implementation
from interlock.wire.versions import LATEST_LEGACY, LEGACY


def hello(version: str) -> InitializeParams:
    return InitializeParams(
        protocol_version=version,
        capabilities=ClientCapabilities(roots={}),
        client_info=Implementation(name="x", version="1"),
    )


@pytest.mark.parametrize("version", LEGACY)
def test_a_revision_we_speak_is_settled_on(version: str):
    session = Session()
    session.open(hello(version))
    assert session.envelope.revision is LEGACY[version]
    assert session.envelope.capabilities.roots == {}


@pytest.mark.parametrize("version", ["2026-07-28", "2099-01-01", "1.0", ""])
def test_any_other_is_answered_with_our_latest_of_that_era(version: str):
    session = Session()
    session.open(hello(version))
    assert session.envelope.revision is LATEST_LEGACY


def test_the_handshake_goes_from_new_to_greeted_to_ready():
    session = Session()
    assert session.state is State.NEW
    session.open(hello("2025-11-25"))
    assert session.state is State.GREETED
    session.initialized()
    assert session.state is State.READY
    session.initialized()
    assert session.state is State.READY


def test_initialized_before_initialize_moves_nothing():
    session = Session()
    session.initialized()
    assert session.state is State.NEW


def test_nothing_moves_a_closed_session():
    session = Session()
    session.close()
    session.initialized()
    assert session.state is State.CLOSED


def test_only_a_new_session_can_be_opened():
    movable = {state for state, message in NEXT if message == "initialize"}
    assert movable == {State.NEW}


def test_a_log_level_is_remembered_beside_what_the_handshake_said():
    session = Session()
    session.open(hello("2025-06-18"))
    session.set_level("error")
    assert session.envelope.log_level == "error"
    assert session.envelope.client == Implementation(name="x", version="1")


def test_whoever_wants_to_know_of_the_end_is_told_once_even_late():
    session = Session()
    told: list[str] = []
    session.on_close(lambda: told.append("before"))
    session.close()
    session.close()
    session.on_close(lambda: told.append("after"))
    assert told == ["before", "after"]
