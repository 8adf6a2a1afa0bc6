from __future__ import annotations

import json

import msgspec
import pytest
from msgspec import Raw
from tests.peers import meta

from interlock.wire.jsonrpc import encode
from interlock.wire.meta import (
    PER_HOP,
    CacheableResult,
    ClientCapabilities,
    Implementation,
    PagedParams,
    Params,
    RequestMeta,
    Result,
    Wire,
    carried,
    members,
)


class Sample(Wire):
    camel_case: int
    left_out: str | None = None


def test_what_crosses_the_wire_is_camel_case_and_leaves_defaults_out():
    assert encode(Sample(camel_case=1)) == b'{"camelCase":1}'
    assert encode(Sample(camel_case=1, left_out="x")) == b'{"camelCase":1,"leftOut":"x"}'


def test_a_required_field_may_follow_an_optional_one_of_its_base():
    class Later(CacheableResult):
        needed: int

    assert encode(Later(needed=1)) == b'{"needed":1}'
    assert msgspec.json.decode(b'{"needed":2}', type=Later).needed == 2


def test_unknown_members_of_a_peer_are_no_fault():
    assert msgspec.json.decode(b'{"camelCase":1,"new":[]}', type=Sample).camel_case == 1


def test_the_envelope_is_read_from_the_keys_of_meta():
    found = msgspec.json.decode(
        json.dumps({"_meta": meta(progressToken="t")}).encode(), type=Params
    ).meta
    assert found == RequestMeta(
        protocol_version="2026-07-28",
        client_info=Implementation(name="tests", version="1"),
        client_capabilities=ClientCapabilities(),
        progress_token="t",
    )


def test_absent_is_not_null_where_it_matters():
    none = msgspec.json.decode(b"{}", type=RequestMeta)
    assert none.protocol_version is msgspec.UNSET
    assert none.client_capabilities is msgspec.UNSET
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"io.modelcontextprotocol/protocolVersion":null}', type=RequestMeta)


def test_an_empty_cursor_is_a_cursor():
    assert msgspec.json.decode(b'{"cursor":""}', type=PagedParams).cursor == ""
    assert msgspec.json.decode(b"{}", type=PagedParams).cursor is None


def test_a_capability_that_is_there_is_a_yes_even_if_empty():
    found = msgspec.json.decode(
        b'{"sampling":{},"roots":{"listChanged":true}}', type=ClientCapabilities
    )
    assert (found.sampling, found.roots, found.elicitation) == ({}, {"listChanged": True}, None)


def test_members_stay_unread():
    found = members(b'{"a": [1, 2], "b":"x"}')
    assert {name: bytes(value) for name, value in found.items()} == {"a": b"[1, 2]", "b": b'"x"'}
    assert members(b"") == {}
    assert members(Raw()) == {}
    with pytest.raises(msgspec.DecodeError):
        members(b"[]")


def test_a_relay_carries_what_is_of_no_hop():
    given = {**dict.fromkeys(PER_HOP, 1), "com.example/a": 1, "traceparent": "00-x"}
    assert set(carried(json.dumps(given).encode())) == {"com.example/a", "traceparent"}
    assert carried(None) == carried(b"") == {}


def test_a_result_s_meta_is_its_own():
    assert encode(Result(meta={"a": 1})) == b'{"_meta":{"a":1}}'
