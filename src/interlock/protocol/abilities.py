"""What a client says it can be asked, and what a question takes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from interlock.protocol.session import Envelope
from interlock.wire.inputs import ELICIT, ROOTS, SAMPLE
from interlock.wire.versions import V2025_06_18, V2025_11_25

Needs = Mapping[str, Mapping[str, Any]]
"""Capabilities by name, each with the parts of it that are needed."""

_LATER: Final = frozenset({"url", "tools"})
"""Parts that came with 2025-11-25. An older revision has no words for what they allow, whatever a
client that also speaks newer ones declares."""


def needs(method: str, params: Mapping[str, Any]) -> Needs:
    """What a question takes. Raises `TypeError` for what nobody can be asked."""
    if method == ELICIT:
        return {"elicitation": {params.get("mode") or "form": {}}}
    if method == SAMPLE:
        parts: dict[str, Any] = {}
        if params.get("tools") or params.get("toolChoice"):
            parts["tools"] = {}
        if params.get("includeContext") in ("thisServer", "allServers"):
            parts["context"] = {}
        return {"sampling": parts}
    if method == ROOTS:
        return {"roots": {}}
    raise TypeError(f"{method!r} is nothing that a client can be asked")


def lacking(envelope: Envelope, needed: Needs) -> dict[str, dict[str, Any]]:
    """What of *needed* the client did not declare; empty if it can do it all."""
    missing: dict[str, dict[str, Any]] = {}
    for name, parts in needed.items():
        declared: Mapping[str, Any] | None = getattr(envelope.capabilities, name, None)
        if name == "elicitation" and envelope.revision < V2025_06_18:
            declared = None
        if declared is None:
            missing[name] = dict(parts)
        elif without := {part: parts[part] for part in parts if not _has(declared, part, envelope)}:
            missing[name] = without
    return missing


def _has(declared: Mapping[str, Any], part: str, envelope: Envelope) -> bool:
    if part in _LATER and envelope.revision < V2025_11_25:
        return False
    # An empty declaration of elicitation means forms, which were there before the word for them.
    return part in declared or (part == "form" and not declared)
