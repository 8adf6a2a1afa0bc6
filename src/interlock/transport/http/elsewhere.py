"""A legacy session as other processes know it: what a table holds of it, and how it is taken up."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from interlock.protocol.call import LOCAL, Call, Principal
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.session import Session, State
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.lifecycle import InitializeParams
from interlock.wire.meta import ClientCapabilities, Implementation, LogLevel, Params
from interlock.wire.methods import BY_NAME, INITIALIZE
from interlock.wire.resources import SubscribeParams

log: Final = logging.getLogger("interlock.http")


class Known(Struct, frozen=True, omit_defaults=True):
    """What a session has settled so far. *owner* is who began it, as its subject, issuer and client;
    empty for whoever was not asked.
    """

    revision: str
    client: Implementation | None = None
    capabilities: ClientCapabilities = ClientCapabilities()
    log_level: LogLevel | None = None
    ready: bool = False
    watched: tuple[str, ...] = ()
    owner: tuple[str, str, str] | None = None

    @property
    def owned(self) -> Principal:
        return Principal(*self.owner) if self.owner is not None else LOCAL


_known: Final = msgspec.json.Decoder(Known)

Meet: TypeAlias = Callable[[Session, Known], Awaitable[None]]
"""Brings a session here to where others have brought it."""


def known_of(session: Session, owner: Principal = LOCAL) -> Known:
    envelope = session.envelope
    who = (owner.subject, owner.issuer, owner.client_id)
    return Known(
        envelope.revision.name,
        envelope.client,
        envelope.capabilities,
        envelope.log_level,
        session.state is State.READY,
        tuple(sorted(session.watched)),
        who if any(who) else None,
    )


def write(session: Session, owner: Principal = LOCAL) -> bytes:
    """What others have to know of *session*; the same as long as nothing changes."""
    return encode(known_of(session, owner))


def read(value: bytes) -> Known | None:
    """What a table holds of a session; None if it cannot be read, as after a change of version."""
    try:
        return _known.decode(value)
    except UNREADABLE as error:
        log.warning("a session in the table cannot be read: %s", error)
        return None


def merged(before: Known, ours: Known, theirs: Known) -> Known:
    """What two processes made of *before* at once: each of their changes, ours if they disagree."""
    was, mine = set(before.watched), set(ours.watched)
    return msgspec.structs.replace(
        theirs,
        log_level=theirs.log_level if ours.log_level == before.log_level else ours.log_level,
        ready=theirs.ready or ours.ready,
        watched=tuple(sorted((set(theirs.watched) - (was - mine)) | (mine - was))),
    )


def meeting(dispatch: Dispatch) -> Meet:
    """Take a session up by saying to the service what its client said elsewhere.

    The service learns of it as it would have here: from `initialize`, and from what is subscribed to.
    """

    async def say(session: Session, owner: Principal, method: str, params: Params) -> None:
        call = Call(BY_NAME[method], params, session.envelope, owner, session=session, id=_ID)
        await dispatch.respond(call)

    async def meet(session: Session, known: Known) -> None:
        if session.state is State.NEW:
            client = known.client or Implementation(name="", version="")
            greeting = InitializeParams(
                protocol_version=known.revision,
                capabilities=known.capabilities,
                client_info=client,
            )
            session.open(greeting)
            await say(session, known.owned, INITIALIZE, greeting)
        if known.ready:
            session.initialized()
        if known.log_level is not None:
            session.set_level(known.log_level)
        here, there = session.watched, frozenset(known.watched)
        for uri in there - here:
            await say(session, known.owned, "resources/subscribe", SubscribeParams(uri=uri))
        for uri in here - there:
            await say(session, known.owned, "resources/unsubscribe", SubscribeParams(uri=uri))

    return meet


_ID: Final = "elsewhere"
