"""Text of others made safe to show: what a child wrote to stderr, what a server said."""

from __future__ import annotations

import re

_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|[ -/]*[0-~])"
)
_UNSEEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Text of others, safe for a terminal: no escape sequence, control or direction mark acts."""
    return _UNSEEN.sub(lambda match: f"\\x{ord(match[0]):02x}", _ESCAPE.sub("", text))
