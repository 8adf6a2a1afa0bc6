"""Calls that may come back with questions, for each pair of eras.

    caller   server   what happens
    modern   modern   the questions go through as they are; the server's state travels sealed in ours
    modern   legacy   the server asks in the middle: the call is parked here until the caller retries
    legacy   modern   the caller is asked on its stream, and the server called again with the answers
    legacy   legacy   the question is handed on from one stream to the other

Only the first two are this room's; the others happen where the call is sent upstream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from interlock.gateway.catalog import Found
from interlock.gateway.relay import attributed
from interlock.protocol.call import Call
from interlock.protocol.sealing import Keyring, Unsealed, binding, unusable
from interlock.server.parking import TICKET, Parking, askable
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import RawResult, Result, members

WRAPPED: Final = "via."
"""What a state of ours begins with that holds one of a server's."""
SECONDS: Final = 3600.0
"""How long we carry a server's state; it may set it a shorter time itself."""

Forward = Callable[[Found, Call, Call], Awaitable[RawResult]]
"""Sends a call whose names are the server's own upstream, on behalf of the one that came."""

_pair: Final = msgspec.json.Decoder(tuple[str, str])
_text: Final = msgspec.json.Decoder(str)
_questions: Final = msgspec.json.Decoder(dict[str, dict[str, Raw]])


class Asking:
    """*keyring* seals what travels through callers: gateways that share a port need the same."""

    def __init__(self, keyring: Keyring, forward: Forward) -> None:
        self.parking = Parking(keyring)
        self._keyring = keyring
        self._forward = forward

    async def relay(self, found: Found, call: Call, *, modern: bool, **names: str) -> Result:
        """Relay *call* under its *names* at a server that is *modern* or not."""
        params: Any = call.params
        state: str | None = params.request_state
        if call.session is None and (
            state.startswith(TICKET)
            if state is not None
            else not modern and askable(call.envelope.capabilities)
        ):
            return await self.parking.hold(
                call, lambda own: self._forward(found, own.with_members(**names), own)
            )
        renamed = call.with_members(**names)
        if call.session is None and state is not None:
            fields = renamed.fields
            assert fields is not None
            fields["requestState"] = Raw(encode(self._theirs(found, call, state)))
        return await self._forward(found, renamed, call)

    def wrapped(self, found: Found, call: Call, result: RawResult) -> RawResult:
        """A modern server's questions as a modern caller gets them: its state inside one of ours."""
        fields = members(result.body)
        state = fields.get("requestState")
        try:
            if state is not None:
                inner = encode((found.server, _text.decode(state)))
                sealed = self._keyring.seal(inner, bound=binding(call), ttl=SECONDS)
                fields["requestState"] = Raw(encode(WRAPPED + sealed))
            questions = _questions.decode(fields.get("inputRequests", b"{}"))
            for question in questions.values():
                method = _text.decode(question["method"])
                question["params"] = attributed(method, question["params"], found.server)
        except (KeyError, ValueError, *UNREADABLE):
            return result  # Malformed; the caller will say so better than we could.
        if questions:
            fields["inputRequests"] = Raw(encode(questions))
        return RawResult(body=Raw(encode(fields)), relayed=True, kind=result.kind)

    def _theirs(self, found: Found, call: Call, state: str) -> str:
        """The server's own state in one that a caller sends back. Raises if it is no such thing."""
        if not state.startswith(WRAPPED):
            raise unusable(call, "it is not of our making")
        try:
            opened = self._keyring.open(state[len(WRAPPED) :], bound=binding(call))
        except Unsealed as why:
            raise unusable(call, str(why)) from None
        server, inner = _pair.decode(opened)
        if server != found.server:
            raise unusable(call, "it is another server's")
        return inner
