"""Content for clients that know less."""

from __future__ import annotations

import pytest

from interlock.server.older import as_known, known
from interlock.wire.content import Audio, Image, ResourceLink, Text, Unknown
from interlock.wire.versions import ALL, V2024_11_05, V2025_03_26, V2025_06_18, Revision

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
