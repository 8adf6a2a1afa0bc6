"""Bytes to Call, Result to bytes: the only room that knows there are two eras.

Every message is judged by itself. One whose `_meta` names a protocol version is modern; any other
belongs to the session it came in, and `initialize` opens one. `admit` takes the straight way for a
message that is right, and hands one that is not to a ladder that finds the first rung it fails:

    modern:  shape of `_meta` → mirrored headers → version → method → params     (then the handler)
    legacy:  session → header → handshake → method → params

The modern order is the one the official suite expects. A refusal is a value.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, field

from interlock.errors import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY_RESOURCE_NOT_FOUND,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    RpcError,
)
from interlock.protocol.call import LOCAL, Call, Principal, Service
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.session import EARLY, Envelope, Session, State
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import UNREADABLE, Fault, Message, encode, failure, success
from interlock.wire.meta import (
    CLIENT_CAPABILITIES,
    PROTOCOL_VERSION,
    SERVER_INFO,
    CacheableResult,
    Id,
    Params,
    RawResult,
    RequestMeta,
    Result,
    members,
)
from interlock.wire.methods import BY_NAME, INITIALIZE, Method
from interlock.wire.versions import BY_NAME as REVISIONS
from interlock.wire.versions import MODERN, Revision

log: Final = logging.getLogger("interlock.dispatch")

STATUS: Final = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}
"""HTTP statuses of modern errors (2026-07-28 § Base protocol); any other goes out with 200."""

Table: TypeAlias = dict[str, dict[str, Method]]


class Refusal(Struct, frozen=True):
    """A message that is answered with an error, and the status that HTTP gives it."""

    code: int
    message: str
    data: Any = None
    id: Id | None = None
    status: int = 200

    def encode(self) -> bytes:
        return failure(self.id, self.code, self.message, self.data)

    @classmethod
    def of(cls, fault: Fault) -> Refusal:
        return cls(fault.code, fault.message, fault.data, fault.id, 400)


class Mirror(Struct):
    """What the headers of an HTTP request repeat of its body; None where one is missing.

    *fault* says what is wrong with a header that could not be decoded.
    """

    version: str | None = None
    method: str | None = None
    name: str | None = None
    fault: str | None = None


def admit(
    message: Message,
    table: Table,
    mirror: Mirror | None = None,
    session: Session | Refusal | None = None,
    principal: Principal = LOCAL,
    outlet: Outlet = SILENT,
) -> Call | Refusal:
    """The call that a request is, or why it is none.

    *table* says which side we are (`methods.TO_SERVER` or `TO_CLIENT`). *mirror* comes with HTTP
    only. *session* is what a legacy request belongs to, or the refusal it gets where none is.
    """
    row = BY_NAME.get(message.method or "")
    params: Params | None = None
    if row is not None:
        try:
            params = row.decoder.decode(message.params or b"{}")
        except UNREADABLE:
            pass  # The ladder finds out what is wrong: perhaps more than this.
    if params is None or row is None:
        return _refuse(message, row, table, mirror, session)

    meta = params.meta
    if meta is not None and meta.protocol_version is not UNSET:
        revision = MODERN.get(meta.protocol_version)
        capabilities = meta.client_capabilities
        if (
            revision is None
            or capabilities is UNSET
            or row.name not in table[revision.name]
            or (mirror is not None and _disagreement(mirror, revision.name, row, params))
        ):
            return _refuse(message, row, table, mirror, session)
        envelope = Envelope(revision, meta.client_info, capabilities, meta.log_level)
        return Call(
            row, params, envelope, principal, outlet, None, None, message.id, message.params
        )

    if (
        not isinstance(session, Session)
        or row.name not in table[session.envelope.revision.name]
        or (session.state is State.NEW and row.name not in EARLY)
        or (session.state is not State.NEW and row.name == INITIALIZE)
        or (mirror is not None and mirror.version is not None and _stray(mirror, session))
    ):
        return _refuse(message, row, table, mirror, session)
    if row.name == INITIALIZE:
        session.open(params)
    return Call(
        row, params, session.envelope, principal, outlet, None, session, message.id, message.params
    )


def _disagreement(mirror: Mirror, version: str, row: Method, params: Params) -> str | None:
    """What the headers say differently from the body (2026-07-28 § Streamable HTTP, Headers)."""
    if mirror.fault is not None:
        return mirror.fault
    if mirror.version != version:
        return _differs("MCP-Protocol-Version", mirror.version, version)
    if mirror.method != row.name:
        return _differs("Mcp-Method", mirror.method, row.name)
    if row.mirrored is not None:
        name = getattr(params, row.mirrored)
        if mirror.name != name:
            return _differs("Mcp-Name", mirror.name, name)
    return None


def _differs(header: str, said: str | None, body: str) -> str:
    if said is None:
        return f"The header {header} is missing; the body says {body!r}"
    return f"The header {header} says {said!r}, the body says {body!r}"


def _stray(mirror: Mirror, session: Session) -> bool:
    """Whether the version header names another revision than the session's."""
    return mirror.version != session.envelope.revision.name and session.state is not State.NEW


