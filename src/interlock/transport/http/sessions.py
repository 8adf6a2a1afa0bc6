"""Legacy HTTP sessions: an id, what runs and what was asked in one, and its streams."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from interlock.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    ConnectionLost,
    RpcError,
    StoreError,
)
from interlock.protocol.call import LOCAL, Principal
from interlock.protocol.exchange import RUNNING_LIMIT, Running
from interlock.protocol.ladder import Refusal
from interlock.protocol.session import Session, State
from interlock.store.ports import Bus, Entry, Table
from interlock.transport.http.distant import Distant
from interlock.transport.http.elsewhere import (
    Grapevine,
    Meet,
    PassOn,
    known_of,
    log,
    merged,
    read,
    write,
)
from interlock.transport.http.streams import STANDING, Keep, Stream, Streams, is_event
from interlock.wire.jsonrpc import UNREADABLE, ErrorBody, Fault, Message, encode, notification
from interlock.wire.meta import Id, Wire
from interlock.wire.notices import CANCELLED, INITIALIZED, CancelledNotice

LIMIT: Final = 10_000
"""How many sessions one endpoint keeps."""
IDLE: Final = 30 * 60.0
"""For how many seconds it keeps one without a request, a running call or a standing stream."""
ROUND: Final = 30.0
"""How many seconds pass at most until idle sessions, and those ended elsewhere, are let go."""
ID_LENGTH: Final = 128
"""No session has a longer id."""
LOOKS: Final = 100
"""How many busy sessions are passed over at once in search of one that makes room."""
TRIES: Final = 5
"""How often what several processes change at once is written before it waits for the next request."""

_cancelled: Final = msgspec.json.Decoder(CancelledNotice)


class Standing:
    """The outlet of a session: its GET stream, from when its client first opened one.

    What comes while that is broken off waits for it to be resumed, as long as a stream waits.
    """

    __slots__ = ("stream",)

    def __init__(self) -> None:
        self.stream: Stream | None = None

    def notify(self, method: str, params: Wire | Raw) -> None:
        stream = self.stream
        if stream is not None and not stream.full:
            data = params if isinstance(params, Raw) else encode(params)
            stream.add(notification(method, data))

    async def drain(self) -> None:
        if self.stream is not None:
            await self.stream.drain()

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        # A question belongs on the stream of the call that asks it (SEP-2260).
        raise RpcError(METHOD_NOT_FOUND, f"{method} can only be asked during a call")

    def close_stream(self, retry: float) -> None:
        pass


class HttpSession:
    """One legacy client over HTTP, and its *owner*: who began it, whom alone it is there for.

    Most are idle: what only a busy one needs is made for it.
    """

    __slots__ = (
        "_keep",
        "_last_ask",
        "_pass_on",
        "_streams",
        "asked",
        "owner",
        "running",
        "saved",
        "session",
        "standing",
        "told",
        "touched",
        "version",
    )

    def __init__(
        self,
        id: str,
        keep: Keep,
        owner: Principal = LOCAL,
        pass_on: PassOn | None = None,
    ) -> None:
        """*pass_on* takes what is for calls that another process runs."""
        self.owner = owner
        self._pass_on = pass_on
        self.standing = Standing()
        self.session = Session(id, self.standing)
        self.running: dict[Id, Running] = {}
        self.asked: dict[Id, asyncio.Future[Message]] = {}
        self.touched = 0.0
        # What a table holds of it, if there is one: which version, and when it was last told.
        self.saved = b""
        self.version = 0
        self.told = 0.0
        self._keep = keep
        self._streams: Streams | None = None
        self._last_ask = 0

    @property
    def busy(self) -> bool:
        """Whether something of this session is going on at this moment."""
        standing = self.standing.stream
        return bool(self.running) or (standing is not None and standing.reader is not None)

    @property
    def streams(self) -> Streams:
        if self._streams is None:
            self._streams = Streams(self._keep)
        return self._streams

    @property
    def primes(self) -> bool:
        """Whether its streams open with an event that is only an id (SEP-1699).

        Clients of older revisions would read JSON in it.
        """
        return self.session.envelope.revision.primed_streams

    def stand(self) -> tuple[Stream, int]:
        """The standing stream, and where a client begins that resumes none: with what none heard."""
        stream = self._stand(self.streams.standing())
        return stream, stream.seen

    def resume(self, last_event: str) -> tuple[Stream, int] | None:
        """The stream that *last_event* was on, and its number there; None if it is not kept."""
        found = self.streams.find(last_event)
        if found is not None and found[0].number == STANDING:
            self._stand(found[0])
        return found

    def room_for(self, id: Id) -> Session | Refusal:
        """The session for one more call under *id*, or why there is none."""
        if id in self.running:
            return Refusal(INVALID_REQUEST, f"The id {id!r} is in use by a call that still runs")
        if len(self.running) >= RUNNING_LIMIT:
            why = f"More than {RUNNING_LIMIT} calls at once; wait for answers"
            return Refusal(INVALID_REQUEST, why, status=429)
        return self.session

    def take(self, message: Message) -> None:
        """Act on a notification or a response of the client's."""
        if not self.hear(message) and self._pass_on is not None:
            self._pass_on(self.session.id, message)

    def hear(self, message: Message) -> bool:
        """The same, if it is for this process; whether it was."""
        if message.method is UNSET:
            future = self.asked.get(message.id) if isinstance(message.id, str) else None
            if future is None:
                return False
            if not future.done():
                future.set_result(message)
        elif message.method == INITIALIZED:
            self.session.initialized()
        elif message.method == CANCELLED:
            return self._cancel(message.params)
        return True

    def spoil(self, fault: Fault) -> None:
        """End a question of ours that was answered with what is no message."""
        if not isinstance(fault.id, str) or fault.asks:
            return
        why = f"Unanswered: {fault.message}"
        future = self.asked.get(fault.id)
        if future is None and self._pass_on is not None:
            error = Raw(encode(ErrorBody(INVALID_PARAMS, why)))
            self._pass_on(self.session.id, Message("2.0", fault.id, error=error))
        elif future is not None and not future.done():
            future.set_exception(RpcError(INVALID_PARAMS, why))

    def next_id(self) -> str:
        # Of another kind than clients' own ids usually are: logs stay readable. And with the name of
        # this endpoint, because another process may ask in the same session.
        self._last_ask += 1
        return f"{self._keep.name}-{self._last_ask}"

    def close(self) -> None:
        for run in list(self.running.values()):
            run.cancel()
        for future in self.asked.values():
            if not future.done():
                future.set_exception(ConnectionLost("the session ended before its client answered"))
        if self._streams is not None:
            self._streams.close()
        self.session.close()

    def _stand(self, stream: Stream) -> Stream:
        self.standing.stream = stream
        stream.on_forsaken = self._sit
        return stream

    def _sit(self) -> None:
        self.standing.stream = None

    def _cancel(self, params: Raw) -> bool:
        try:
            run = self.running.get(_cancelled.decode(params).request_id)
        except UNREADABLE:
            return True  # A malformed cancellation is ignored (§ Cancellation).
        if run is not None:
            run.cancel()
        return run is not None


