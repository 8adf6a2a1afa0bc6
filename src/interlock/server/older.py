"""Content blocks for clients of older revisions: what they do not know goes out as text."""

from __future__ import annotations

from typing import TypeVar

from interlock.wire.content import Audio, ContentBlock, ResourceLink, Text, Unknown
from interlock.wire.versions import V2025_03_26, V2025_06_18, Revision


def as_known(revision: Revision, blocks: list[ContentBlock]) -> list[ContentBlock]:
    """*blocks*, or a copy in which newer kinds are replaced by a text that says what was there."""
    if revision >= V2025_06_18 or not any(
        isinstance(each, (Audio, ResourceLink)) for each in blocks
    ):
        return blocks
    return [known(revision, block) for block in blocks]


B = TypeVar("B", ContentBlock, ContentBlock | Unknown)


def known(revision: Revision, block: B) -> B | Text:
    if isinstance(block, ResourceLink) and revision < V2025_06_18:
        about = f" ({block.description})" if block.description else ""
        return Text(text=f"{block.title or block.name}: {block.uri}{about}")
    if isinstance(block, Audio) and revision < V2025_03_26:
        return Text(text=f"[audio, {block.mime_type}: this client's revision has no audio]")
    return block