class _Head(Struct):
    meta: Raw = field(default=Raw(), name="_meta")


_head: Final = msgspec.json.Decoder(_Head)
_any_object: Final = msgspec.json.Decoder(dict[str, Any])
_request_meta: Final = msgspec.json.Decoder(RequestMeta)


def _refuse(
    message: Message,
    row: Method | None,
    table: Table,
    mirror: Mirror | None,
    session: Session | Refusal | None,
) -> Refusal:
    """The first rung that a request fails. Slow and thorough: only what is wrong comes here."""
    identity = message.id or 0 if message.id is not UNSET else None
    if message.id == "":
        identity = ""

    def no(code: int, text: str, data: Any = None, status: int = 400) -> Refusal:
        return Refusal(code, text, data, identity, status)

    try:
        raw_meta = _head.decode(message.params or b"{}").meta
    except UNREADABLE as error:
        return no(INVALID_PARAMS, f"Invalid params: {error}")
    try:
        meta = _any_object.decode(raw_meta) if raw_meta else {}
    except UNREADABLE as error:
        return no(INVALID_PARAMS, f"Invalid params: _meta must be an object: {error}")

    modern_header = mirror is not None and mirror.version in MODERN
    modern_only = row is not None and row.since.modern and not isinstance(session, Session)
    if PROTOCOL_VERSION in meta or modern_header or modern_only:
        return _refuse_modern(message, row, table, mirror, meta, raw_meta, no)
    return _refuse_legacy(message, row, table, mirror, session, no)


def _refuse_modern(
    message: Message,
    row: Method | None,
    table: Table,
    mirror: Mirror | None,
    meta: dict[str, Any],
    raw_meta: Raw,
    no: Any,
) -> Refusal:
    version = meta.get(PROTOCOL_VERSION)
    if not isinstance(version, str):
        return no(
            INVALID_PARAMS, f"Invalid params: _meta must have {PROTOCOL_VERSION!r} as a string"
        )
    if not isinstance(meta.get(CLIENT_CAPABILITIES), dict):
        return no(
            INVALID_PARAMS, f"Invalid params: _meta must have {CLIENT_CAPABILITIES!r} as an object"
        )
    try:
        _request_meta.decode(raw_meta)
    except UNREADABLE as error:
        return no(INVALID_PARAMS, f"Invalid params: _meta: {error}")
    if mirror is not None:
        said = mirror.fault
        if said is None and mirror.version != version:
            said = _differs("MCP-Protocol-Version", mirror.version, version)
        if said is None and mirror.method != message.method:
            said = _differs("Mcp-Method", mirror.method, str(message.method))
        if said is None and row is not None and row.mirrored is not None:
            name = _member(message.params, row.mirrored)
            if isinstance(name, str) and mirror.name != name:
                said = _differs("Mcp-Name", mirror.name, name)
        if said is not None:
            return no(HEADER_MISMATCH, said)
    revision = MODERN.get(version)
    if revision is None:
        return no(
            UNSUPPORTED_VERSION,
            f"Unsupported protocol version {version!r}",
            {"supported": sorted(MODERN), "requested": version},
        )
    if row is None or row.name not in table[revision.name]:
        return no(METHOD_NOT_FOUND, f"Method not found: {message.method}", None, 404)
    return no(INVALID_PARAMS, _complaint(message, row), None, 200)


def _refuse_legacy(
    message: Message,
    row: Method | None,
    table: Table,
    mirror: Mirror | None,
    session: Session | Refusal | None,
    no: Any,
) -> Refusal:
    if isinstance(session, Refusal):
        return msgspec.structs.replace(session, id=no(0, "").id)
    header = mirror.version if mirror is not None else None
    if header is not None and header not in REVISIONS:
        known = ", ".join(REVISIONS)
        return no(
            INVALID_REQUEST, f"Unsupported MCP-Protocol-Version {header!r}; known are {known}"
        )
    if session is None:
        return no(
            INVALID_REQUEST,
            f"{message.method} needs a session: send initialize first, then the Mcp-Session-Id "
            f"it returned (or name {PROTOCOL_VERSION} in _meta)",
        )
    if session.state is State.NEW and message.method not in EARLY:
        return no(INVALID_REQUEST, f"{message.method} came before initialize")
    if session.state is not State.NEW and message.method == INITIALIZE:
        return no(INVALID_REQUEST, "initialize came a second time in one session")
    if mirror is not None and header is not None and _stray(mirror, session):
        return no(
            INVALID_REQUEST,
            _differs("MCP-Protocol-Version", header, session.envelope.revision.name),
        )
    if row is None or row.name not in table[session.envelope.revision.name]:
        return no(METHOD_NOT_FOUND, f"Method not found: {message.method}", None, 200)
    return no(INVALID_PARAMS, _complaint(message, row), None, 200)


