"""One server behind the gateway: its client, what it offers, its health, its way back."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec import Raw, Struct

from interlock.client.client import Client
from interlock.client.target import Command, Url
from interlock.errors import (
    METHOD_NOT_FOUND,
    ConnectFailed,
    InvalidMessage,
    LoginNeeded,
    PeerError,
    RpcError,
    ServerExited,
)
from interlock.gateway.catalog import Definitions
from interlock.gateway.config import Server, StdioServer
from interlock.gateway.connection import Connected, worded
from interlock.gateway.desk import VISIT_FIRST, RelayDesk
from interlock.gateway.login import Login
from interlock.gateway.names import prefix
from interlock.gateway.relay import Relay
from interlock.gateway.supervisor import CRASH_LIMIT, Event, State, Supervised
from interlock.protocol.call import Call
from interlock.protocol.outlet import Outlet
from interlock.protocol.rounds import Ask, rounds
from interlock.protocol.session import Envelope
from interlock.transport.http.client import HttpError
from interlock.transport.warden import Warden
from interlock.wire import tasks
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import PagedParams, RawResult, members
from interlock.wire.methods import LISTEN
from interlock.wire.notices import Kind

log: Final = logging.getLogger("interlock.gateway")

CALL_WAITS: Final = 10.0
"""Seconds a call waits for a server that starts or comes back, before it is told so."""
CALL_PATIENCE: Final = 300.0
"""Seconds without progress after which a call is given up, unless the entry has a timeout."""
START_SECONDS: Final = 60.0
"""How long a server may take to start: the first run of a package may have to install it."""
LISTED_AT_MOST: Final = 2000
"""Entries of one kind that one server may have at the door."""
STDERR_KEPT: Final = 100
STDERR_SHOWN: Final = 10

_SETTLED: Final = frozenset(
    {State.RUNNING, State.BACKING_OFF, State.FAILED, State.NEEDS_LOGIN, State.STOPPED}
)
"""What tells that starting has come to something."""
AUGMENTED: Final = Raw(b"{}")
"""The `task` of params that asks a 2025-11-25 server for a task; any other is the caller's own."""
_PATIENT: Final = frozenset({LISTEN, tasks.RESULT})
"""What may take as long as it takes."""

_entries: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_text: Final = msgspec.json.Decoder(str)

_LISTS: Final[tuple[tuple[Kind, str, str, str], ...]] = (
    ("tools", "tools", "tools/list", "tools"),
    ("resources", "resources", "resources/list", "resources"),
    ("resources", "templates", "resources/templates/list", "resourceTemplates"),
    ("prompts", "prompts", "prompts/list", "prompts"),
)
"""Which notice says that it changed, whose name is the capability's too; what it is in
`Definitions`; method, and member of the result."""
_ALL: Final[frozenset[Kind]] = frozenset({"tools", "resources", "prompts"})


class Status(Struct, frozen=True):
    """How a server is.

    *where* is its command or URL as it was written; *tokens* is what the definitions of its tools
    cost a model, roughly; *since* is Unix time; *events* tell what happened, oldest first.
    """

    name: str
    state: str
    where: str
    revision: str | None = None
    tools: int = 0
    resources: int = 0
    templates: int = 0
    prompts: int = 0
    tokens: int = 0
    restarts: int = 0
    since: float | None = None
    error: str | None = None
    stderr: list[str] = []
    events: list[Event] = []


