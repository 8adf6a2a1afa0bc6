"""Tasks through the gateway, for each pair of eras.

    caller       server       what happens
    modern       modern       the server's task is the caller's; its id travels sealed in ours
    modern       2025-11-25   the gateway makes a task of the call where the server's tool can be one
    2025-11-25   any          likewise, if the caller wants one
    no tasks     any          the gateway follows the server's task, and answers with what it came to

A task of the gateway's own is worked on by relaying the call; a tool that its server runs as a task
only is a task at both ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from interlock.client.tasks import Task, created
from interlock.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    InvalidMessage,
    MissingCapability,
    PeerError,
    RpcError,
)
from interlock.gateway.asking import Asking
from interlock.gateway.catalog import Found
from interlock.gateway.realm import Realm
from interlock.gateway.relay import Relay, reworded
from interlock.gateway.upstream import AUGMENTED, Upstream
from interlock.protocol.call import Call, Handler
from interlock.protocol.sealing import Keyring, Unsealed, digest
from interlock.server.ledger import TaskLimits
from interlock.server.subscriptions import Tell
from interlock.server.tasks import WATCHED, Tasks
from interlock.server.worker import Mode, Worker
from interlock.store.ports import Store
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.lifecycle import ServerCapabilities
from interlock.wire.meta import Params, RawResult, Result, Wire, members
from interlock.wire.methods import BY_NAME, LISTEN
from interlock.wire.notices import Filter, ListenParams
from interlock.wire.tasks import (
    CANCEL,
    CHANGED,
    EXTENSION,
    GET,
    LIST,
    RESULT,
    TERMINAL,
    UPDATE,
    GetTaskResult,
    TaskParams,
    declared,
    unrelated,
)
from interlock.wire.versions import V2025_11_25

log: Final = logging.getLogger("interlock.gateway")

WRAPPED: Final = "via."
"""What an id of ours begins with that holds one of a server's."""
SECONDS: Final = 30 * 24 * 3600.0
"""How long such an id is good for; how long the task is kept is its server's to say."""
LEAVING: Final = 1000
"""How many tasks that nobody waits for any more are being given up at the same time."""
PARTING: Final = 0.5
"""Seconds that their servers get to take note of it when the gateway stops."""

_pair: Final = msgspec.json.Decoder(tuple[str, str])
_text: Final = msgspec.json.Decoder(str)
_notice: Final = msgspec.json.Decoder(GetTaskResult)

Forward = Callable[[Found, Call, Call], Awaitable[RawResult]]


class _Relayed:
    """What a relayed tool returns, as far as it matters to whether it becomes a task."""

    returns: Any = None

    def may_return(self, kind: type) -> bool:
        return False


_RELAYED: Final = _Relayed()


