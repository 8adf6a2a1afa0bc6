"""Bytes to Call, Result to bytes: the only room that knows there are two eras.

Every message is judged by itself. One whose `_meta` names a protocol version is modern; any other
belongs to the session it came in, and `initialize` opens one. `admit` takes the straight way for a
request that is right; one that is not is sent up the `ladder`, which says why.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

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
    InsufficientScope,
    MissingCapability,
    RpcError,
)
from interlock.protocol.abilities import lacking, needs
from interlock.protocol.call import LOCAL, Call, Principal, Service
from interlock.protocol.ladder import Mirror, Refusal, Table, disagreement, refusal
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.rounds import Ask, rounds
from interlock.protocol.session import EARLY, Envelope, Session, State
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import AMPLE, UNREADABLE, Message, encode, failure, id_of, success
from interlock.wire.lifecycle import InitializeParams
from interlock.wire.meta import (
    SERVER_INFO,
    CacheableResult,
    Params,
    RawResult,
    Result,
    members,
)
from interlock.wire.methods import BY_NAME, INITIALIZE, Method
from interlock.wire.versions import MODERN

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

NOT_MODERN: Final = {LEGACY_RESOURCE_NOT_FOUND: INVALID_PARAMS, -32042: INVALID_REQUEST}
"""Codes that may not be sent from 2026-07-28 on, which a relayed error may have, and what instead."""
RESERVED: Final = range(-32099, -31999)
"""Codes that the protocol keeps for itself: of these only its own are sent (§ Base protocol, Error
Codes)."""
NOT_LEGACY: Final = {
    HEADER_MISMATCH: INVALID_REQUEST,
    MISSING_CAPABILITY: INVALID_REQUEST,
    UNSUPPORTED_VERSION: INVALID_REQUEST,
}
"""The other way round."""


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
            params = None  # The ladder finds out what is wrong: perhaps more than this.
    number = message.id
    if params is None or row is None or number is UNSET or number is None:
        return _turned_away(message, row, table, mirror, session)

    meta = params.meta
    if meta is not None and meta.protocol_version is not UNSET:
        revision = MODERN.get(meta.protocol_version)
        capabilities = meta.client_capabilities
        if (
            revision is None
            or capabilities is UNSET
            or row.name not in table[revision.name]
            or (mirror is not None and _differ(mirror, revision.name, row, params))
        ):
            return _turned_away(message, row, table, mirror, session)
        envelope = Envelope(revision, meta.client_info, capabilities, meta.log_level)
        return Call(
            row,
            params,
            envelope,
            principal,
            outlet,
            None,
            None,
            number,
            message.params,
            mirror=mirror,
        )

    if (
        not isinstance(session, Session)
        or row.name not in table[session.envelope.revision.name]
        or (session.state is State.NEW and row.name not in EARLY)
        or (session.state is not State.NEW and row.name == INITIALIZE)
        or (mirror is not None and not _fits(mirror, session, row))
    ):
        return _turned_away(message, row, table, mirror, session)
    if type(params) is InitializeParams:
        session.open(params)
    return Call(
        row, params, session.envelope, principal, outlet, None, session, number, message.params
    )


def _differ(mirror: Mirror, version: str, row: Method, params: Params) -> bool:
    name = getattr(params, row.mirrored) if row.mirrored is not None else None
    return disagreement(mirror, version, row.name, name) is not None


def _fits(mirror: Mirror, session: Session, row: Method) -> bool:
    """Whether the version header, if there is one, names the revision that the session speaks."""
    return (
        mirror.version is None
        or mirror.version == session.envelope.revision.name
        or row.name == INITIALIZE
    )


def _turned_away(
    message: Message,
    row: Method | None,
    table: Table,
    mirror: Mirror | None,
    session: Session | Refusal | None,
) -> Refusal:
    found = refusal(message, row, table, mirror, session)
    # The ladder finds what was turned away; should it not, the sender is told that much.
    return found or Refusal(INVALID_REQUEST, "Not a request that can be taken", id=id_of(message))


class Dispatch:
    """Calls of one service, run and answered. One a service; holds what every answer repeats."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._handle = service.handle
        self._info = members(encode({SERVER_INFO: service.info}))
        self._own_meta = Raw(encode(self._info))
        meta = b'"_meta":%b' % self._own_meta
        self._plain = b'"resultType":"complete",' + meta + b"}"
        self._asks = b'"resultType":"input_required",' + meta + b"}"
        self._unkept = b'"ttlMs":0,"cacheScope":"private",' + self._plain

    async def respond(self, call: Call) -> tuple[bytes, int]:
        """Run *call* and encode what comes of it; and the status that HTTP gives it.

        Only cancellation comes out as an exception.
        """
        try:
            try:
                result = await self._handle(call)
                if isinstance(result, InputRequired) and call.session is not None:
                    result = await rounds(self._handle, call, result, _asker(call))
                return self.response(call, result), 200
            except RpcError as error:
                return self.error(call, error)
        except (Exception, SystemExit) as error:
            # The boundary: what a handler did not expect, or returned though it cannot be encoded,
            # is ours to report and nobody else's to read. Libraries that parse command lines exit.
            return self.mishap(call, error)

    def error(self, call: Call, error: RpcError) -> tuple[bytes, int]:
        """A handler's error as this call's revision writes it. Raises if its data is no JSON."""
        code = error.code
        modern = call.envelope.revision.modern
        if modern:
            code = modern_code(code)
        elif code in NOT_LEGACY:
            code = NOT_LEGACY[code]
        elif call.method == "resources/read" and code == INVALID_PARAMS and _names_uri(error.data):
            # Not found had a code of its own up to 2025-11-25.
            code = LEGACY_RESOURCE_NOT_FOUND
        body = failure(call.id, code, error.message, error.data)
        if isinstance(error, InsufficientScope):
            # HTTP's in either era, with what would be enough (§ Authorization, Scope Challenge).
            call.missing = error.scopes
            return body, 403
        return body, STATUS.get(code, 200) if modern else 200

    def mishap(self, call: Call, error: BaseException) -> tuple[bytes, int]:
        """What a caller is told of an unexpected *error*: a number to quote; the log has the rest."""
        incident = os.urandom(4).hex()
        log.error("%s failed (incident %s)", call.method, incident, exc_info=error)
        return failure(call.id, INTERNAL_ERROR, f"Internal error (incident {incident})"), 200

    def response(self, call: Call, result: object) -> bytes:
        """The response that *result* makes. What is JSON already is copied once: it may be large.

        Raises what `body` does.
        """
        row = call.row
        if type(result) is row.result and not row.cacheable and result.meta is None:
            # Most are: nothing raw, nothing to ask, nothing said of keeping it.
            encoded = encode(result)
            size = len(encoded)
            if size > AMPLE:
                return self._spliced(call, encoded)
            if not call.envelope.revision.modern:
                return success(call.id, encoded)
            if size > 2:
                return _ANSWER % (encode(call.id), encoded[:-1], self._plain)
        if type(result) is not RawResult:
            return success(call.id, self.body(call, result))
        if result.relayed:
            fields = result.fields if result.fields is not None else members(result.body)
            return encode(
                {"jsonrpc": "2.0", "id": call.id, "result": self._restamped(call, fields)}
            )
        return self._spliced(call, result.body)

    def body(self, call: Call, result: object) -> bytes | Raw:
        """*result* as JSON, with what the call's era adds to it and without what it does not know.

        Raises `TypeError` for what is no result: handlers are other people's.
        """
        modern = call.envelope.revision.modern
        if type(result) is RawResult:
            if result.relayed:
                return self._restamp(call, result.body)
            return self._stamp(bytes(result.body), self._plain) if modern else result.body
        if isinstance(result, InputRequired):
            _may_ask(call, result)
            return self._restamp(call, encode(result), asks=True)
        if not isinstance(result, Result):
            raise TypeError(f"{call.method} was handled with {type(result).__name__}, not a Result")
        if not modern:
            if isinstance(result, CacheableResult) and result.ttl_ms is not None:
                result = msgspec.structs.replace(result, ttl_ms=None, cache_scope=None)
            return encode(result)
        stamp = self._plain
        if isinstance(result, CacheableResult) and (
            result.ttl_ms is None or result.cache_scope is None
        ):
            result = msgspec.structs.replace(result, ttl_ms=None, cache_scope=None)
            stamp = self._unkept
        if result.meta is not None:
            return self._restamp(call, encode(result))
        return self._stamp(encode(result), stamp)

    def _spliced(self, call: Call, body: bytes | Raw) -> bytes:
        """The response around *body*, which is copied once: formatting would do it twice."""
        opening = b'{"jsonrpc":"2.0","id":%b,"result":' % encode(call.id)
        if not call.envelope.revision.modern:
            return b"".join((opening, body, b"}"))
        last = b",%b}" if len(body) > 2 else b"%b}"
        return b"".join((opening, memoryview(body)[:-1], last % self._plain))

    def _stamp(self, encoded: bytes, stamp: bytes) -> bytes:
        # Every object we encode ends in "}" and opens in "{": splice instead of building anew.
        if len(encoded) == 2:
            return b"{" + stamp
        return encoded[:-1] + b"," + stamp

    def _restamp(self, call: Call, encoded: bytes | Raw, *, asks: bool = False) -> bytes:
        """The same for a result that has stamps already, perhaps of another era."""
        fields = members(encoded)
        if asks:
            fields.setdefault("resultType", _INPUT_REQUIRED)
        return encode(self._restamped(call, fields))

    def _restamped(self, call: Call, fields: dict[str, Raw]) -> dict[str, Raw]:
        """A result's members with the stamps of this hop and era; *fields* stay as they are."""
        kind = fields.get("resultType", _COMPLETE)
        given = fields.get("_meta")
        meta = members(given) if given is not None else {}
        if call.envelope.revision.modern:
            own = Raw(encode({**meta, **self._info})) if meta else self._own_meta
            stamped = {**fields, "resultType": kind, "_meta": own}
            if call.row.cacheable and kind == _COMPLETE:
                stamped.setdefault("ttlMs", _ZERO)
                stamped.setdefault("cacheScope", _PRIVATE)
            return stamped
        if kind != _COMPLETE:
            raise _unasked(call)
        bare = {name: value for name, value in fields.items() if name not in _STAMPS}
        meta.pop(SERVER_INFO, None)
        if meta:
            bare["_meta"] = Raw(encode(meta))
        return bare


