from __future__ import annotations

import json
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from interlock.errors import INVALID_REQUEST, PARSE_ERROR
from interlock.wire.jsonrpc import (
    AMPLE,
    BATCH_LIMIT,
    Fault,
    Message,
    failure,
    id_of,
    join_batch,
    notification,
    read,
    read_batch,
    read_error,
    request,
    success,
)

IDS = [0, 1, -1, 2**53, 2**70, "", "a", "0", "ü", 'q"']


def message(data: bytes) -> Message:
    taken = read(data)
    assert type(taken) is Message, taken
    return taken


@pytest.mark.parametrize("number", IDS)
def test_what_is_written_is_read_as_it_was_meant(number: int | str):
    asked = message(request(number, "tools/call", b'{"a":1}'))
    assert (asked.id, asked.method, bytes(asked.params)) == (number, "tools/call", b'{"a":1}')
    assert type(asked.id) is type(number)
    answered = message(success(number, b'{"b":2}'))
    assert (answered.id, answered.method, bytes(answered.result)) == (number, UNSET, b'{"b":2}')
    failed = message(failure(number, -1, "no", {"why": [1]}))
    assert failed.id == number
    assert read_error(failed.error).data == {"why": [1]}
    told = message(notification("n", b'{"c":3}'))
    assert (told.id, told.method, bytes(told.params)) == (UNSET, "n", b'{"c":3}')