class TaskRelay:
    """*own* are the gateway's tasks; *asking* and *forward* relay the calls they are made of, to the
    servers of whoever calls: *realm* says which.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        realm: Callable[[Call], Realm],
        asking: Asking,
        forward: Forward,
    ) -> None:
        self.worker = Worker(store, TaskLimits(), lambda: True)
        self.own = Tasks(self.worker.ledger, lambda: True)
        self.routes: dict[str, Handler] = {
            GET: self._about,
            UPDATE: self._about,
            CANCEL: self._about,
            RESULT: self.own.result,
            LIST: self.own.list,
        }
        self._keyring = keyring
        self._realm = realm
        self._asking = asking
        self._forward = forward
        self._leaving: set[asyncio.Task[None]] = set()

    async def call(self, found: Found, call: Call) -> Result:
        """Relay a call of a tool that may become a task of ours, or may ask."""
        upstream = self._realm(call).upstreams[found.server]
        mode: Mode = "optional" if upstream.modern and upstream.tasks else found.support
        if mode == "required" and call.session is None:
            mode = "optional"  # It runs as a task there, whether or not it is one here.
        if not upstream.modern or call.session is not None:
            taken = await self.worker.take(
                call, mode, _RELAYED, lambda own: self._work(found, upstream, own)
            )
            if taken is not None:
                return taken
        if found.support == "required" and not upstream.modern:
            return await self._asking.held(call, lambda own: self._work(found, upstream, own))
        return await self._asking.relay(found, call, modern=upstream.modern, name=found.name)

    async def unfinished(self, found: Found, call: Call, result: RawResult) -> RawResult:
        """What to answer a caller whose call a modern server made a task of."""
        if call.method != "tools/call":
            raise InvalidMessage(f"{call.method} was answered with a task, which only tools become")
        if call.session is not None:
            return await self._follow(found, call, result)
        if not declared(call.envelope.capabilities):
            raise InvalidMessage("it made a task of a call whose caller did not declare tasks")
        return self._as_ours(found, call, result)

    async def follow(
        self, call: Call, ids: Sequence[str], tell: Tell
    ) -> tuple[list[str], Callable[[], None]]:
        """Let a listener hear of its tasks, wherever they run (`Subscriptions.follow`)."""
        ids = ids[:WATCHED]
        theirs = {each: self._opened(call, each) for each in ids if each.startswith(WRAPPED)}
        ours = [each for each in ids if each not in theirs]
        agreed, leave = await self.own.follow(call, ours, tell)
        by_server: dict[str, dict[str, str]] = {}
        for each, found in theirs.items():
            if found is not None:
                by_server.setdefault(found.server, {})[found.name] = each
                agreed.append(each)
        upstreams = self._realm(call).upstreams
        listening = [
            asyncio.create_task(self._listen(upstreams[server], names, call, tell))
            for server, names in by_server.items()
        ]

        def stop() -> None:
            leave()
            for each in listening:
                each.cancel()

        return agreed, stop

    def shown(self, call: Call, capabilities: ServerCapabilities) -> ServerCapabilities:
        """*capabilities* with what this caller can have of tasks."""
        revision = call.envelope.revision
        if revision.modern:
            return msgspec.structs.replace(capabilities, extensions={EXTENSION: {}})
        if revision < V2025_11_25:
            return capabilities
        return msgspec.structs.replace(capabilities, tasks=self.own.capability(call))

    async def end(self) -> None:
        """End every task of our own; each fails, and says why."""
        await self.worker.end()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=PARTING)
        for leaving in list(self._leaving):
            leaving.cancel()

    # Tasks of our own.

    async def _work(self, found: Found, upstream: Upstream, own: Call) -> Result:
        with self._realm(own).use():  # It may go on though its caller is not heard of for long.
            return await self._worked(found, upstream, own)

    async def _worked(self, found: Found, upstream: Upstream, own: Call) -> Result:
        if upstream.modern or found.support != "required":
            return await self._asking.visiting(found, own, {"name": found.name})
        renamed = own.with_members(name=found.name)
        assert renamed.fields is not None
        renamed.fields["task"] = AUGMENTED
        return await self._follow(found, own, await self._forward(found, renamed, own))

    async def _follow(self, found: Found, call: Call, result: RawResult) -> RawResult:
        """Wait for the end of a server's task, asking the caller what it asks."""
        upstream = self._realm(call).upstreams[found.server]
        relay = Relay(call, found.server)

        async def send(method: str, params: Params, *, timeout: float | None = None) -> RawResult:
            # Each with a relay of its own: what a task asks is answered while it is looked at.
            own = Relay(call, found.server)
            row = BY_NAME[method]
            return await upstream.handle(
                Call(row, params, call.envelope, call.principal, own, session=call.session)
            )

        async def ask(method: str, params: Raw, key: str) -> Raw:
            return await relay.ask(method, params, key=key)

        task = Task(send, ask, modern=upstream.modern, seed=created(result))
        try:
            body = (await task.raw_result()).body
        except BaseException:
            # It ended by itself, or nobody follows it any more.
            if task.status not in TERMINAL and len(self._leaving) < LEAVING:
                leaving = asyncio.create_task(task.abandon())
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
            raise
        # A 2025-11-25 server ties what it says to its own task, which is nobody's here.
        return RawResult(body=unrelated(body), relayed=True)

    # Tasks of a server's.

    async def _about(self, call: Call) -> Result:
        params = call.params
        assert isinstance(params, TaskParams)
        if not params.task_id.startswith(WRAPPED) or call.session is not None:
            return await self.own.routes[call.method](call)
        if not declared(call.envelope.capabilities):
            raise MissingCapability({"extensions": {EXTENSION: {}}})
        found = self._opened(call, params.task_id)
        if found is None:
            raise RpcError(INVALID_PARAMS, "Unknown task: there is none with this id")
        renamed = msgspec.structs.replace(
            call,
            params=msgspec.structs.replace(params, task_id=found.name),
            fields={**members(call.raw), "taskId": Raw(encode(found.name))},
        )
        result = await self._forward(found, renamed, call)
        if call.method != GET:
            return result
        try:
            return self._as_ours(found, call, result)
        except InvalidMessage as error:
            raise RpcError(INTERNAL_ERROR, f"server {found.server!r}: {error}") from error

    def _as_ours(self, found: Found, call: Call, result: RawResult) -> RawResult:
        """A server's task as the caller knows it: under our id, its questions with its name."""
        try:
            fields = members(result.body)
            sealed = self._keyring.seal(
                encode((found.server, _text.decode(fields["taskId"]))),
                bound=_owner(call),
                ttl=SECONDS,
            )
            fields["taskId"] = Raw(encode(WRAPPED + sealed))
            if (questions := fields.get("inputRequests")) is not None:
                fields["inputRequests"] = reworded(call, questions, found.server)
        except (KeyError, ValueError, *UNREADABLE) as error:
            raise InvalidMessage(f"its task cannot be read: {error}") from None
        return RawResult(body=Raw(encode(fields)), relayed=True, kind=result.kind)

    def _opened(self, call: Call, id: str) -> Found | None:
        """Which server's task an id of ours is, and what it is called there."""
        try:
            opened = self._keyring.open(id[len(WRAPPED) :], bound=_owner(call))
        except Unsealed:
            return None
        server, theirs = _pair.decode(opened)
        return Found(server, theirs) if server in self._realm(call).upstreams else None

    async def _listen(
        self, upstream: Upstream, names: Mapping[str, str], call: Call, tell: Tell
    ) -> None:
        """Hear of tasks at their server for as long as somebody listens here."""
        params = ListenParams(notifications=Filter(task_ids=list(names)))
        ear = _TaskEar(names, call, upstream.name, tell)
        listen = Call(BY_NAME[LISTEN], params, call.envelope, call.principal, ear)
        try:
            await upstream.handle(listen)
        except (PeerError, RpcError) as error:
            # Whoever is not told of changes asks how its task is: being told is a convenience.
            log.debug("%s tells of no tasks: %s", upstream.name, error)


class _TaskEar:
    """The outlet of a listen call upstream: tells of tasks under the ids they have here."""

    def __init__(self, names: Mapping[str, str], call: Call, server: str, tell: Tell) -> None:
        self._names = names
        self._call = call
        self._server = server
        self._tell = tell

    def notify(self, method: str, params: Wire | Raw) -> None:
        if method != CHANGED or not isinstance(params, Raw):
            return
        try:
            fields = members(params)
            if (questions := fields.get("inputRequests")) is not None:
                fields["inputRequests"] = reworded(self._call, questions, self._server)
            seen = _notice.decode(encode(fields))
        except (InvalidMessage, MissingCapability, *UNREADABLE):
            return  # Whoever asks about it hears what is wrong.
        ours = self._names.get(seen.task_id)
        if ours is not None:
            self._tell(CHANGED, ours, msgspec.structs.replace(seen, task_id=ours, meta=None))

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        raise RpcError(INVALID_PARAMS, f"{method} cannot be asked on a subscription")

    def close_stream(self, retry: float) -> None:
        pass


def _owner(call: Call) -> bytes:
    who = call.principal
    return digest(b"task", *(word.encode() for word in (who.issuer, who.subject, who.client_id)))
