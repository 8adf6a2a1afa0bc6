"""A Call to the bytes of a request, a response to a Result: dispatch as seen by the sender."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw

from interlock.errors import (
    INVALID_PARAMS,
    LEGACY_RESOURCE_NOT_FOUND,
    InvalidMessage,
    ResourceNotFound,
    RpcError,
)
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.wire.decoding import Decoder
from interlock.wire.jsonrpc import UNREADABLE, Message, encode, read_error
from interlock.wire.meta import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    LOG_LEVEL,
    PROTOCOL_VERSION,
    ClientCapabilities,
    Id,
    Implementation,
    RawResult,
    Wire,
    carried,
    members,
)

_LOG_LEVEL: Final = LOG_LEVEL.encode()


class Outgoing:
    """What every request of one client repeats, encoded once when the era is settled."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self.revision = envelope.revision
        self._meta = self._members(envelope.client, envelope.capabilities)
        self._others = envelope.capabilities
        self._theirs = self._meta

    def params(self, call: Call, token: Id | None = None) -> bytes:
        """Params as this hop's revision wants them; *token* is what progress shall be sent under.

        A relayed call keeps the keys of `_meta` that are not of one hop.
        """
        meta = self._meta
        envelope = call.envelope
        if envelope is not self.envelope and self.revision.modern:
            if envelope.capabilities != self.envelope.capabilities:
                # Of a caller behind us; most calls in a row are of callers that can do the same.
                if envelope.capabilities != self._others:
                    self._others = envelope.capabilities
                    self._theirs = self._members(self.envelope.client, self._others)
                meta = self._theirs
            if envelope.log_level is not None:
                meta = b'%b,"%b":"%b"' % (meta, _LOG_LEVEL, envelope.log_level.encode())
        if token is not None:
            written = b"%d" % token if type(token) is int else encode(token)
            member = b'"progressToken":' + written
            meta = b"%b,%b" % (meta, member) if meta else member
        if call.fields is not None:
            return _relayed(call.fields, meta)
        if call.raw:
            return _relayed(members(call.raw), meta)
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


def _relayed(fields: dict[str, Raw], meta: bytes) -> bytes:
    """Params of another hop with the `_meta` of this one; what is of no hop stays in it."""
    given = fields.get("_meta")
    kept = carried(given) if given else None
    if kept:
        meta = encode(kept)[:-1] + (b"," + meta if meta else b"") + b"}"
        return encode({**fields, "_meta": Raw(meta)})
    if meta:
        return encode({**fields, "_meta": Raw(b"{%b}" % meta)})
    return encode({name: value for name, value in fields.items() if name != "_meta"})


def _with_meta(params: bytes, meta: bytes) -> bytes:
    # What we encode ends in "}": splice instead of decoding it again.
    if not meta:
        return params
    if len(params) == 2:
        return b'{"_meta":{%b}}' % meta
    return b'%b,"_meta":{%b}}' % (params[:-1], meta)


_fields: Final = Decoder(dict[str, Raw])
_text: Final = Decoder(str)
_COMPLETE: Final = Raw(b'"complete"')
_KINDS: Final = frozenset({"complete", "input_required", "task"})
_NOT_FOUND: Final = frozenset({INVALID_PARAMS, LEGACY_RESOURCE_NOT_FOUND})


def outcome(message: Message, method: str, *, modern: bool) -> RawResult:
    """The result of a response; raises the error it carries as `RpcError`.

    A result of a kind we do not know is no answer (2026-07-28 § Base protocol, Results).
    """
    # Some legacy servers send both members, the one that does not apply as null.
    if message.error and bytes(message.error) != b"null":
        error = read_error(message.error)
        uri = _uri_of(error.data)
        if method == "resources/read" and error.code in _NOT_FOUND and uri is not None:
            raise ResourceNotFound(uri)
        raise RpcError(error.code, error.message, error.data)
    try:
        fields = _fields.decode(message.result)
        said = fields.get("resultType", _COMPLETE)
        kind = "complete" if said == _COMPLETE else _text.decode(said)
    except UNREADABLE as fault:
        raise InvalidMessage(f"{method} was answered with no result object: {fault}") from None
    if modern and kind not in _KINDS:
        raise InvalidMessage(f"{method} was answered with an unknown resultType {kind!r}")
    return RawResult(body=message.result, relayed=True, kind=kind, fields=fields)


def _uri_of(data: Any) -> str | None:
    match data:
        case {"uri": str(uri)}:
            return uri
        case _:
            return None
