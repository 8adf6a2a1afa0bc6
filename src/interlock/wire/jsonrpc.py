"""The envelope: bytes to `Message` and back, bodies left raw (JSON-RPC 2.0, § Base protocol)."""

from __future__ import annotations

import functools
from codecs import getincrementaldecoder
from typing import Any, Final, Literal, TypeAlias, final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from interlock.errors import INVALID_REQUEST, PARSE_ERROR
from interlock.wire.decoding import Decoder
from interlock.wire.meta import Id

encode: Final = msgspec.json.Encoder().encode

BATCH_LIMIT: Final = 100
"""The most messages that one array may hold."""
AMPLE: Final = 64 * 1024
"""From this size on, params that are the lesser part of their message are cut out of it. They would
keep all of it alive, for as long as a call may be held, and be counted as the little they are."""


@final
class Message(Struct, gc=False):
    """Any message, as far as its envelope: which kind it is shows in what is set.

    A request has a method and an id, a notification a method alone, a response an id and a result
    or an error. An absent id is `UNSET`; `None` was a JSON null, which only an error may have.
    """

    jsonrpc: Literal["2.0"]
    id: int | str | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw = Raw()
    result: Raw = Raw()
    error: Raw = Raw()


@final
class Fault(Struct, frozen=True):
    """Why a message cannot be taken: the error to answer it with, and its id if that was legible.

    *asks* is false for one without a method: answering it could be answering an answer.
    """

    code: int
    message: str
    id: Id | None = None
    asks: bool = False


class ErrorBody(Struct, omit_defaults=True):
    """The `error` member of a response."""

    code: int
    message: str
    data: Any = None


class _Loose(Struct):
    """What can still be learnt of a message that is not one."""

    id: Any = None
    method: Raw = Raw()


_message: Final = msgspec.json.Decoder(Message)
_loose: Final = Decoder(_Loose)
_error: Final = Decoder(ErrorBody)

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding hostile JSON raises; `msgspec.ValidationError` is a `DecodeError` too."""

Params: TypeAlias = bytes | Raw


def read(data: bytes) -> Message | Fault:
    """One message, or the fault to answer it with: -32700 if not JSON, -32600 if not a message."""
    try:
        # Raw members are not checked for UTF-8 where they are skipped over, and may be relayed.
        if not data.isascii():
            _check_text(data)
        message = _message.decode(data)
    except msgspec.ValidationError as error:
        return _fault(data, f"Not a JSON-RPC 2.0 message: {error}")
    except UNREADABLE as error:
        return Fault(PARSE_ERROR, f"Not valid JSON: {error}")
    if message.method is UNSET:
        if not message.result and not message.error:
            return Fault(
                INVALID_REQUEST,
                "Not a JSON-RPC 2.0 message: expected 'method', 'result' or 'error'",
                id=id_of(message),
            )
    elif message.id is None:
        return Fault(
            INVALID_REQUEST, "Not a request: 'id' must be a string or an integer", asks=True
        )
    elif len(data) > AMPLE and len(message.params) < len(data) // 2:
        message.params = message.params.copy()
    return message


def read_batch(data: bytes) -> list[bytes] | Fault | None:
    """The messages of an array, each still to be read; None if *data* is none.

    Arrays exist in 2025-03-26 alone: ask only once `read` did not take *data*.
    """
    if not data.lstrip(b" \t\r\n").startswith(b"["):
        return None
    try:
        found = [bytes(each) for each in msgspec.structs.astuple(_several().decode(data)) if each]
    except msgspec.ValidationError:
        return Fault(INVALID_REQUEST, f"Not a batch: it has more than {BATCH_LIMIT} messages")
    except UNREADABLE as error:
        return Fault(PARSE_ERROR, f"Not valid JSON: {error}")
    return found or Fault(INVALID_REQUEST, "Not a batch: it is empty")


@functools.cache
def _several() -> msgspec.json.Decoder[Struct]:
    """Reads an array as a Struct: decoding stops at what is too many, where a list would take millions.

    Made when the first array comes: hardly anybody sends one.
    """
    batch = msgspec.defstruct(
        "_Batch",
        [(f"message{number}", Raw, Raw()) for number in range(BATCH_LIMIT)],
        array_like=True,
        forbid_unknown_fields=True,
    )
    return msgspec.json.Decoder(batch)


def join_batch(messages: list[bytes]) -> bytes:
    """One array of *messages*, as bytes."""
    return b"[%b]" % b",".join(messages)


def id_of(message: Message) -> Id | None:
    """The id to answer *message* with; None if it has none."""
    return None if message.id is UNSET else message.id


def read_error(raw: Raw) -> ErrorBody:
    """The error of a response, read tolerantly: a peer's malformed one still says what it can."""
    try:
        return _error.decode(raw)
    except UNREADABLE:
        text = bytes(raw)[:200].decode(errors="replace")
        return ErrorBody(INVALID_REQUEST, f"The peer sent a malformed error: {text}")


def request(id: Id, method: str, params: Params = b"") -> bytes:
    number = b"%d" % id if type(id) is int else encode(id)
    if not params:
        return b'{"jsonrpc":"2.0","id":%b,"method":%b}' % (number, encode(method))
    return b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (number, encode(method), params)


def notification(method: str, params: Params = b"") -> bytes:
    if not params or params == b"{}":
        return b'{"jsonrpc":"2.0","method":%b}' % encode(method)
    return b'{"jsonrpc":"2.0","method":%b,"params":%b}' % (encode(method), params)


def success(id: Id, result: Params) -> bytes:
    if type(id) is int:
        return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (id, result)
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (encode(id), result)


def failure(id: Id | None, code: int, message: str, data: Any = None) -> bytes:
    """An error response. Without an *id* it goes out without: `null` is no id (§ Responses)."""
    body = encode(ErrorBody(code, message, data))
    if id is None:
        return b'{"jsonrpc":"2.0","error":%b}' % body
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (encode(id), body)


def _check_text(data: bytes) -> None:
    """Raise `UnicodeDecodeError` unless it is UTF-8.

    Piece by piece: as text all of a large message could take four times what it takes as bytes.
    """
    if len(data) <= AMPLE:
        data.decode()
        return
    decoder = getincrementaldecoder("utf-8")()
    view = memoryview(data)
    try:
        for at in range(0, len(data), AMPLE):
            decoder.decode(view[at : at + AMPLE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        data.decode()  # It says where, counted from the beginning.
        raise


def _fault(data: bytes, why: str) -> Fault:
    try:
        found = _loose.decode(data)
    except msgspec.ValidationError:
        return Fault(INVALID_REQUEST, why)
    except UNREADABLE as error:
        return Fault(PARSE_ERROR, f"Not valid JSON: {error}")  # found out late
    legible = isinstance(found.id, str) or type(found.id) is int
    return Fault(INVALID_REQUEST, why, found.id if legible else None, bool(found.method))
