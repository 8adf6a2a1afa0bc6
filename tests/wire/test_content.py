from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from msgspec import Raw
from tests.official import complaint

from interlock.wire.content import (
    Audio,
    EmbeddedResource,
    Image,
    ResourceContents,
    ResourceLink,
    Text,
    Unknown,
    read,
)
from interlock.wire.jsonrpc import encode

BLOCKS = [
    Text(text="hi"),
    Image.of(b"\x89PNG", "image/png"),
    Audio.of(b"RIFF", "audio/wav"),
    EmbeddedResource(resource=ResourceContents.of("a:b", "text")),
    EmbeddedResource(resource=ResourceContents.of("a:b", b"\x00")),
    ResourceLink(uri="a:b", name="b", size=5),
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: type(block).__name__)
def test_a_block_is_what_the_schema_says_and_comes_back_as_it_was(block: Any):
    written = encode(block)
    assert complaint("2026-07-28", "ContentBlock", json.loads(written)) is None
    assert read(Raw(written)) == block


def test_bytes_travel_in_base64_and_text_as_it_is():
    assert base64.b64decode(Image.of(b"\x00\xff", "image/png").data) == b"\x00\xff"
    blob = ResourceContents.of("a:b", b"\x00\xff")
    assert (blob.text, blob.mime_type) == (None, "application/octet-stream")
    assert base64.b64decode(blob.blob or "") == b"\x00\xff"
    text = ResourceContents.of("a:b", "x", "text/html")
    assert (text.text, text.blob, text.mime_type) == ("x", None, "text/html")


@pytest.mark.parametrize(
    "sent",
    [
        {"type": "hologram", "depth": 3},
        {"type": "text"},
        {"type": "text", "text": 5},
        {"type": 7},
        {},
    ],
)
def test_a_block_that_is_not_known_or_malformed_is_kept_as_it_came(sent: dict[str, Any]):
    found = read(Raw(json.dumps(sent).encode()))
    assert isinstance(found, Unknown)
    assert found.raw == sent
    assert found.kind == str(sent.get("type", ""))
