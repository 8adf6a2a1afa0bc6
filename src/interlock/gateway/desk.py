"""Whom a server means with what comes beside its answers: questions, log lines, ended visits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from msgspec import Raw

from interlock.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MissingCapability,
    RpcError,
)
from interlock.gateway.relay import EVERYTHING, Relay, undeclared
from interlock.protocol.call import Call, Handler
from interlock.protocol.outlet import Outlet
from interlock.protocol.session import Session
from interlock.version import VERSION
from interlock.wire.inputs import ELICIT, ElicitParams
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import EmptyResult, Implementation, RawResult, Result
from interlock.wire.methods import PING
from interlock.wire.notices import ELICITED, MESSAGE, ElicitedNotice
from interlock.wire.versions import V2025_11_25

VISIT_FIRST: Final = -32042
"""The error by which a 2025-11-25 server says that a person has to visit a URL before the call."""
VISITS: Final = 1000
"""How many visits of one server are remembered until it says that they ended."""
AT_ONCE: Final = 16
"""To how many places one error may send a person."""

_visit: Final = msgspec.json.Decoder(ElicitParams)


class RelayDesk:
    """Takes what a server says and asks to the caller whose call it works on.

    Over HTTP it comes on that call's own stream. Over a pipe, and on a session's standing stream,
    nothing tells whose it is: log lines then go to all who wait, and a question to a call whose
    caller can answer it, as long as all who wait are one principal: the newest of those that are
    asked least, since a modern caller hears of a question only as the answer to its call. What a
    server logs while nobody waits is *unheard*.

    A caller's change of roots is not passed on: the server was not told that there is such a
    notice, and asks for the roots of whoever calls.
    """

    def __init__(self, unheard: Callable[[Raw], None] = lambda line: None) -> None:
        self.info = Implementation(name="interlock-gateway", version=VERSION)
        self.capabilities = EVERYTHING
        self.handle: Handler = self._handle
        self.running: dict[Outlet, None] = {}
        """The calls that wait, oldest first: whoever sends one keeps its relay here meanwhile."""
        self._unheard = unheard
        self.asking: dict[Outlet, set[asyncio.Future[Raw]]] = {}
        """What the callers of which calls are being asked; `over` ends it with a call."""
        self._visits: dict[str, tuple[Session, Outlet | None]] = {}

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def ask(self, method: str, params: Raw, key: str) -> Raw:
        """A modern server may ask only during calls, which do not come here."""
        raise RpcError(METHOD_NOT_FOUND, f"Nobody can be asked {method} here")

    def logged(self, line: Raw) -> None:
        """A log line came that does not say which call it belongs to."""
        relays = self._relays()
        if not relays:
            self._unheard(line)
        elif _one_principal(relays):
            for relay in relays:
                relay.notify(MESSAGE, line)

    def visited(self, number: str) -> None:
        """What a person was sent to visit is done there: tell the client that sent them."""
        visit = self._visits.pop(number, None)
        if visit is None:
            return
        session, outlet = visit
        waits = any(relay.call.outlet is outlet for relay in self._relays())
        way = outlet if outlet is not None and waits else session.standing
        way.notify(ELICITED, ElicitedNotice(elicitation_id=number))

    def refused(self, call: Call, error: RpcError) -> None:
        """A call was answered with *error*, which may send a person somewhere."""
        if call.session is not None:
            for visit in visits_of(error):
                if visit.elicitation_id is not None:
                    self._remember(visit.elicitation_id, call.session, None)

    def over(self, relay: Outlet) -> None:
        """A call ended while something was asked of its caller: nobody waits for that any more."""
        for asking in self.asking.get(relay, ()):
            asking.cancel()

    async def _handle(self, call: Call) -> Result:
        if call.method == PING:
            return EmptyResult()
        while True:
            relay = self._relay_of(call)
            try:
                answer = await self._answer(relay, call)
            except _Over as over:
                if call.asked_on is relay:
                    raise RpcError(INTERNAL_ERROR, str(over)) from None
                # It was not this call's, if the server still wants to know: somebody else's then.
            except MissingCapability as missing:
                # In the words of servers that know no such error.
                raise RpcError(INVALID_PARAMS, missing.message) from None
            else:
                return RawResult(body=answer, relayed=True)

    async def _answer(self, relay: Relay, call: Call) -> Raw:
        """What the caller of *relay* answers; raises `_Over` if its call ends before it does."""
        params: Any = call.params
        session = relay.call.session
        if call.method == ELICIT and params.elicitation_id is not None and session is not None:
            self._remember(params.elicitation_id, session, relay.call.outlet)
        asking = asyncio.ensure_future(relay.ask(call.method, call.raw))
        of_relay = self.asking.setdefault(relay, set())
        of_relay.add(asking)
        try:
            return await asking
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # The server takes its question back.
            raise _Over(f"{call.method}: the call was over before its caller answered") from None
        finally:
            of_relay.discard(asking)
            if not of_relay:
                self.asking.pop(relay, None)

    def _relay_of(self, call: Call) -> Relay:
        if isinstance(call.asked_on, Relay):
            return call.asked_on
        relays = self._relays()
        if not relays:
            raise RpcError(METHOD_NOT_FOUND, f"{call.method} can be asked in calls only; none runs")
        if not _one_principal(relays):
            raise RpcError(
                INVALID_REQUEST,
                f"{call.method} cannot be told to belong to one of several callers; serve over "
                "HTTP, where it can",
            )
        # Where none can, the newest says so.
        able = [
            each for each in relays if not undeclared(each.call.envelope, call.method, call.raw)
        ]
        return min(reversed(able or relays), key=lambda relay: len(self.asking.get(relay, ())))

    def _relays(self) -> list[Relay]:
        return [relay for relay in self.running if isinstance(relay, Relay)]

    def _remember(self, number: str, session: Session, outlet: Outlet | None) -> None:
        if session.envelope.revision >= V2025_11_25:
            self._visits[number] = (session, outlet)
            while len(self._visits) > VISITS:
                del self._visits[next(iter(self._visits))]


class _Over(Exception):
    """The call whose caller was asked has ended."""


def visits_of(error: RpcError) -> list[ElicitParams]:
    """Where an error sends a person before the call can be answered; nowhere if it cannot be read."""
    data: Any = error.data
    if error.code != VISIT_FIRST or not isinstance(data, dict):
        return []
    asked: Any = cast("dict[str, Any]", data).get("elicitations")
    if not isinstance(asked, list):
        return []
    try:
        visits = [_visit.decode(encode(each)) for each in cast("list[Any]", asked)[:AT_ONCE]]
    except UNREADABLE:
        return []
    return [visit for visit in visits if visit.mode == "url" and visit.url]


def _one_principal(relays: list[Relay]) -> bool:
    return len({relay.call.principal for relay in relays}) <= 1