class Upstream:
    """One configured server, kept alive.

    *changed* is called when what it offers may have changed, and says which lists did, *updated*
    when one of its resources did that is watched. *unheard* gets what it logs while no call to it
    runs. *on_event* hears what happens to it: its name, what, and the details. *login* is who it is
    told that calls, should it ask.
    """

    def __init__(
        self,
        entry: Server,
        *,
        warden: Warden,
        changed: Callable[[Upstream], set[Kind]],
        updated: Callable[[Upstream, str], None] = lambda upstream, uri: None,
        unheard: Callable[[Raw], None] = lambda line: None,
        on_event: Callable[[str, str, str], None] | None = None,
        login: Login | None = None,
    ) -> None:
        self.name = entry.name
        self.prefix = prefix(entry.name)
        self.definitions = Definitions()
        self.settled = asyncio.Event()
        """It runs, or has failed to at least once; not yet if it is tried again after a login."""
        self.modern = False
        """It speaks, or spoke last, a modern revision: what it asks comes in its answers."""
        self.tasks = False
        """It makes tasks of calls, by the extension."""
        self._entry = entry
        self._login = login
        self._warden = warden
        self._changed = changed
        self._updated = updated
        self._watched: dict[str, int] = {}
        self._rewatch = asyncio.Event()
        self._on_event = on_event
        self._patience = entry.timeout if entry.timeout is not None else CALL_PATIENCE
        self._stderr: deque[str] = deque(maxlen=STDERR_KEPT)
        self._desk = RelayDesk(unheard)
        self._revision: str | None = None
        self._instructions: str | None = None
        program = isinstance(entry, StdioServer)
        self._supervised: Supervised[Connected] = Supervised(
            entry.name,
            self._connect,
            crash_limit=CRASH_LIMIT if program else None,
            on_event=self._happened,
        )

    @property
    def instructions(self) -> str | None:
        """What the server last said about itself as a whole."""
        return self._instructions

    @property
    def state(self) -> State:
        return self._supervised.state

    @property
    def busy(self) -> bool:
        """Whether calls to it run."""
        return bool(self._desk.running)

    @property
    def login_needed(self) -> LoginNeeded | None:
        """What a person has to do before it can be called, if that is what keeps it."""
        reason = self._supervised.reason
        waits = self._supervised.state is State.NEEDS_LOGIN
        return reason if waits and isinstance(reason, LoginNeeded) else None

    def start(self) -> None:
        """Start it in the background."""
        self._supervised.start()

    async def wake(self) -> None:
        """Start it again if it needed a login, and somebody has logged in since."""
        if self._login is None or self.login_needed is None or not await self._login.appeared():
            return
        self._supervised.retry()
        if self.state is State.STARTING:
            self.settled.clear()

    async def stop(self) -> None:
        await self._supervised.stop()
        if self._login is not None:
            await self._login.close()
        self.settled.set()

    async def restart(self) -> None:
        """End it and start it anew; raises `ConnectFailed` if it does not come up."""
        await self._supervised.stop()
        self._supervised.retry()
        await self._supervised.running(START_SECONDS)

    async def handle(self, call: Call) -> RawResult:
        """Send *call*, whose names are the server's own; waits a little for one that is starting.

        Raises a `PeerError` that says why, at once when the server goes away in the middle.
        """
        connected = self._supervised.current
        if connected is None:
            await self.wake()
            connected = await self._supervised.running(CALL_WAITS)
        link = connected.link
        theirs = link.envelope
        ours = call.envelope
        level = ours.log_level
        if level is not None and not theirs.revision.modern:
            await connected.log_from(level)
        if not ours.revision.modern:
            # It was a session's, which hears "info" unless it said otherwise.
            level = level or "info"
        # What the caller can be asked is the upstream's to use.
        capabilities = ours.capabilities
        if not ours.revision.modern and self.tasks:
            capabilities = tasks.along(capabilities)  # It is followed, for a caller that has none.
        fields = call.fields
        if fields is not None and "task" in fields and fields["task"] is not AUGMENTED:
            del fields["task"]  # What the caller asked of us is not asked of the server.
        call.envelope = Envelope(theirs.revision, theirs.client, capabilities, level)
        call.patience = self._patience if call.row.name not in _PATIENT else None
        desk, outlet = self._desk, call.outlet
        desk.running[outlet] = None
        try:
            result = await link.handle(call)
            if result.kind == "input_required" and not ours.revision.modern:
                # A modern caller answers it by calling again; a legacy one is asked on its stream.
                result = await rounds(self._again, call, result, _asker(outlet))
            return result
        except (ConnectFailed, HttpError) as error:
            connected.doubt(error)
            raise
        except LoginNeeded as error:
            needed = connected.lacks(error)
            raise needed from error
        except ServerExited:
            # The next call waits for its successor; this one may have run, and is not sent again.
            self._supervised.ended(connected)
            raise
        except RpcError as error:
            if error.code == VISIT_FIRST and isinstance(outlet, Relay):
                desk.refused(outlet.call, error)
            raise
        finally:
            del desk.running[outlet]
            if outlet in desk.asking:
                desk.over(outlet)

    async def _again(self, call: Call) -> RawResult:
        """Call once more, with answers: the server may have been restarted while they were given."""
        connected = self._supervised.current
        if connected is None:
            connected = await self._supervised.running(CALL_WAITS)
        return await connected.link.handle(call)

    def watch(self, uri: str, *, watched: bool) -> None:
        """Have *updated* called when a resource changes, or no more, also after a restart.

        Several may watch one: each says so once, and once that it does no more.
        """
        count = self._watched.pop(uri, 0) + (1 if watched else -1)
        if count > 0:
            self._watched[uri] = count
        self._rewatch.set()

    def watched(self, uri: str) -> list[str]:
        """What is watched and has to do with a resource that changed: itself, or what holds it."""
        if uri in self._watched:
            return [uri]
        return [each for each in self._watched if uri.startswith(each.rstrip("/") + "/")]

    def status(self, counts: dict[str, int], tokens: int) -> Status:
        supervised = self._supervised
        reason = supervised.reason
        runs = supervised.state is State.RUNNING
        tail = reason.stderr if isinstance(reason, ServerExited) else list(self._stderr)
        return Status(
            name=self.name,
            state=supervised.state.value,
            where=self._entry.describe(),
            revision=self._revision,
            **counts,
            tokens=tokens,
            restarts=max(supervised.starts - 1, 0),
            since=supervised.since,
            error=None if runs or reason is None else str(reason),
            stderr=list(tail)[-STDERR_SHOWN:],
            events=supervised.events,
        )

    async def _connect(self) -> Connected:
        try:
            return await self._open()
        except LoginNeeded as error:
            raise worded(error, self._login) from error

    async def _open(self) -> Connected:
        entry = self._entry
        target = (
            Command(entry.command, entry.args, entry.env, entry.cwd)
            if isinstance(entry, StdioServer)
            else Url(
                entry.url,
                entry.headers,
                "sse" if entry.type == "sse" else "http",
                authorization=self._login,
            )
        )
        stale: set[Kind] = set()
        told = asyncio.Event()

        def changed(kind: Kind) -> None:
            stale.add(kind)
            told.set()

        client = Client(
            target,
            name="interlock-gateway",
            desk=self._desk,
            connect_timeout=START_SECONDS,
            on_change=changed,
            on_update=lambda uri: self._updated(self, uri),
            on_log=lambda notice: self._desk.logged(Raw(encode(notice))),
            on_visited=self._desk.visited,
            on_stderr=self._stderr.append,
            on_noise=self._noise,
            label=self.name,
            warden=self._warden,
            cache=False,  # The catalog keeps its lists, and lists when something changed.
        )
        await client.connect()
        connected = Connected(client, self._login)
        try:
            self._revision = client.revision
            self.modern = client.link.envelope.revision.modern
            self.tasks = self.modern and tasks.EXTENSION in (client.capabilities.extensions or {})
            self._instructions = client.instructions
            await self._list(client, _ALL)
        except BaseException:
            await connected.close()
            raise
        connected.keeping = [
            asyncio.create_task(self._keep_listed(connected, client, stale, told)),
            asyncio.create_task(self._keep_watched(client)),
        ]
        return connected

    async def _keep_listed(
        self, connected: Connected, client: Client, stale: set[Kind], told: asyncio.Event
    ) -> None:
        """List again what the server says has changed; many changes, one listing."""
        while True:
            await told.wait()
            told.clear()
            kinds = frozenset(stale)
            stale.clear()
            try:
                changed = await self._list(client, kinds)
            except (PeerError, RpcError) as error:
                if isinstance(error, LoginNeeded):
                    error = connected.lacks(error)
                self._happened(Event(0.0, "not listed", str(error)))
                continue
            if changed:
                self._happened(Event(0.0, "changed", ", ".join(sorted(changed))))

    async def _keep_watched(self, client: Client) -> None:
        """Subscribe to what is watched at the door; all of it, once it is connected again."""
        subscribed: dict[str, None] = {}
        for uri in list(self._watched):
            self._updated(self, uri)  # Nobody knows what happened to it meanwhile.
        while True:
            self._rewatch.clear()
            for uri in [uri for uri in self._watched if uri not in subscribed]:
                subscribed[uri] = None
                await self._try(client.subscribe(uri))
            for uri in [uri for uri in subscribed if uri not in self._watched]:
                del subscribed[uri]
                await self._try(client.unsubscribe(uri))
            await self._rewatch.wait()

    async def _try(self, subscribing: Awaitable[None]) -> None:
        try:
            await subscribing
        except (PeerError, RpcError) as error:
            # Most servers offer no subscriptions; whoever watches hears nothing then.
            log.debug("%s: a resource cannot be watched: %s", self.name, error)

    async def _list(self, client: Client, kinds: frozenset[Kind]) -> set[Kind]:
        """List what is of these *kinds*, and leave the rest as it is; which lists have changed."""
        can = client.capabilities
        listed = {
            what: await self._entries(client, method, member) if getattr(can, kind) else []
            for kind, what, method, member in _LISTS
            if kind in kinds
        }
        self.definitions = msgspec.structs.replace(self.definitions, **listed, tasks=self.tasks)
        return self._changed(self)

    async def _entries(self, client: Client, method: str, member: str) -> list[dict[str, Raw]]:
        found: list[dict[str, Raw]] = []
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            try:
                result = await client.request(method, PagedParams(cursor=cursor))
                fields = members(result.body)
                found += _entries.decode(fields.get(member, b"[]"))
                following = fields.get("nextCursor")
                cursor = _text.decode(following) if following else None
            except RpcError as error:
                if error.code == METHOD_NOT_FOUND:
                    return found  # It declared resources and has no templates, as many do.
                raise
            except UNREADABLE as error:
                raise InvalidMessage(f"its answer to {method} is no list: {error}") from None
            if cursor is None:
                return found
            if cursor in seen or len(found) > LISTED_AT_MOST:
                self._happened(Event(0.0, "cut", f"{method} after {LISTED_AT_MOST} entries"))
                return found[:LISTED_AT_MOST]
            seen.add(cursor)

    def _happened(self, event: Event) -> None:
        if event.what in _SETTLED:
            self.settled.set()
        log.info("%s: %s %s", self.name, event.what, event.detail)
        if self._on_event is not None:
            self._on_event(self.name, event.what, event.detail)

    def _noise(self, what: str) -> None:
        log.debug("%s sent something that is no message: %s", self.name, what)


def _asker(outlet: Outlet) -> Ask:
    async def ask(method: str, params: Raw, key: str) -> Raw:
        return await outlet.ask(method, params, key=key)

    return ask
