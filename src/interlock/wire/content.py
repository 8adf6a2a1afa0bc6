"""What a result, a prompt or a question may hold: text, image, audio, links, embedded resources."""

from __future__ import annotations

import base64
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, field

from interlock.wire.decoding import Decoder
from interlock.wire.meta import Annotations, Icon, Wire


class Block(Wire):
    """The base of content blocks."""

    annotations: Annotations | None = None
    meta: dict[str, Any] | None = field(default=None, name="_meta")


class Text(Block, tag="text"):
    """Plain text."""

    text: str


class Image(Block, tag="image"):
    """A picture; *data* is base64."""

    data: str
    mime_type: str

    @classmethod
    def of(cls, data: bytes, mime_type: str) -> Image:
        return cls(data=base64.b64encode(data).decode(), mime_type=mime_type)


class Audio(Block, tag="audio"):
    """A recording; *data* is base64. Since 2025-03-26."""

    data: str
    mime_type: str

    @classmethod
    def of(cls, data: bytes, mime_type: str) -> Audio:
        return cls(data=base64.b64encode(data).decode(), mime_type=mime_type)


class ResourceContents(Wire):
    """What a resource holds: *text*, or *blob* in base64."""

    uri: str
    mime_type: str | None = None
    text: str | None = None
    blob: str | None = None
    meta: dict[str, Any] | None = field(default=None, name="_meta")

    @classmethod
    def of(cls, uri: str, value: str | bytes, mime_type: str | None = None) -> ResourceContents:
        if isinstance(value, str):
            return cls(uri=uri, mime_type=mime_type or "text/plain", text=value)
        return cls(
            uri=uri,
            mime_type=mime_type or "application/octet-stream",
            blob=base64.b64encode(value).decode(),
        )


class EmbeddedResource(Block, tag="resource"):
    """A resource's contents, inside the message."""

    resource: ResourceContents


class ResourceLink(Block, tag="resource_link"):
    """A resource to read if wanted. Since 2025-06-18."""

    uri: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    size: int | None = None
    icons: list[Icon] | None = None


class ToolUse(Block, tag="tool_use"):
    """In sampling: the model asks for a tool. Since 2025-11-25."""

    id: str
    name: str
    input: dict[str, Any]


class ToolOutcome(Block, tag="tool_result"):
    """In sampling: what that tool answered."""

    tool_use_id: str
    content: list[Any]
    structured_content: Any = None
    is_error: bool = False


class Unknown(Block, tag="unknown"):
    """A block of a type this version does not know, kept as it came. Read only."""

    kind: str
    raw: dict[str, Any]


ContentBlock: TypeAlias = Text | Image | Audio | EmbeddedResource | ResourceLink
SamplingBlock: TypeAlias = Text | Image | Audio | ToolUse | ToolOutcome

_known: Decoder[ContentBlock] = Decoder(ContentBlock)
_any = Decoder(dict[str, Any])


def read(raw: Raw) -> ContentBlock | Unknown:
    """A block as a peer sent it; one of an unknown or malformed type becomes `Unknown`."""
    try:
        return _known.decode(raw)
    except msgspec.ValidationError:
        fields = _any.decode(raw)
        return Unknown(kind=str(fields.get("type", "")), raw=fields)
