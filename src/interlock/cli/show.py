"""What a server answered, printed for a person or for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from interlock.cli.terminal import put, safe
from interlock.client.client import ToolResult
from interlock.wire.content import (
    Audio,
    EmbeddedResource,
    Image,
    ResourceContents,
    ResourceLink,
    Text,
    Unknown,
)
from interlock.wire.prompts import GetPromptResult
from interlock.wire.tools import AnyBlock


def dump(value: Any) -> None:
    """*value* as JSON on stdout: indented where a person reads, a line where a program does."""
    indent = 2 if sys.stdout.isatty() else None
    put(json.dumps(value, ensure_ascii=False, indent=indent, default=msgspec.to_builtins))


def as_json(result: ToolResult) -> dict[str, Any]:
    """A tool's result with the protocol's own names."""
    shown: dict[str, Any] = {"content": [_plain(block) for block in result.content]}
    if result.has_structured:
        shown["structuredContent"] = result.structured
    return {**shown, "isError": result.is_error}


def text_of(blocks: Iterable[AnyBlock]) -> str:
    """Blocks for a person to read; what is no text is named by its kind and size."""
    return "\n".join(_text(block) for block in blocks)


def answer(text: str) -> None:
    """What a server wrote, on stdout: made harmless on a terminal, untouched for a program."""
    put(safe(text) if sys.stdout.isatty() else text)


def contents(items: Iterable[ResourceContents]) -> None:
    """What a resource holds. Bytes go to a file or a pipe as they are, never to a terminal."""
    for item in items:
        if item.blob is None:
            answer(item.text or "")
        elif sys.stdout.isatty():
            put(
                f"[{_size(item.blob)} of {safe(item.mime_type or 'unknown type')}; "
                "write them to a file: … > FILE]"
            )
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(_bytes(item.blob))
            sys.stdout.buffer.flush()


def messages(result: GetPromptResult) -> None:
    for message in result.messages:
        answer(f"{message.role}: {_text(message.content)}")


def _text(block: AnyBlock) -> str:
    match block:
        case Text():
            return block.text
        case Image() | Audio():
            kind = type(block).__name__.lower()
            return f"[{kind}: {_size(block.data)} of {block.mime_type}; --json shows them]"
        case EmbeddedResource():
            held = block.resource
            return held.text if held.text is not None else f"[{held.uri}: {_size(held.blob or '')}]"
        case ResourceLink():
            return f"[{block.title or block.name}: {block.uri}]"
        case Unknown():
            return json.dumps(block.raw, ensure_ascii=False)
    return ""  # Not reached: these are all the kinds there are.


def _plain(block: AnyBlock) -> Any:
    return block.raw if isinstance(block, Unknown) else msgspec.to_builtins(block)


def _size(data: str) -> str:
    return f"{len(data) * 3 // 4 - data.count('='):,} bytes"


def _bytes(data: str) -> bytes:
    return msgspec.convert(data, bytes)
