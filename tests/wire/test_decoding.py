"""Decoders that are built when they first read."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw, Struct

from interlock.wire.decoding import Decoder


class Point(Struct):
    x: int


def test_it_reads_the_first_time_as_every_other():
    decoder = Decoder(Point)
    for data in (b'{"x":1}', Raw(b'{"x":1}'), '{"x":1}', b'{"x":1}'):
        assert decoder.decode(data) == Point(1)


def test_what_cannot_be_read_is_said_the_first_time_as_every_other():
    decoder = Decoder(Point)
    for _ in range(2):
        with pytest.raises(msgspec.ValidationError, match=r"at `\$\.x`"):
            decoder.decode(b'{"x":"1"}')


def test_the_second_reading_goes_to_msgspec_directly():
    decoder = Decoder(dict[str, int])
    first = decoder.decode
    decoder.decode(b"{}")
    assert decoder.decode is not first
    assert isinstance(getattr(decoder.decode, "__self__", None), msgspec.json.Decoder)
