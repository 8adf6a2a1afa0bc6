"""Why a request is none: one ladder an era, climbed until a rung breaks. A refusal is a value.

    modern:  shape of `_meta` → mirrored headers → version → method → params
    legacy:  session → version header → handshake → method → params

The modern order is the one the official suite expects (2026-07-28 § Base protocol). Only requests
that `dispatch.admit` did not take come here, so a rung may be slow and thorough; what it finds must
be what `admit` turned away, no more and no less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias, final

import msgspec
from msgspec import UNSET, Raw, Struct, field

from interlock.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    UNSUPPORTED_VERSION,
)
from interlock.protocol.session import EARLY, Session, State
from interlock.wire.decoding import Decoder
from interlock.wire.jsonrpc import UNREADABLE, Fault, Message, failure, id_of
from interlock.wire.meta import CLIENT_CAPABILITIES, PROTOCOL_VERSION, Id, RequestMeta
from interlock.wire.methods import INITIALIZE, Method
from interlock.wire.versions import BY_NAME as REVISIONS
from interlock.wire.versions import MODERN

Table: TypeAlias = dict[str, dict[str, Method]]
"""What one side answers, by revision and method: `methods.TO_SERVER` or `methods.TO_CLIENT`."""


@final
class Refusal(Struct, frozen=True):
    """A message that is answered with an error, and the status that HTTP gives it."""

    code: int
    message: str
    data: Any = None
    id: Id | None = None
    status: int = 400

    def encode(self) -> bytes:
        return failure(self.id, self.code, self.message, self.data)

    @classmethod
    def of(cls, fault: Fault) -> Refusal:
        return cls(fault.code, fault.message, None, fault.id)


class Mirror(Struct):
    """What the headers of an HTTP request repeat of its body; None where one is missing.

    *fault* says why the name could not be decoded. *headers* are those that may mirror a tool's
    arguments, as they came, names in lower case: which of them do only its schema tells.
    """

    version: str | None = None
    method: str | None = None
    name: str | None = None
    fault: str | None = None
    headers: Iterable[tuple[bytes, bytes]] = ()


class Suspect(Struct):
    """A request that was not taken, and what it is held against."""

    message: Message
    row: Method | None
    table: Table
    mirror: Mirror | None
    session: Session | Refusal | None
    meta: dict[str, Any] = {}
    complaint: str | None = None
    """Why params are no object with a readable `_meta`; None if they are."""


Rung: TypeAlias = Callable[[Suspect], Refusal | None]


def refusal(
    message: Message,
    row: Method | None,
    table: Table,
    mirror: Mirror | None,
    session: Session | Refusal | None,
) -> Refusal | None:
    """What the first rung that breaks says; None for a request that nothing is wrong with."""
    suspect = Suspect(message, row, table, mirror, session)
    try:
        suspect.meta = _any_object.decode(_head.decode(message.params or b"{}").meta or b"{}")
    except UNREADABLE as error:
        suspect.complaint = f"Invalid params: {error}"
    for rung in MODERN_RUNGS if _is_modern(suspect) else LEGACY_RUNGS:
        found = rung(suspect)
        if found is not None:
            return msgspec.structs.replace(found, id=id_of(message))
    return None


def disagreement(mirror: Mirror, version: str, method: str, name: str | None) -> str | None:
    """What the headers say differently from the body (2026-07-28 § Streamable HTTP, Headers).

    *name* is what the body says where the method mirrors a name, None where it does not.
    """
    if mirror.version != version:
        return _differs("MCP-Protocol-Version", mirror.version, version)
    if mirror.method != method:
        return _differs("Mcp-Method", mirror.method, method)
    if name is None:
        return None
    if mirror.fault is not None:
        return mirror.fault
    return _differs("Mcp-Name", mirror.name, name) if mirror.name != name else None


def _differs(header: str, said: str | None, body: str) -> str:
    if said is None:
        return f"The header {header} is missing; the body says {body!r}"
    return f"The header {header} says {said!r}, the body says {body!r}"


class _Head(Struct):
    meta: Raw = field(default=Raw(), name="_meta")


_head: Final = Decoder(_Head)
_any_object: Final = Decoder(dict[str, Any])
_request_meta: Final = Decoder(RequestMeta)


def _is_modern(suspect: Suspect) -> bool:
    if PROTOCOL_VERSION in suspect.meta:
        return True
    if suspect.message.method == INITIALIZE:
        return False  # Whatever its header says: what to speak is settled in its body.
    if suspect.mirror is not None and suspect.mirror.version in MODERN:
        return True
    session, row = suspect.session, suspect.row
    if isinstance(session, Session) and session.state is not State.NEW:
        return False
    # It says what only modern requests say, if not all of it.
    return CLIENT_CAPABILITIES in suspect.meta or (row is not None and row.since.modern)


# The modern rungs.


def _meta(suspect: Suspect) -> Refusal | None:
    if suspect.complaint is not None:
        return Refusal(INVALID_PARAMS, suspect.complaint)
    for key, kind, noun in (
        (PROTOCOL_VERSION, str, "a string"),
        (CLIENT_CAPABILITIES, dict, "an object"),
    ):
        if not isinstance(suspect.meta.get(key), kind):
            return Refusal(INVALID_PARAMS, f"Invalid params: _meta must have {key!r} as {noun}")
    try:
        _request_meta.decode(_head.decode(suspect.message.params).meta)
    except UNREADABLE as error:
        return Refusal(INVALID_PARAMS, f"Invalid params: _meta: {error}")
    return None


def _headers(suspect: Suspect) -> Refusal | None:
    mirror, row, method = suspect.mirror, suspect.row, suspect.message.method
    if mirror is None or method is UNSET:
        return None
    name: Any = None
    if row is not None and row.mirrored is not None:
        member = row.mirrored_member or ""
        name = _any_object.decode(suspect.message.params).get(member)
    # A name that is no string is for the last rung to find.
    said = disagreement(
        mirror, suspect.meta[PROTOCOL_VERSION], method, name if isinstance(name, str) else None
    )
    return Refusal(HEADER_MISMATCH, said) if said is not None else None


def _version(suspect: Suspect) -> Refusal | None:
    version: str = suspect.meta[PROTOCOL_VERSION]
    if version in MODERN:
        return None
    return Refusal(
        UNSUPPORTED_VERSION,
        f"Unsupported protocol version {version!r}",
        {"supported": sorted(MODERN), "requested": version},
    )


def _modern_method(suspect: Suspect) -> Refusal | None:
    return _missing(suspect, suspect.meta[PROTOCOL_VERSION], status=404)


def _modern_params(suspect: Suspect) -> Refusal | None:
    return _malformed(suspect, status=400)


# The legacy rungs.


def _session(suspect: Suspect) -> Refusal | None:
    if isinstance(suspect.session, Session):
        return None
    return suspect.session or Refusal(
        INVALID_REQUEST,
        f"{suspect.message.method} needs a session: send initialize first, or name "
        f"{PROTOCOL_VERSION} in _meta",
    )


def _version_header(suspect: Suspect) -> Refusal | None:
    session = _session_of(suspect)
    header = suspect.mirror.version if suspect.mirror is not None else None
    if header is None or suspect.message.method == INITIALIZE:
        return None
    if header not in REVISIONS:
        known = ", ".join(REVISIONS)
        return Refusal(
            INVALID_REQUEST, f"Unsupported MCP-Protocol-Version {header!r}; known are {known}"
        )
    settled = session.envelope.revision.name
    if header == settled:
        return None
    return Refusal(
        INVALID_REQUEST,
        f"The header MCP-Protocol-Version says {header!r}; this session settled on {settled!r}",
    )


def _handshake(suspect: Suspect) -> Refusal | None:
    session, method = _session_of(suspect), suspect.message.method
    if session.state is State.NEW and method not in EARLY:
        return Refusal(INVALID_REQUEST, f"{method} came before initialize")
    if session.state is not State.NEW and method == INITIALIZE:
        return Refusal(INVALID_REQUEST, "initialize came a second time in one session")
    return None


def _legacy_method(suspect: Suspect) -> Refusal | None:
    return _missing(suspect, _session_of(suspect).envelope.revision.name, status=200)


def _legacy_params(suspect: Suspect) -> Refusal | None:
    return _malformed(suspect, status=200)


# Both.


def _missing(suspect: Suspect, revision: str, *, status: int) -> Refusal | None:
    row = suspect.row
    if row is not None and row.name in suspect.table[revision]:
        return None
    method = suspect.message.method
    return Refusal(METHOD_NOT_FOUND, f"Method not found: {method}", status=status)


def _malformed(suspect: Suspect, *, status: int) -> Refusal | None:
    row = suspect.row
    assert row is not None  # or the rung before had broken
    try:
        row.decoder.decode(suspect.message.params or b"{}")
    except UNREADABLE as error:
        return Refusal(INVALID_PARAMS, f"Invalid params of {row.name}: {error}", status=status)
    return None


def _session_of(suspect: Suspect) -> Session:
    assert isinstance(suspect.session, Session)  # or the first rung had broken
    return suspect.session


MODERN_RUNGS: Final[tuple[Rung, ...]] = (_meta, _headers, _version, _modern_method, _modern_params)
LEGACY_RUNGS: Final[tuple[Rung, ...]] = (
    _session,
    _version_header,
    _handshake,
    _legacy_method,
    _legacy_params,
)