class Sessions:
    """The sessions of one endpoint, bounded in number and by idleness, the longest idle first and
    those in which something goes on last.

    *idle* is in seconds of *clock*. *keep* is how much of their streams is kept, and how long. With
    a *table*, which other processes may share and which may outlive this one, a session is where
    its client asks: it is written there, looked up with each request, and ended for all at once.
    What runs and what is streamed stays where it began; over the *bus* it hears what its client
    says to others, and its streams are followed from there. The same limits hold for the table.
    """

    def __init__(
        self,
        limit: int = LIMIT,
        idle: float = IDLE,
        clock: Callable[[], float] = time.monotonic,
        keep: Keep | None = None,
        table: Table | None = None,
        bus: Bus | None = None,
    ) -> None:
        self.meet: Meet | None = None
        """How a session is taken up that another process began; set by whoever serves them."""
        self._limit = limit
        self._idle = idle
        self._clock = clock
        self._keep = keep if keep is not None else Keep()
        self._table = table
        self._sessions: OrderedDict[str, HttpSession] = OrderedDict()
        self._arriving: dict[str, asyncio.Task[HttpSession | None]] = {}
        self._round: asyncio.TimerHandle | None = None
        self._holding: asyncio.Task[None] | None = None
        self._grapevine: Grapevine | None = None
        if bus is not None:
            self._grapevine = Grapevine(bus, self._heard, self._keep.name, self._resumed)

    def __len__(self) -> int:
        return len(self._sessions)

    def prepare(self, owner: Principal = LOCAL) -> HttpSession:
        """A session that nobody can find yet; `keep` it once its handshake was taken."""
        return self._made(os.urandom(24).hex(), owner)

    async def keep(self, session: HttpSession) -> None:
        """Let *session* be found; the one that was idle longest makes room if need be."""
        self._sweep()
        if self._grapevine is not None:
            await self._grapevine.listen()
        table = self._table
        if table is not None and await table.count() >= self._limit:
            # Those in the table have no order; ours have one, and any other is as good as the next.
            idlest = self._idlest()
            for name in [idlest.session.id] if idlest else await table.keys(limit=1):
                await table.take(name)
                self._drop(name)
        self._place(session)
        if table is not None:
            try:
                await self._tell(session, table)
            except BaseException:
                self.drop(session)
                raise

    async def find(self, id: str, asker: Principal = LOCAL) -> HttpSession | None:
        """The session, if it is there and *asker* began it: an id alone opens none (Security Best
        Practices, Session Hijacking).
        """
        if self._table is not None:
            return await self._look_up(id, asker, self._table)
        session = self._sessions.get(id)
        if session is None or session.owner != asker:
            return None
        if self._clock() - session.touched > self._idle and not session.busy:
            self.drop(session)
            return None
        self._touch(session)
        return session

    async def elsewhere(self, session: HttpSession, event: str) -> tuple[Distant, int] | None:
        """The stream of *session* that *event* was on, where another process keeps it."""
        if self._grapevine is None or not is_event(event):
            return None
        distant = await self._grapevine.streams.follow(session.session.id, event)
        return (distant, 0) if distant is not None else None

    async def save(self, session: HttpSession) -> None:
        """Write down what has changed of *session*, if there is a table for it."""
        if self._table is not None and session.session.state is not State.CLOSED:
            try:
                await self._tell(session, self._table)
            except StoreError as error:
                # What was asked is done, and is answered; the next request writes it down.
                log.warning("a session could not be written down: %s", error)

    async def end(self, session: HttpSession) -> None:
        """End *session* wherever it is known."""
        if self._table is not None:
            await self._table.take(session.session.id)
        if self._grapevine is not None:
            self._grapevine.pass_on(session.session.id, None)
        self.drop(session)

    def drop(self, session: HttpSession) -> None:
        """End what of *session* is here: its calls and its streams."""
        self._sessions.pop(session.session.id, None)
        if not self._sessions:
            self._sessions.clear()  # A dictionary keeps the room of all that it ever held.
        session.close()

    async def hold(self) -> None:
        """Hold the sessions in which something goes on here against the table.

        They are alive without a request; and what was ended elsewhere has to end here.
        """
        for session in [each for each in self._sessions.values() if each.busy]:
            await self.find(session.session.id, session.owner)

    def close(self) -> None:
        """End what of every session is here. Those in a table stay there."""
        for session in list(self._sessions.values()):
            self.drop(session)
        if self._round is not None:
            self._round.cancel()
            self._round = None
        if self._holding is not None:
            self._holding.cancel()
        if self._grapevine is not None:
            self._grapevine.close()

    def _made(self, id: str, owner: Principal) -> HttpSession:
        pass_on = self._grapevine.pass_on if self._grapevine is not None else None
        return HttpSession(id, self._keep, owner, pass_on)

    def _resumed(self, id: str, event: str) -> tuple[Stream, int] | None:
        """The stream of a session that another process follows; never the standing one, which it has."""
        session = self._sessions.get(id)
        found = session.streams.find(event) if session is not None else None
        return found if found is not None and found[0].number != STANDING else None

    def _heard(self, id: str, said: Message | None) -> None:
        """Act on what the client of a session said to another process."""
        session = self._sessions.get(id)
        if session is None:
            return
        if said is None:
            self.drop(session)
        else:
            session.hear(said)

    async def _look_up(self, id: str, asker: Principal, table: Table) -> HttpSession | None:
        entry = await table.get(id) if len(id) <= ID_LENGTH else None
        session = self._sessions.get(id)
        if entry is None:
            if session is not None:
                self.drop(session)
            return None
        if session is not None:
            owner = session.owner
        else:
            known = read(entry.value)
            owner = known.owned if known is not None else None
        if owner != asker:
            return None
        if session is None:
            session = await self._arrive(id, entry)
        elif entry.version > session.version:
            await self._learn(session, entry)
        if session is None or session.session.state is State.CLOSED:
            return None
        self._touch(session)
        if session.touched - session.told > self._idle / 8:
            session.told = session.touched
            await table.touch(id, self._idle)
        return session

    async def _arrive(self, id: str, entry: Entry) -> HttpSession | None:
        """Take a session up that is in the table alone, once however many ask for it."""
        arriving = self._arriving.get(id)
        if arriving is None:
            arriving = self._arriving[id] = asyncio.create_task(self._take_up(id, entry))
            arriving.add_done_callback(lambda _: self._arriving.pop(id))
        return await asyncio.shield(arriving)

    async def _take_up(self, id: str, entry: Entry) -> HttpSession | None:
        known = read(entry.value)
        if known is None:
            return None
        if self._grapevine is not None:
            await self._grapevine.listen()
        session = self._made(id, known.owned)
        if not await self._learn(session, entry):
            return None
        self._sweep()
        self._place(session)
        return session

    async def _learn(self, session: HttpSession, entry: Entry) -> bool:
        """Bring *session* to what the table says of it; whether that could be read."""
        theirs = read(entry.value)
        if theirs is None or self.meet is None:
            return False
        known = theirs
        if session.saved and (before := read(session.saved)) is not None:
            known = merged(before, known_of(session.session, session.owner), theirs)
        session.version = entry.version
        session.saved = entry.value
        await self.meet(session.session, known)
        if known == theirs:
            session.saved = write(
                session.session, session.owner
            )  # Else there is something to say of it.
        return True

    async def _tell(self, session: HttpSession, table: Table) -> None:
        name = session.session.id
        for _ in range(TRIES):
            value = write(session.session, session.owner)
            if value == session.saved:
                return
            version = await table.put(name, value, ttl=self._idle, version=session.version)
            if version is not None:
                session.version = version
                session.saved = value
                session.told = self._clock()
                return
            entry = await table.get(name)
            if entry is None:
                self.drop(session)  # It was ended elsewhere meanwhile, and must not come back.
                return
            await self._learn(session, entry)

    def _place(self, session: HttpSession) -> None:
        while len(self._sessions) >= self._limit and (idlest := self._idlest()):
            self.drop(idlest)
        session.touched = self._clock()
        self._sessions[session.session.id] = session
        if self._round is None:
            pause = min(ROUND, self._idle / 4)
            self._round = asyncio.get_running_loop().call_later(pause, self._go_round)

    def _idlest(self) -> HttpSession | None:
        """The session that was idle longest: whoever begins sessions without end ends no busy one."""
        for session in list(islice(self._sessions.values(), LOOKS)):
            if not session.busy:
                return session
            self._touch(session)
        return next(iter(self._sessions.values()), None)

    def _touch(self, session: HttpSession) -> None:
        session.touched = self._clock()
        self._sessions.move_to_end(session.session.id)

    def _drop(self, id: str) -> None:
        session = self._sessions.get(id)
        if session is not None:
            self.drop(session)

    def _go_round(self) -> None:
        """Look after the sessions when nobody else makes us."""
        self._round = None
        self._sweep()
        if self._sessions:
            pause = min(ROUND, self._idle / 4)
            self._round = asyncio.get_running_loop().call_later(pause, self._go_round)
        if self._table is not None and (self._holding is None or self._holding.done()):
            self._holding = asyncio.create_task(self._hold())

    async def _hold(self) -> None:
        try:
            await self.hold()
        except Exception:
            # The top of a task: a table that fails now may work in the next round.
            log.exception("sessions could not be held against their table")

    def _sweep(self) -> None:
        now = self._clock()
        while self._sessions:
            session = next(iter(self._sessions.values()))
            if now - session.touched <= self._idle:
                break
            if session.busy:
                self._touch(session)
            else:
                self.drop(session)
