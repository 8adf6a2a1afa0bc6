"""Content for clients that know less."""

from __future__ import annotations

import pytest

from interlock.server.older import as_known, known, singly
from interlock.wire.content import Audio, Image, ResourceLink, Text, Unknown
from interlock.wire.inputs import SamplingMessage
from interlock.wire.versions import (
    ALL,
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    Revision,
)

AUDIO = Audio.of(b"x", "audio/wav")
LINK = ResourceLink(uri="x://y", name="y", title="Why", description="because")


@pytest.mark.parametrize("revision", ALL, ids=str)
def test_what_everyone_knows_is_left_as_it_is(revision: Revision):
    blocks = [Text(text="a"), Image.of(b"x", "image/png")]
    assert as_known(revision, blocks) is blocks  # type: ignore[arg-type]  a narrower list


def test_links_and_audio_become_text_where_they_are_not_known():
    assert known(V2024_11_05, LINK) == Text(text="Why: x://y (because)")
    assert known(V2025_03_26, LINK) == Text(text="Why: x://y (because)")
    assert known(V2025_06_18, LINK) is LINK
    assert known(V2025_03_26, AUDIO) is AUDIO
    assert known(V2024_11_05, AUDIO) == Text(
        text="[audio, audio/wav: this client's revision has no audio]"
    )
    assert known(V2025_03_26, ResourceLink(uri="x://y", name="y")) == Text(text="y: x://y")


def test_what_nobody_knows_is_passed_on():
    block = Unknown(kind="new", raw={"type": "new"})
    assert known(V2024_11_05, block) is block


def test_a_message_for_a_model_holds_one_block_where_there_are_no_lists():
    picture = Image.of(b"x", "image/png")
    messages = [
        SamplingMessage(role="user", content=[Text(text="a"), picture, AUDIO]),
        SamplingMessage(role="assistant", content=Text(text="b")),
    ]
    assert singly(V2025_11_25, messages) == messages
    assert [(each.role, each.content) for each in singly(V2025_06_18, messages)] == [
        ("user", Text(text="a")),
        ("user", picture),
        ("user", AUDIO),
        ("assistant", Text(text="b")),
    ]
    assert isinstance(singly(V2024_11_05, messages)[2].content, Text)
