"""A Call to the bytes of a request, a response to a Result: dispatch as seen by the sender."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from interlock.errors import InvalidMessage, ResourceNotFound, RpcError
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.wire.jsonrpc import UNREADABLE, Message, encode, read_error
from interlock.wire.meta import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    LOG_LEVEL,
    PROGRESS_TOKEN,
    PROTOCOL_VERSION,
    ClientCapabilities,
    Id,
    Implementation,
    RawResult,
    Wire,
    carried,
    members,
)


class Outgoing:
    """What every request of one client repeats, encoded once when the era is settled."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self.revision = envelope.revision
        self._meta = self._members(envelope.client, envelope.capabilities)

    def params(self, call: Call, token: Id | None = None) -> bytes:
        """Params as this hop's revision wants them; *token* is what progress shall be sent under.

        A relayed call keeps the keys of `_meta` that are not of one hop.
        """
        meta = self._meta
        if call.envelope is not self.envelope:
            meta = self._members(self.envelope.client, call.envelope.capabilities)
        if self.revision.modern and call.envelope.log_level is not None:
            meta += b',"%b":"%b"' % (LOG_LEVEL.encode(), call.envelope.log_level.encode())
        if token is not None:
            part = b'"%b":%b' % (PROGRESS_TOKEN.encode(), encode(token))
            meta = meta + b"," + part if meta else part
        if call.raw:
            return self._relayed(call.raw, meta)
        return _with_meta(encode(call.params), meta)

    def stamped(self, params: Wire) -> bytes:
        """Params of a request that is no call: discovery."""
        return _with_meta(encode(params), self._meta)

    def _members(self, client: Implementation | None, capabilities: ClientCapabilities) -> bytes:
        if not self.revision.modern:
            return b""
        meta = {
            PROTOCOL_VERSION: self.revision.name,
            CLIENT_INFO: client,
            CLIENT_CAPABILITIES: capabilities,
        }
        if client is None:
            del meta[CLIENT_INFO]
        return encode(meta)[1:-1]

    def _relayed(self, raw: Raw, meta: bytes) -> bytes:
        fields = members(raw)
        kept = carried(fields.pop("_meta", None))
        ours = members(b"{%b}" % meta)
        if kept or ours:
            fields["_meta"] = Raw(encode({**kept, **ours}))
        return encode(fields)


def _with_meta(params: bytes, meta: bytes) -> bytes:
    # What we encode ends in "}": splice instead of decoding it again.
    if not meta:
        return params
    if len(params) == 2:
        return b'{"_meta":{%b}}' % meta
    return b'%b,"_meta":{%b}}' % (params[:-1], meta)


class _Outer(Struct):
    kind: str = msgspec.field(default="complete", name="resultType")


_outer: Final = msgspec.json.Decoder(_Outer)
_KINDS: Final = frozenset({"complete", "input_required", "task"})


def outcome(message: Message, method: str, *, modern: bool) -> RawResult:
    """The result of a response; raises the error it carries as `RpcError`.

    A result of a kind we do not know is no answer (2026-07-28 § Base protocol, Results).
    """
    if message.error:
        error = read_error(message.error)
        if isinstance(error.data, dict) and method == "resources/read":
            uri = error.data.get("uri")
            if isinstance(uri, str) and error.code in (-32002, -32602):
                raise ResourceNotFound(uri)
        raise RpcError(error.code, error.message, error.data)
    try:
        kind = _outer.decode(message.result).kind
    except UNREADABLE as fault:
        raise InvalidMessage(f"{method} was answered with no result object: {fault}") from None
    if modern and kind not in _KINDS:
        raise InvalidMessage(f"{method} was answered with an unknown resultType {kind!r}")
    return RawResult(body=message.result, relayed=True)

