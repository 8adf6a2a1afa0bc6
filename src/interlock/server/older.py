"""Content blocks for clients of older revisions: what they do not know goes out as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from interlock.wire.content import (
    Audio,
    ContentBlock,
    ResourceLink,
    SamplingBlock,
    Text,
    Unknown,
)
from interlock.wire.inputs import SamplingMessage
from interlock.wire.versions import V2025_03_26, V2025_06_18, V2025_11_25, Revision


def as_known(revision: Revision, blocks: list[ContentBlock]) -> list[ContentBlock]:
    """*blocks*, or a copy in which newer kinds are replaced by a text that says what was there."""
    if revision >= V2025_06_18 or not any(
        isinstance(each, (Audio, ResourceLink)) for each in blocks
    ):
        return blocks
    return [known(revision, block) for block in blocks]


def singly(revision: Revision, messages: Sequence[SamplingMessage]) -> list[SamplingMessage]:
    """*messages* for a client's model; up to 2025-06-18 each holds one block."""
    if revision >= V2025_11_25:
        return list(messages)
    return [
        SamplingMessage(role=message.role, content=_heard(revision, block))
        for message in messages
        for block in (message.content if isinstance(message.content, list) else [message.content])
    ]


B = TypeVar("B", ContentBlock, ContentBlock | Unknown)
S = TypeVar("S", Audio, SamplingBlock)


def known(revision: Revision, block: B) -> B | Text:
    if isinstance(block, ResourceLink) and revision < V2025_06_18:
        about = f" ({block.description})" if block.description else ""
        return Text(text=f"{block.title or block.name}: {block.uri}{about}")
    if isinstance(block, Audio):
        return _heard(revision, block)
    return block


def _heard(revision: Revision, block: S) -> S | Text:
    if isinstance(block, Audio) and revision < V2025_03_26:
        return Text(text=f"[audio, {block.mime_type}: this client's revision has no audio]")
    return block
