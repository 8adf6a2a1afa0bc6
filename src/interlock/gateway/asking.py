"""Calls that may come back with questions, for each pair of eras.

    caller   server   what happens
    modern   modern   the questions go through as they are; the server's state travels sealed in ours
    modern   legacy   the server asks in the middle: the call is parked here until the caller retries
    legacy   modern   the caller is asked on its stream, and the server called again with the answers
    legacy   legacy   the question is handed on from one stream to the other

Only the first two are this room's; the others happen where the call is sent upstream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from interlock.errors import InvalidMessage, RpcError
from interlock.gateway.catalog import Found
from interlock.gateway.desk import visits_of
from interlock.gateway.relay import Relay, reworded
from interlock.protocol.call import Call
from interlock.protocol.sealing import Keyring, Unsealed, binding, unusable
from interlock.server.parking import TICKET, Parking, Run, askable
from interlock.wire.inputs import ELICIT, ElicitResult
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import RawResult, Result, members

WRAPPED: Final = "via."
"""What a state of ours begins with that holds one of a server's."""
SECONDS: Final = 3600.0
"""How long we carry a server's state; it may set it a shorter time itself."""

Forward = Callable[[Found, Call, Call], Awaitable[RawResult]]
"""Sends a call whose names are the server's own upstream, on behalf of the one that came."""

VISITED: Final = 4
"""How often a call may be refused until a person has been somewhere."""

_elicited: Final = msgspec.json.Decoder(ElicitResult)
_pair: Final = msgspec.json.Decoder(tuple[str, str])
_text: Final = msgspec.json.Decoder(str)


class Asking:
    """*keyring* seals what travels through callers: gateways that share a port need the same."""

    def __init__(self, keyring: Keyring, forward: Forward) -> None:
        self.parking = Parking(keyring)
        self._keyring = keyring
        self._forward = forward

    async def relay(self, found: Found, call: Call, *, modern: bool, **names: str) -> Result:
        """Relay *call* under its *names* at a server that is *modern* or not."""
        if call.session is not None:
            return await self._forward(found, call.with_members(**names), call)
        params: Any = call.params
        state: str | None = params.request_state
        if not modern or (state is not None and state.startswith(TICKET)):
            return await self.held(call, lambda own: self.visiting(found, own, names))
        renamed = call.with_members(**names)
        if state is not None:
            fields = renamed.fields
            assert fields is not None
            fields["requestState"] = Raw(encode(self._theirs(found, call, state)))
        return await self._forward(found, renamed, call)

    async def held(self, call: Call, run: Run) -> Result:
        """Run a call in whose middle its caller may be asked: parked, where that has to call again."""
        params: Any = call.params
        state: str | None = params.request_state
        if call.session is None and (
            state.startswith(TICKET) if state is not None else askable(call.envelope.capabilities)
        ):
            return await self.parking.hold(call, run)
        return await run(call)

    def wrapped(self, found: Found, call: Call, result: RawResult) -> RawResult:
        """A modern server's questions as a modern caller gets them: its state inside one of ours.

        Raises `MissingCapability` for what the caller did not declare, which the server should not
        have asked, and `InvalidMessage` for what cannot be read.
        """
        if not call.row.may_ask:
            raise InvalidMessage(f"{call.method} was answered with questions, which it may not be")
        try:
            fields = members(result.body)
            if (questions := fields.get("inputRequests")) is not None:
                fields["inputRequests"] = reworded(call, questions, found.server)
            if (state := fields.get("requestState")) is not None:
                inner = encode((found.server, _text.decode(state)))
                sealed = self._keyring.seal(inner, bound=binding(call), ttl=SECONDS)
                fields["requestState"] = Raw(encode(WRAPPED + sealed))
        except (ValueError, *UNREADABLE) as error:
            raise InvalidMessage(
                f"{call.method} was answered with questions that cannot be read: {error}"
            ) from None
        return RawResult(body=Raw(encode(fields)), relayed=True, kind=result.kind)

    async def visiting(self, found: Found, call: Call, names: dict[str, str]) -> Result:
        """Relay a call that need not be parked, to a server that may have to be called again.

        That is how it asks for a visit that has to come first; a modern caller is asked for it as
        for anything else (2025-11-25 § Elicitation, URL Elicitation Required Error).
        """
        left = VISITED
        while True:
            try:
                return await self._forward(found, call.with_members(**names), call)
            except RpcError as error:
                visits = visits_of(error)
                if not visits or not left:
                    raise
                relay = Relay(call, found.server)
                answers = await asyncio.gather(*(relay.ask(ELICIT, visit) for visit in visits))
                if any(_elicited.decode(answer).action != "accept" for answer in answers):
                    raise
                left -= 1

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
