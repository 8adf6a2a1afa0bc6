"""Text of others, shown on a terminal."""

from __future__ import annotations

import pytest

from interlock.transport.harmless import harmless


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext é 漢", "plain\ttext é 漢"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq\x1b\\\x1b(B\x1bc", ""),
        ("a\x1b", "a\\x1b"),
        ("bell\x07 back\x08 c1\x9b31m", "bell\\x07 back\\x08 c1\\x9b31m"),
        ("right\u202eto left", "right\\x202eto left"),
    ],
)
def test_text_of_others_cannot_act_on_a_terminal(text: str, shown: str):
    assert harmless(text) == shown
