"""Arrays of messages over HTTP: one POST, many messages, one response (2025-03-26 alone)."""

from __future__ import annotations

from msgspec import UNSET

from interlock.errors import INVALID_REQUEST
from interlock.protocol.call import LOCAL, Call, Principal
from interlock.protocol.dispatch import admit
from interlock.protocol.exchange import ALONE
from interlock.protocol.ladder import Mirror, Refusal
from interlock.transport.http.sessions import HttpSession
from interlock.wire.jsonrpc import Fault, read, read_batch
from interlock.wire.methods import TO_SERVER


def several(body: bytes, session: HttpSession | None) -> list[bytes] | Fault | None:
    """The messages in *body*, if it is an array in a session that may have those."""
    if session is None or not session.session.envelope.revision.batches:
        return None
    return read_batch(body)


def sort(
    found: list[bytes], session: HttpSession, mirror: Mirror, principal: Principal = LOCAL
) -> tuple[list[Call], list[bytes]]:
    """The calls among *found*, and the errors that answer what is none of them.

    Notifications and responses are taken on the way.
    """
    calls: list[Call] = []
    errors: list[bytes] = []
    for data in found:
        message = read(data)
        if type(message) is Fault:
            session.spoil(message)
            errors.append(Refusal.of(message).encode())
            continue
        number = message.id
        if message.method is UNSET or number is UNSET or number is None:
            session.take(message)
            continue
        belongs = session.room_for(number)
        if any(call.id == number for call in calls):
            belongs = Refusal(INVALID_REQUEST, f"The id {number!r} is in this batch twice")
        call = admit(message, TO_SERVER, mirror, belongs, principal)
        if type(call) is Call and call.session is None:
            call = Refusal(INVALID_REQUEST, ALONE, id=number)
        if type(call) is Refusal:
            errors.append(call.encode())
        else:
            calls.append(call)
    return calls, errors
