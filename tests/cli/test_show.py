"""What a server answered, as text and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from interlock.cli.show import as_json, contents, text_of
from interlock.client.client import ToolResult
from interlock.wire.content import ResourceContents, read


def block(**fields: Any) -> Any:
    return read(Raw(json.dumps(fields).encode()))


AUDIO = block(type="audio", data="AAAA", mimeType="audio/wav")
EMBEDDED = block(type="resource", resource={"uri": "a://b", "text": "held"})
BYTES = block(type="resource", resource={"uri": "a://b", "blob": "AAA="})
LINK = block(type="resource_link", uri="a://b", name="b", title="The b")
STRANGE = block(type="hologram", depth=3)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (block(type="text", text="one\ntwo"), "one\ntwo"),
        (AUDIO, "[audio: 3 bytes of audio/wav; --json shows them]"),
        (EMBEDDED, "held"),
        (BYTES, "[a://b: 2 bytes]"),
        (LINK, "[The b: a://b]"),
        (STRANGE, '{"type": "hologram", "depth": 3}'),
    ],
)
def test_a_block_is_shown_as_text_or_named(shown: Any, text: str):
    assert text_of([shown]) == text


def test_json_has_the_names_of_the_protocol_and_keeps_what_is_unknown():
    result = ToolResult(content=[AUDIO, STRANGE], structured=None, has_structured=True)
    assert as_json(result) == {
        "content": [
            {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
            {"type": "hologram", "depth": 3},
        ],
        "structuredContent": None,
        "isError": False,
    }
    assert "structuredContent" not in as_json(ToolResult(content=[]))


def test_contents_are_written_in_their_order(capfdbinary: pytest.CaptureFixture[bytes]):
    contents(
        [
            ResourceContents(uri="a://1", text="text"),
            ResourceContents(uri="a://2", blob="iVBORw=="),
        ]
    )
    assert capfdbinary.readouterr().out == b"text\n\x89PNG"