def _complaint(message: Message, row: Method) -> str:
    try:
        row.decoder.decode(message.params or b"{}")
    except UNREADABLE as error:
        return f"Invalid params of {row.name}: {error}"
    return f"Invalid params of {row.name}"


def _member(params: Raw, name: str) -> Any:
    try:
        return _any_object.decode(params).get(name)
    except UNREADABLE:
        return None


class Dispatch:
    """Calls of one service, run and answered. One a service; holds what every answer repeats."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._handle = service.handle
        self._info = members(encode({SERVER_INFO: service.info}))
        meta = b'"_meta":' + encode(self._info)
        self._plain = b'"resultType":"complete",' + meta + b"}"
        self._asks = b'"resultType":"input_required",' + meta + b"}"
        self._unkept = b'"ttlMs":0,"cacheScope":"private",' + self._plain

    async def respond(self, call: Call) -> bytes | Refusal:
        """Run *call* and encode what comes of it. Only cancellation comes out as an exception."""
        try:
            result = await self._handle(call)
            return success(call.id, self.body(call, result))
        except RpcError as error:
            return self.refuse(call, error)
        except Exception:
            # The boundary: whatever a handler did not expect is ours to report and nobody else's
            # to read.
            incident = secrets.token_hex(4)
            log.exception("%s failed (incident %s)", call.method, incident)
            return self.refuse(
                call, RpcError(INTERNAL_ERROR, f"Internal error (incident {incident})")
            )

    def refuse(self, call: Call, error: RpcError) -> Refusal:
        """A handler's error as this call's revision writes it."""
        code = error.code
        modern = call.envelope.revision.modern
        if call.method == "resources/read":
            # Not found has a code of its own up to 2025-11-25, and may not have it after.
            if modern and code == LEGACY_RESOURCE_NOT_FOUND:
                code = INVALID_PARAMS
            elif not modern and code == INVALID_PARAMS and _names_uri(error.data):
                code = LEGACY_RESOURCE_NOT_FOUND
        if not modern and code == MISSING_CAPABILITY:
            code = INVALID_REQUEST
        status = STATUS.get(code, 200) if modern else 200
        return Refusal(code, error.message, error.data, call.id, status)

    def body(self, call: Call, result: Result) -> bytes | Raw:
        """*result* as JSON, with what the call's era adds to it and without what it does not know."""
        modern = call.envelope.revision.modern
        if type(result) is RawResult:
            if result.relayed:
                return self._restamp(call, result.body)
            encoded = bytes(result.body)
            return self._stamp(encoded, self._plain) if modern else encoded
        if type(result) is InputRequired and not (modern and call.row.may_ask):
            raise RpcError(
                INVALID_REQUEST, f"{call.method} needs an answer that this client cannot be asked for"
            )
        if not modern:
            if isinstance(result, CacheableResult) and result.ttl_ms is not None:
                result = msgspec.structs.replace(result, ttl_ms=None, cache_scope=None)
            return encode(result)
        stamp = self._plain
        if isinstance(result, CacheableResult):
            if result.ttl_ms is None or result.cache_scope is None:
                result = msgspec.structs.replace(result, ttl_ms=None, cache_scope=None)
                stamp = self._unkept
        elif type(result) is InputRequired:
            stamp = self._asks
        if result.meta is not None:
            return self._restamp(call, encode(result), stamp is self._asks)
        return self._stamp(encode(result), stamp)

    def _stamp(self, encoded: bytes, stamp: bytes) -> bytes:
        # Every object we encode ends in "}" and opens in "{": splice instead of building anew.
        if len(encoded) == 2:
            return b"{" + stamp
        return encoded[:-1] + b"," + stamp

    def _restamp(self, call: Call, encoded: bytes | Raw, asks: bool = False) -> bytes:
        """The same for a result that has stamps already, perhaps of another era."""
        fields = members(encoded)
        meta = members(fields.get("_meta", Raw()))
        if call.envelope.revision.modern:
            fields.setdefault("resultType", _INPUT_REQUIRED if asks else _COMPLETE)
            if call.row.cacheable and bytes(fields["resultType"]) == b'"complete"':
                fields.setdefault("ttlMs", _ZERO)
                fields.setdefault("cacheScope", _PRIVATE)
            fields["_meta"] = Raw(encode({**meta, **self._info}))
            return encode(fields)
        for name in ("resultType", "ttlMs", "cacheScope"):
            fields.pop(name, None)
        meta.pop(SERVER_INFO, None)
        if meta:
            fields["_meta"] = Raw(encode(meta))
        else:
            fields.pop("_meta", None)
        return encode(fields)


_COMPLETE: Final = Raw(b'"complete"')
_INPUT_REQUIRED: Final = Raw(b'"input_required"')
_ZERO: Final = Raw(b"0")
_PRIVATE: Final = Raw(b'"private"')


def _names_uri(data: Any) -> bool:
    return isinstance(data, dict) and "uri" in data