@pytest.mark.parametrize("shift", range(4))
def test_text_of_a_large_message_is_whole_wherever_its_pieces_end(shift: int):
    text = "x" * shift + "\U0001f600" * (AMPLE // 2)
    data = success(1, json.dumps({"text": text}, ensure_ascii=False).encode())
    assert json.loads(bytes(message(data).result))["text"] == text
    # A character that is cut off is none, at the end of a piece as anywhere.
    cut = data[: data.index(b"\xf0", AMPLE - 2) + 2]
    for spoilt in (data[:-4] + b'"}}', cut, data.replace(b"\xf0", b"\xff", 1)):
        with pytest.raises(UnicodeDecodeError) as why:
            spoilt.decode()
        assert read(spoilt) == Fault(PARSE_ERROR, f"Not valid JSON: {why.value}")


def test_a_large_message_is_not_made_text_to_see_that_it_could_be():
    data = success(1, b'{"text":"%b"}' % ("\U0001f600" * 500_000).encode())
    tracemalloc.start()
    try:
        message(data)
        assert tracemalloc.get_traced_memory()[1] < len(data) / 2
    finally:
        tracemalloc.stop()


def test_params_that_are_empty_are_left_out():
    assert json.loads(request(1, "ping")) == {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert json.loads(notification("n", b"{}")) == {"jsonrpc": "2.0", "method": "n"}


def test_an_error_without_an_id_has_none_rather_than_null():
    assert json.loads(failure(None, -32700, "x")) == {
        "jsonrpc": "2.0",
        "error": {"code": -32700, "message": "x"},
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"nul",
        b"\x00\x01\x02",
        b"\xff\xfe{}",
        b'\xef\xbb\xbf{"jsonrpc":"2.0","method":"a"}',
        b'{"jsonrpc":"2.0","method":"a"}{}',
        b"{'jsonrpc':'2.0'}",
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"\xc3\x28"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"\xed\xa0\x80"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"\\ud800"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"\\ud800 and more"}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":%b}' % (b"[" * 100_000 + b"]" * 100_000),
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"jsonrpc":"1.0","id":1,"method":"a"',  # not JSON after all, found out late
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_no_json_is_a_parse_error_without_an_id(data: bytes):
    taken = read(data)
    assert type(taken) is Fault
    assert (taken.code, taken.id) == (PARSE_ERROR, None)


@pytest.mark.parametrize(
    ("data", "number", "asks"),
    [
        (b"null", None, False),
        (b"1", None, False),
        (b'"text"', None, False),
        (b"[]", None, False),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', None, False),
        (b"{}", None, False),
        (b'{"id":1,"method":"a"}', 1, True),
        (b'{"jsonrpc":"1.0","id":1,"method":"a"}', 1, True),
        (b'{"jsonrpc":2.0,"id":"x","method":"a"}', "x", True),
        (b'{"jsonrpc":"2.0","id":1}', 1, False),
        (b'{"jsonrpc":"2.0","id":0}', 0, False),
        (b'{"jsonrpc":"2.0","id":""}', "", False),
        (b'{"jsonrpc":"2.0"}', None, False),
        (b'{"jsonrpc":"2.0","id":null,"method":"a"}', None, True),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"a"}', None, True),
        (b'{"jsonrpc":"2.0","id":1.0,"method":"a"}', None, True),
        (b'{"jsonrpc":"2.0","id":true,"method":"a"}', None, True),
        (b'{"jsonrpc":"2.0","id":[1],"method":"a"}', None, True),
        (b'{"jsonrpc":"2.0","id":{},"method":"a"}', None, True),
        (b'{"jsonrpc":"2.0","id":%b,"method":"a"}' % (b"9" * 5000), None, False),
        (b'{"jsonrpc":"2.0","id":7,"method":1}', 7, True),
        (b'{"jsonrpc":"2.0","id":7,"method":null}', 7, True),
        (b'{"jsonrpc":"2.0","id":7,"method":["a"]}', 7, True),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_json_that_is_no_message_is_an_invalid_request_with_its_id_if_legible(
    data: bytes, number: Any, asks: bool
):
    taken = read(data)
    assert type(taken) is Fault
    assert (taken.code, taken.id, taken.asks) == (INVALID_REQUEST, number, asks)


def test_the_last_of_two_members_with_one_name_counts():
    assert message(b'{"jsonrpc":"2.0","id":1,"id":2,"method":"a","method":"b"}').id == 2


def test_unknown_members_are_ignored():
    assert message(b'{"jsonrpc":"2.0","id":1,"method":"a","more":{"x":1}}').id == 1


@pytest.mark.parametrize("params", [b"", b',"params":{"name":"echo"}'])
def test_params_do_not_keep_alive_what_was_sent_beside_them(params: bytes):
    """Ours: a call is held for minutes by a client that has nothing open, and weighs what it says."""
    data = b'{"jsonrpc":"2.0","id":1,"method":"m","more":"%b"%b}' % (b"x" * 100_000, params)
    before = sys.getrefcount(data)
    message = read(data)
    assert isinstance(message, Message)
    assert bytes(message.params) == params.removeprefix(b',"params":')
    assert sys.getrefcount(data) == before


def test_a_message_without_an_id_has_none_to_answer():
    assert id_of(message(b'{"jsonrpc":"2.0","method":"a"}')) is None
    assert id_of(message(b'{"jsonrpc":"2.0","id":0,"method":"a"}')) == 0


@pytest.mark.parametrize("raw", [b'"text"', b"[]", b'{"code":"x"}', b'{"message":"x"}', b"{}"])
def test_a_malformed_error_still_says_what_it_can(raw: bytes):
    error = read_error(Raw(raw))
    assert error.code == INVALID_REQUEST
    assert raw.decode() in error.message


@given(st.binary(max_size=200))
def test_nothing_makes_reading_raise(data: bytes):
    assert isinstance(read(data), Message | Fault)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error"]),
)
def test_whatever_stands_in_a_member_it_is_a_message_or_a_fault(value: Any, member: str):
    body = {"jsonrpc": "2.0", "id": 1, "method": "a", member: value}
    assert isinstance(read(json.dumps(body).encode()), Message | Fault)


def test_the_messages_of_an_array_are_told_apart_and_not_read():
    found = read_batch(b' \n[ {"a": [1, "]"]} , null,[2],"x" ]\t')
    assert found == [b'{"a": [1, "]"]}', b"null", b"[2]", b'"x"']
    assert read_batch(join_batch([b"{}", b"1"])) == [b"{}", b"1"]


@pytest.mark.parametrize("data", [b"", b" ", b"{}", b"1", b'{"a":[]}', b"\xef\xbb\xbf[1]", b"x["])
def test_what_is_no_array_is_no_batch(data: bytes):
    assert read_batch(data) is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[]", INVALID_REQUEST),
        (b" [ ] ", INVALID_REQUEST),
        (b"[" + b"1," * BATCH_LIMIT + b"1]", INVALID_REQUEST),
        (b"[" + b"1," * 4_000_000 + b"1]", INVALID_REQUEST),
        (b"[", PARSE_ERROR),
        (b"[1,]", PARSE_ERROR),
        (b"[1] 2", PARSE_ERROR),
        (b"[" * 100_000, PARSE_ERROR),
        (b"[" * 100_000 + b"]" * 100_000, PARSE_ERROR),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_batch_that_cannot_be_taken_is_one_fault(data: bytes, code: int):
    found = read_batch(data)
    assert type(found) is Fault
    assert (found.code, found.id, found.asks) == (code, None, False)


def test_as_many_messages_as_an_array_may_hold():
    found = read_batch(b"[" + b"1," * (BATCH_LIMIT - 1) + b"1]")
    assert found == [b"1"] * BATCH_LIMIT


@given(st.binary(max_size=200))
def test_nothing_makes_reading_a_batch_raise(data: bytes):
    found = read_batch(b"[" + data)
    assert isinstance(found, list | Fault)
