"""A legacy session as other processes know it: what a table holds of it, how it is taken up, and what
its client said to one process that another has to hear.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from interlock.errors import NotConnected, StoreError
from interlock.protocol.call import LOCAL, Call, Principal
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.session import Session, State
from interlock.store.ports import Bus, Unsubscribe
from interlock.transport.http.distant import Find, Relay
from interlock.wire.jsonrpc import UNREADABLE, Fault, Message, encode
from interlock.wire.jsonrpc import read as read_message
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

TOPIC: Final = "interlock/sessions"
WAITING: Final = 1000
"""How many words may wait to be said to the others; beyond it they are not told."""


class _Word(Struct, omit_defaults=True):
    """What the client of a session said where it is no news; empty once the session has ended."""

    origin: str
    session: str
    said: Raw | UnsetType = UNSET


_word: Final = msgspec.json.Decoder(_Word)

PassOn: TypeAlias = Callable[[str, Message | None], None]
Heard: TypeAlias = Callable[[str, Message | None], None]
"""Takes the id of a session and what its client said elsewhere, None if it was ended there."""


def _written(message: Message) -> bytes:
    """*message* as it came, near enough; what is not set in it is left out."""
    bodies = {name: getattr(message, name) for name in ("params", "result", "error")}
    heads = {"jsonrpc": message.jsonrpc, "id": message.id, "method": message.method}
    return encode(
        {name: value for name, value in heads.items() if value is not UNSET}
        | {name: body for name, body in bodies.items() if body}
    )


class Grapevine:
    """Passes on what a client said to the wrong process: an answer to a question that another asks,
    a cancellation of a call that another runs, the end of its session; and what happens on streams
    that are followed from elsewhere.

    Everybody hears everything, and who knows nothing of it lets it be. A bus that fails loses a word:
    the question stays open, and the call goes on.
    """

    def __init__(self, bus: Bus, heard: Heard, name: str, find: Find) -> None:
        self.streams = Relay(bus, name, find)
        self._bus = bus
        self._heard = heard
        self._origin = os.urandom(8).hex()
        self._listening: asyncio.Task[list[Unsubscribe]] | None = None
        self._saying: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Hear the others from now on. Does nothing if it does already."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._subscribe())
        try:
            await asyncio.shield(self._listening)
        except StoreError:
            self._listening = None
            raise

    async def _subscribe(self) -> list[Unsubscribe]:
        return [await self._bus.subscribe(TOPIC, self._hear), await self.streams.listen()]

    def pass_on(self, session: str, message: Message | None) -> None:
        if len(self._saying) >= WAITING:
            log.warning("the bus takes nothing; other processes do not hear what a client said")
            return
        said = Raw(_written(message)) if message is not None else UNSET
        self._do(self._say(encode(_Word(self._origin, session, said))))

    def close(self) -> None:
        """Hear no more. What was passed on is still said."""
        self.streams.close()
        listening, self._listening = self._listening, None
        if listening is not None:
            self._do(self._leave(listening))

    def _hear(self, message: bytes) -> None:
        try:
            word = _word.decode(message)
        except UNREADABLE as error:
            log.warning("a process passed on what cannot be read: %s", error)
            return
        if word.origin == self._origin:
            return
        said = read_message(bytes(word.said)) if word.said is not UNSET else None
        if type(said) is not Fault:
            self._heard(word.session, said)

    async def _say(self, word: bytes) -> None:
        try:
            await self._bus.publish(TOPIC, word)
        except (StoreError, NotConnected) as error:  # The latter once the store was closed.
            log.warning("other processes do not hear what a client said: %s", error)

    async def _leave(self, listening: asyncio.Task[list[Unsubscribe]]) -> None:
        with contextlib.suppress(StoreError, NotConnected):
            for leave in await listening:
                await leave()

    def _do(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)