_STAMPS: Final = frozenset({"resultType", "ttlMs", "cacheScope", "_meta"})
_COMPLETE: Final = Raw(b'"complete"')
_ANSWER: Final = b'{"jsonrpc":"2.0","id":%b,"result":%b,%b}'
"""A response, but for the id, the result without its closing brace, and its stamps."""
_INPUT_REQUIRED: Final = Raw(b'"input_required"')
_ZERO: Final = Raw(b"0")
_PRIVATE: Final = Raw(b'"private"')


def modern_code(code: int) -> int:
    """The code that an error of *code* goes out with from 2026-07-28 on."""
    code = NOT_MODERN.get(code, code)
    return INTERNAL_ERROR if code in RESERVED and code not in STATUS else code


def _names_uri(data: Any) -> bool:
    return isinstance(data, dict) and "uri" in data


def _unasked(call: Call) -> RpcError:
    return RpcError(
        INVALID_REQUEST,
        f"{call.method} needs input that a {call.envelope.revision} client cannot be asked for "
        "this way; connect with 2026-07-28",
    )


def _asker(call: Call) -> Ask:
    """Asks a legacy client on the call's stream what a handler returned as questions."""

    async def ask(method: str, params: Raw, key: str) -> Raw:
        if missing := lacking(call.envelope, needs(method, msgspec.json.decode(params))):
            raise MissingCapability(missing)
        return await call.outlet.ask(method, params, key=key)

    return ask


def _may_ask(call: Call, result: InputRequired) -> None:
    """Raise unless this call's client may be asked these questions (2026-07-28 § MRTR)."""
    if not call.envelope.revision.modern:
        raise _unasked(call)
    if not call.row.may_ask:
        raise TypeError(f"{call.method} cannot be answered with InputRequired")
    if not result.input_requests and result.request_state is None:
        raise TypeError("InputRequired needs input_requests, a request_state, or both")
    missing: dict[str, dict[str, Any]] = {}
    for question in (result.input_requests or {}).values():
        needed = needs(question.get("method", ""), question.get("params") or {})
        for name, parts in lacking(call.envelope, needed).items():
            missing.setdefault(name, {}).update(parts)
    if missing:
        raise MissingCapability(missing)
