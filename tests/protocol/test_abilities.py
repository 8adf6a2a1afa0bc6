"""Nobody is asked what they did not say they can do, in the words of their revision."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.protocol.abilities import lacking, needs
from interlock.protocol.session import Envelope
from interlock.wire.meta import ClientCapabilities
from interlock.wire.versions import (
    LATEST_MODERN,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    Revision,
)

QUESTIONS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("elicitation/create", {}, {"elicitation": {"form": {}}}),
    ("elicitation/create", {"mode": None}, {"elicitation": {"form": {}}}),
    ("elicitation/create", {"mode": "url"}, {"elicitation": {"url": {}}}),
    ("sampling/createMessage", {"includeContext": "none", "tools": []}, {"sampling": {}}),
    ("sampling/createMessage", {"toolChoice": {}}, {"sampling": {}}),
    ("sampling/createMessage", {"toolChoice": {"mode": "auto"}}, {"sampling": {"tools": {}}}),
    (
        "sampling/createMessage",
        {"tools": [{}], "includeContext": "thisServer"},
        {"sampling": {"tools": {}, "context": {}}},
    ),
    ("roots/list", {}, {"roots": {}}),
]


@pytest.mark.parametrize(("method", "params", "needed"), QUESTIONS)
def test_a_question_takes_what_its_parameters_say(
    method: str, params: dict[str, Any], needed: dict[str, Any]
):
    assert needs(method, params) == needed


def test_nothing_else_can_be_asked():
    with pytest.raises(TypeError, match="tools/list"):
        needs("tools/list", {})


@pytest.mark.parametrize(
    ("declared", "needed", "missing"),
    [
        ({}, {"roots": {}}, {"roots": {}}),
        ({"roots": {}}, {"roots": {}}, {}),
        ({"elicitation": {}}, {"elicitation": {"form": {}}}, {}),
        ({"elicitation": {}}, {"elicitation": {"url": {}}}, {"elicitation": {"url": {}}}),
        (
            {"elicitation": {"url": {}}},
            {"elicitation": {"form": {}}},
            {"elicitation": {"form": {}}},
        ),
        (
            {"sampling": {"tools": {}}},
            {"sampling": {"tools": {}, "context": {}}, "roots": {}},
            {"sampling": {"context": {}}, "roots": {}},
        ),
    ],
)
@pytest.mark.parametrize("revision", [V2025_11_25, LATEST_MODERN], ids=str)
def test_what_is_missing_is_told_part_by_part(
    revision: Revision, declared: dict[str, Any], needed: dict[str, Any], missing: dict[str, Any]
):
    """2026-07-28 § Base protocol: requiredCapabilities are those that are missing."""
    assert lacking(Envelope(revision, None, ClientCapabilities(**declared)), needed) == missing


def test_an_older_revision_has_no_words_for_what_came_later():
    everything = ClientCapabilities(
        elicitation={"form": {}, "url": {}}, sampling={"tools": {}}, roots={}
    )
    middle, old = (Envelope(each, None, everything) for each in (V2025_06_18, V2025_03_26))
    assert lacking(middle, {"elicitation": {"url": {}}}) == {"elicitation": {"url": {}}}
    assert lacking(middle, {"elicitation": {"form": {}}}) == {}
    assert lacking(old, {"elicitation": {"form": {}}}) == {"elicitation": {"form": {}}}
    assert lacking(old, {"sampling": {"tools": {}}}) == {"sampling": {"tools": {}}}
