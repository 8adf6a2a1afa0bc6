"""Whatever comes, in whatever pieces: a decoder gives a value or raises what it says it raises.

That is our promise for every reader of others' words (issue 3, 6). `decoders` has them as a table.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.decoders import STREAMS, TABLE, TALKS, Row, Stream, Talk
from tests.fuzz.mangling import cut, mangled

chances = st.randoms(use_true_random=False)

rows = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
streams = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
talks = pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk.name)


def attempt(row: Row, data: bytes) -> None:
    with contextlib.suppress(*row.raises):
        row.read(data)


def test_every_row_has_a_name_of_its_own_and_reads_what_it_is_made_for():
    names = [row.name for row in TABLE] + [stream.name for stream in STREAMS]
    names += [talk.name for talk in TALKS]
    assert len(set(names)) == len(names)
    for row in TABLE:
        assert row.samples
        read = 0
        for sample in row.samples:
            try:
                row.read(sample)
                read += 1
            except row.raises:
                pass
        assert read, f"{row.name} reads none of its samples"


@rows
def test_what_ends_or_begins_anywhere_is_read_or_refused(row: Row):
    for sample in row.samples:
        step = max(1, len(sample) // 400)
        for at in range(0, len(sample), step):
            attempt(row, sample[:at])
            attempt(row, sample[at:])


@rows
@given(chance=chances)
def test_what_was_mangled_is_read_or_refused(row: Row, chance: random.Random):
    attempt(row, mangled(chance, chance.choice(row.samples), row.samples))


@rows
@given(data=st.binary(max_size=60))
@settings(max_examples=40)
def test_noise_is_read_or_refused(row: Row, data: bytes):
    attempt(row, data)


@streams
def test_a_stream_may_be_cut_at_every_byte(stream: Stream):
    for sample in stream.samples:
        whole = stream.read([sample])
        assert stream.read([sample[at : at + 1] for at in range(len(sample))]) == whole
        for at in range(len(sample)):
            assert stream.read([sample[:at], sample[at:]]) == whole
            assert stream.read([sample[:at], b"", sample[at : at + 3], sample[at + 3 :]]) == whole


@streams
@given(chance=chances)
def test_a_mangled_stream_may_be_cut_anywhere(stream: Stream, chance: random.Random):
    data = mangled(chance, chance.choice(stream.samples), stream.samples)
    assert stream.read(cut(chance, data)) == stream.read([data])


@talks
async def test_a_peer_s_words_may_be_cut_at_every_byte(talk: Talk):
    for sample in talk.samples:
        whole = await talk.read([sample])
        step = max(1, len(sample) // 40)
        for at in range(0, len(sample), step):
            assert await talk.read([sample[:at], sample[at : at + 1], sample[at + 1 :]]) == whole
            await talk.read([sample[:at]])


@talks
def test_a_peer_s_mangled_words_are_answered_or_refused(talk: Talk):
    with asyncio.Runner() as runner:

        @given(chance=chances)
        def answered(chance: random.Random):
            data = mangled(chance, chance.choice(talk.samples), talk.samples)
            assert runner.run(talk.read(cut(chance, data))) == runner.run(talk.read([data]))

        answered()
