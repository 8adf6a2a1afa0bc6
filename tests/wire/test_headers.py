"""Promises of wire/headers: the specification's, for Streamable HTTP of 2026-07-28.

https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.wire import headers
from interlock.wire.headers import BadHeader, decode_value, encode_value


def marked(data: bytes) -> str:
    return f"=?base64?{b64encode(data).decode()}?="


def test_names_are_lower_case_as_asgi_hands_them_out() -> None:
    names = [
        headers.PROTOCOL_VERSION,
        headers.METHOD,
        headers.NAME,
        headers.PARAM_PREFIX,
        headers.SESSION_ID,
        headers.LAST_EVENT_ID,
    ]
    assert names == [
        b"mcp-protocol-version",
        b"mcp-method",
        b"mcp-name",
        b"mcp-param-",
        b"mcp-session-id",
        b"last-event-id",
    ]


def test_white_space_around_a_value_is_trimmed() -> None:
    assert headers.text(b" \t tools/call\t ") == "tools/call"


def test_only_space_and_tab_are_white_space_and_bytes_are_latin_1() -> None:
    assert headers.text(b"\x0b\xe9\xa0") == "\x0b\xe9\xa0"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "tools/call",
        "us-west 1",
        "a\tb",
        "!~",
        "file:///a?b=c#d",
        "=?base64?",
        "=?base64?eA==",
        "eA==?=",
        "=?BASE64?eA==?=",
        "=?Base64?eA==?=",
        "=?utf-8?eA==?=",
        "x=?base64?eA==?=",
    ],
)
def test_plain_values_travel_as_they_are(value: str) -> None:
    assert encode_value(value) == value
    assert decode_value(value) == value


@pytest.mark.parametrize(
    "value",
    [
        " ",
        " x",
        "x ",
        "\tx",
        "x\t",
        "x\n",
        "\nx",
        "a\r\nb",
        "a\0b",
        "\x7f",
        "é",
        "\xa0",
        "日本語",
        "🎈",
        "=?base64??=",
        "=?base64?eA==?=",
        "=?base64?not base64?=",
        "=?base64?=",
    ],
)
def test_values_a_header_cannot_carry_travel_as_base64(value: str) -> None:
    assert encode_value(value) == marked(value.encode())
    assert decode_value(encode_value(value)) == value


def test_the_encoding_is_the_one_of_the_specification() -> None:
    assert encode_value("Hello, 世界") == "=?base64?SGVsbG8sIOS4lueVjA==?="
    assert encode_value("=?base64?literal?=") == "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="


def test_a_lone_surrogate_is_refused_with_its_position() -> None:
    with pytest.raises(BadHeader, match="lone surrogate at position 1"):
        encode_value("a\ud800")


def test_white_space_around_a_marked_value_is_no_part_of_it() -> None:
    assert decode_value(" \t=?base64?eA==?=\t ") == "x"


def test_nothing_between_the_marks_is_the_empty_value() -> None:
    assert decode_value("=?base64??=") == ""


def test_marks_that_overlap_are_literal() -> None:
    assert decode_value("=?base64?=") == "=?base64?="


@pytest.mark.parametrize(
    "payload",
    [
        "eA",  # padding missing
        "eA=",  # padding short
        "eA===",  # padding long
        "=",
        "====",
        "=eA=",
        "eA==eA==",  # padding inside
        "e A=",  # white space
        "eA==\t",
        " eA==",
        "-_8=",  # the URL alphabet
        "e!==",
        "eB==",  # stray bits: would decode to the same as eA==
        "e",
    ],
)
def test_broken_base64_is_refused(payload: str) -> None:
    with pytest.raises(BadHeader, match="strict Base64"):
        decode_value(f"=?base64?{payload}?=")


@pytest.mark.parametrize("data", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_base64_of_something_else_than_utf8_is_refused(data: bytes) -> None:
    with pytest.raises(BadHeader, match="Base64 of UTF-8"):
        decode_value(marked(data))


@pytest.mark.parametrize("value", ["caf\xe9", "a\nb", "a\0", "\x7f", "a\x0b", "=?base64?\xe9?="])
def test_literal_values_that_no_header_may_carry_are_refused(value: str) -> None:
    with pytest.raises(BadHeader, match="expected visible ASCII") as refused:
        decode_value(value)
    assert str(refused.value).isascii()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(value: str) -> None:
    encoded = encode_value(value)
    assert decode_value(encoded) == value
    assert decode_value(headers.text(b" " + encoded.encode("ascii") + b"\t")) == value


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_what_is_marked_decodes_strictly_or_not_at_all(payload: str) -> None:
    value = f"=?base64?{payload}?="
    try:
        decoded = decode_value(value)
    except BadHeader:
        return
    assert marked(decoded.encode()) == value
