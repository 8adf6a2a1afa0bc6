"""The headers that mirror a request over HTTP: their names, and how a value travels in one.

Names are lower case, as ASGI hands them out; HTTP does not mind their case. Which method mirrors
what is a column of `methods`, and comparing header with body is for who has both.
"""

import binascii
from base64 import b64encode

from interlock.wire.decoding import pattern

PROTOCOL_VERSION = b"mcp-protocol-version"
METHOD = b"mcp-method"
NAME = b"mcp-name"
PARAM_PREFIX = b"mcp-param-"
"""What a parameter's header starts with; its name, as the tool's schema gives it, follows."""
SESSION_ID = b"mcp-session-id"
LAST_EVENT_ID = b"last-event-id"

# The marks count only in lower case, exactly as here (Streamable HTTP, value encoding).
_PREFIX = "=?base64?"
_SUFFIX = "?="
_SPACE = " \t"
_PLAIN = pattern(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?|")


class BadHeader(ValueError):
    """A header's value cannot be what its sender meant; the message says why, not which header."""


def text(raw: bytes) -> str:
    """A header's value as text, without the white space HTTP allows around it."""
    return raw.decode("latin-1").strip(_SPACE)


def encode_value(value: str) -> str:
    """The value as a header may carry it: itself where that is safe, else Base64 between marks.

    Safe is visible ASCII with spaces and tabs inside, and nothing that looks marked already.
    Raises BadHeader for a lone surrogate, which no encoding carries.
    """
    looks_marked = value.startswith(_PREFIX) and value.endswith(_SUFFIX)
    if _PLAIN.fullmatch(value) and not looks_marked:
        return value
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise BadHeader(
            f"expected text that UTF-8 can carry, got a lone surrogate at position {error.start}"
        ) from None
    return f"{_PREFIX}{b64encode(data).decode()}{_SUFFIX}"


def decode_value(value: str) -> str:
    """What the sender of this header's value meant: the way back from `encode_value`.

    White space around it is trimmed. Without both marks, exactly as they are written, the value is
    literal. Raises BadHeader for characters a header may not carry, and for marked values that are
    not strict Base64 (its alphabet, its padding, no stray bits) of UTF-8.
    """
    if value.isidentifier() and value.isascii():
        return value  # As most names are: nothing in it can mean more than it says.
    value = value.strip(_SPACE)
    if not _PLAIN.fullmatch(value):
        raise BadHeader(
            "expected visible ASCII with spaces and tabs inside, got "
            f"{value[:80]!a}: send it as {_PREFIX}<Base64 of its UTF-8>{_SUFFIX}"
        )
    marked = value.startswith(_PREFIX) and value.endswith(_SUFFIX)
    if not marked or len(value) < len(_PREFIX) + len(_SUFFIX):
        return value
    payload = value[len(_PREFIX) : -len(_SUFFIX)]
    try:
        data = binascii.a2b_base64(payload, strict_mode=True)
    except binascii.Error:
        data = b""
    # Encoding again finds what strict mode lets pass: missing padding, stray bits in the last letter.
    if b64encode(data).decode() != payload:
        raise BadHeader(f"expected strict Base64 between the marks, got {payload[:80]!r}")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadHeader(f"expected Base64 of UTF-8 text, got {payload[:80]!r}") from None
