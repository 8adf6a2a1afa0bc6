"""Gateway: a Handler whose handlers are clients."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from interlock.auth.credentials import Credentials
from interlock.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    LoginNeeded,
    PeerError,
    ResourceNotFound,
    RpcError,
    ServerExited,
)
from interlock.gateway.asking import Asking
from interlock.gateway.audience import Audience
from interlock.gateway.catalog import Found
from interlock.gateway.config import Config
from interlock.gateway.login import Logins
from interlock.gateway.names import public_uri
from interlock.gateway.realm import OnEvent, Realm, Realms
from interlock.gateway.relay import Relay
from interlock.gateway.supervisor import State
from interlock.gateway.tasks import TaskRelay
from interlock.gateway.upstream import CALL_WAITS, Status, Upstream
from interlock.protocol.call import Call, Handler, Principal
from interlock.protocol.sealing import Keyring, from_environment
from interlock.server.mirrored import hold
from interlock.store.memory import MemoryStore
from interlock.store.ports import Store
from interlock.transport.warden import Warden
from interlock.version import VERSION
from interlock.wire.completion import CompleteParams, PromptReference, TemplateReference
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.lifecycle import (
    DiscoverResult,
    InitializeResult,
    ListCapability,
    ResourcesCapability,
    ServerCapabilities,
)
from interlock.wire.meta import EmptyResult, Implementation, RawResult, Result, members
from interlock.wire.methods import DISCOVER, INITIALIZE, LISTEN, PING
from interlock.wire.prompts import GetPromptParams
from interlock.wire.resources import ReadResourceParams, SubscribeParams
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import MODERN

FIRST_LIST_SECONDS: Final = 10.0
"""How long a list waits for servers that have not started yet: a host asks once, at its start."""
INSTRUCTIONS_LIMIT: Final = 2048
"""Characters of each server's instructions that are passed on; hosts cut there too."""

_contents: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_text: Final = msgspec.json.Decoder(str)


class Gateway:
    """All servers of a configuration as one service.

    `start` returns at once; each server starts in the background, and one that cannot start or
    goes away takes nothing with it: what it offered is listed as long as it may come back, and a
    call to it says what happened. *on_event* hears of starts, ends and changes, and must not block. *keyring* seals
    what travels through callers, by default with the secrets in `INTERLOCK_KEYS`. *store* keeps
    the gateway's own tasks, by default in this process.

    Servers at URLs that want a login are shown what *credentials* have, by default this machine's
    if there are any. Where callers say who they are, each has connections to those servers of their
    own, with the logins kept for them; *owner* is the caller whose logins are this machine's own, as
    are those of whoever is not asked. *clock* tells who was not heard of for long.
    """

    def __init__(
        self,
        config: Config,
        *,
        name: str = "interlock",
        on_event: OnEvent | None = None,
        keyring: Keyring | None = None,
        store: Store | None = None,
        credentials: Credentials | None = None,
        owner: Principal | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.info = Implementation(name=name, version=VERSION, title="Interlock gateway")
        self._audience = Audience()
        self._warden = Warden()
        self._logins = Logins(credentials)
        self._realms = Realms(
            config.servers,
            logins=self._logins,
            warden=self._warden,
            audience=self._audience,
            owner=owner,
            on_event=on_event,
            clock=clock,
        )
        self._first = self._realms.first
        self._several = self._realms.several
        keyring = keyring if keyring is not None else from_environment()
        self._store = store if store is not None else MemoryStore()
        self._asking = Asking(keyring, self._relay)
        self._tasks = TaskRelay(self._store, keyring, self._realm, self._asking, self._relay)
        self._routes: dict[str, Handler] = {
            INITIALIZE: self._initialize,
            DISCOVER: self._discover,
            PING: _done,
            LISTEN: lambda call: self._realm(call).subscriptions.listen(call),
            "logging/setLevel": self._audience.set_level,
            "tools/list": self._list("tools"),
            "tools/call": self._call,
            "resources/list": self._list("resources"),
            "resources/templates/list": self._list("templates"),
            "resources/read": self._read,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": lambda call: self._realm(call).subscriptions.unsubscribe(call),
            "prompts/list": self._list("prompts"),
            "prompts/get": self._get,
            "completion/complete": self._complete,
        }
        self._routes |= self._tasks.routes
        self._realms.follow = self._tasks.follow
        self.handle: Handler = self._route
        self._users = 0

    async def start(self) -> None:
        """Start every server, in the background. Whoever starts it has to stop it."""
        self._users += 1
        if self._users == 1:
            await self._store.open()
        self._realms.start()

    async def stop(self) -> None:
        """End every server and whatever it started, within a second, once nobody uses them."""
        self._users -= 1
        if self._users > 0:
            return
        self._realms.hush()
        await self._asking.parking.end()
        await self._tasks.end()
        await self._realms.stop()
        await self._store.close()
        await self._warden.close()
        await self._logins.close()

    async def settled(self, timeout: float) -> None:
        """Wait until each server runs, or has failed to once; at most *timeout* seconds."""
        await self._first.settled(timeout)

    def status(self, person: str = "") -> list[Status]:
        """How each server is to a *person*, in the order of the configuration; none to a stranger.

        They are named as their logins are, and whoever runs the gateway is "".
        """
        realm = self._realms.named(person)
        if realm is None:
            return []
        return [
            upstream.status(realm.catalog.counts(name), realm.catalog.tokens(name))
            for name, upstream in realm.upstreams.items()
        ]

    def upstream(self, name: str, person: str = "") -> Upstream | None:
        """A server as a *person* has it, if they have anything here."""
        realm = self._realms.named(person)
        return realm.upstreams.get(name) if realm is not None else None

    # The data plane.

    def _route(self, call: Call) -> Awaitable[Result]:
        handler = self._routes.get(call.row.name)
        if handler is None:
            raise RpcError(METHOD_NOT_FOUND, f"Method not found: {call.row.name}")
        if not self._several or (realm := self._realm(call)) is self._first:
            return handler(call)
        return self._used(realm, handler, call)

    async def _used(self, realm: Realm, handler: Handler, call: Call) -> Result:
        with realm.use(listening=call.row.name == LISTEN):
            return await handler(call)

    def _realm(self, call: Call) -> Realm:
        return self._realms.of(call.principal)

    # Not async: a frame that only waits for the next costs each call two steps more.
    def _call(self, call: Call) -> Awaitable[Result]:
        params = call.params
        assert type(params) is CallToolParams
        name = params.name
        realm = self._realm(call) if self._several else self._first
        found = realm.catalog.tool(name)
        if found is None:
            return self._relay_later("tool", name, realm, call)
        if found.mirrored:
            hold(call, found.mirrored)
        if (
            params.request_state is not None
            or params.task
            or not realm.upstreams[found.server].modern
        ):
            return self._tasks.call(found, call)
        return self._relay(found, call.with_members(name=found.name), call)

    def _get(self, call: Call) -> Awaitable[Result]:
        assert isinstance(call.params, GetPromptParams)
        name = call.params.name
        realm = self._realm(call)
        found = realm.catalog.prompt(name)
        if found is None:
            return self._relay_later("prompt", name, realm, call)
        return self._ask_through(found, call, name=found.name)

    async def _read(self, call: Call) -> Result:
        assert isinstance(call.params, ReadResourceParams)
        uri = call.params.uri
        found = self._realm(call).catalog.uri(uri)
        if found is None:
            raise ResourceNotFound(uri)
        try:
            result = await self._ask_through(found, call, uri=found.name)
        except ResourceNotFound:
            raise ResourceNotFound(uri) from None
        # What was parked here asks with a result of our own, which names nothing yet.
        return _with_public_uris(result, found.server) if type(result) is RawResult else result

    async def _complete(self, call: Call) -> Result:
        params = call.params
        assert isinstance(params, CompleteParams)
        ref = params.ref
        prompt = isinstance(ref, PromptReference)
        catalog = self._realm(call).catalog
        found = catalog.prompt(ref.name) if prompt else catalog.uri(ref.uri)
        if found is None:
            raise RpcError(INVALID_PARAMS, "There is no such prompt or template to complete")
        reference = (
            PromptReference(name=found.name) if prompt else TemplateReference(uri=found.name)
        )
        renamed = call.with_members(ref=reference)
        return await self._relay(found, renamed, call)

    def _ask_through(self, found: Found, call: Call, **names: str) -> Awaitable[Result]:
        modern = self._realm(call).upstreams[found.server].modern
        return self._asking.relay(found, call, modern=modern, **names)

    async def _relay(self, found: Found, renamed: Call, call: Call) -> RawResult:
        renamed.outlet = Relay(call, found.server)
        realm = self._realm(call) if self._several else self._first
        upstream = realm.upstreams[found.server]
        try:
            result = await upstream.handle(renamed)
            if result.kind != "complete":
                result = await self._unfinished(found, call, result)
            return result
        except PeerError as error:
            raise _failure(found.server, error) from error

    async def _unfinished(self, found: Found, call: Call, result: RawResult) -> RawResult:
        if result.kind == "input_required":
            return self._asking.wrapped(found, call, result)
        return await self._tasks.unfinished(found, call, result)

    def _list(self, kind: str) -> Handler:
        async def page(call: Call) -> Result:
            realm = self._realm(call)
            await realm.wake()
            await realm.settled(FIRST_LIST_SECONDS)
            return realm.catalog.page(kind, modern=call.envelope.revision.modern)

        return page

    # What the gateway says of itself.

    async def _initialize(self, call: Call) -> InitializeResult:
        assert call.session is not None
        realm = self._realm(call)
        realm.subscriptions.attach(call.session)
        return InitializeResult(
            protocol_version=call.envelope.revision.name,
            capabilities=self._tasks.shown(call, _CAPABILITIES),
            server_info=self.info,
            instructions=_instructions(realm),
        )

    async def _discover(self, call: Call) -> DiscoverResult:
        return DiscoverResult(
            supported_versions=sorted(MODERN),
            capabilities=self._tasks.shown(call, _CAPABILITIES),
            instructions=_instructions(self._realm(call)),
            ttl_ms=0,
            cache_scope="private",
        )

    def _subscribe(self, call: Call) -> Awaitable[Result]:
        assert isinstance(call.params, SubscribeParams)
        uri = call.params.uri
        realm = self._realm(call)
        if realm.catalog.uri(uri) is None:
            raise ResourceNotFound(uri)
        return realm.subscriptions.subscribe(call)

    async def _relay_later(self, noun: str, name: str, realm: Realm, call: Call) -> Result:
        """Relay a call to a name that is not known, if its server is only about to start."""
        upstream = realm.owner(name)
        found: Found | None = None
        if upstream is not None:
            await upstream.wake()
            if not upstream.settled.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CALL_WAITS):
                        await upstream.settled.wait()
            catalog = realm.catalog
            found = catalog.tool(name) if noun == "tool" else catalog.prompt(name)
            if found is None and (needed := upstream.login_needed) is not None:
                raise _failure(upstream.name, needed)
        if found is None:
            raise RpcError(INVALID_PARAMS, f"Unknown {noun}: {name!r}{_hint(upstream)}")
        hold(call, found.mirrored)
        if noun == "tool":
            return await self._tasks.call(found, call)
        return await self._ask_through(found, call, name=found.name)


_CAPABILITIES: Final = ServerCapabilities(
    tools=ListCapability(list_changed=True),
    resources=ResourcesCapability(subscribe=True, list_changed=True),
    prompts=ListCapability(list_changed=True),
    completions={},
    logging={},
)
"""All of it from the first moment: what a server that still starts will offer is not known yet."""


async def _done(call: Call) -> EmptyResult:
    return EmptyResult()


def _instructions(realm: Realm) -> str | None:
    parts = [
        f"## {name}\n{text[:INSTRUCTIONS_LIMIT]}"
        for name, upstream in realm.upstreams.items()
        if (text := upstream.instructions)
    ]
    return "\n\n".join(parts) or None


def _hint(upstream: Upstream | None) -> str:
    """Why a name is missing that may have been there, or may come."""
    if upstream is None or upstream.state is State.RUNNING:
        return ""
    return f"; its server {upstream.name!r} is {upstream.state}"


def _failure(server: str, error: PeerError) -> RpcError:
    """What a caller is told of a server that failed."""
    data: dict[str, Any] = {"server": server}
    if isinstance(error, ServerExited):
        data |= {"returncode": error.returncode, "stderr": list(error.stderr)}
    if isinstance(error, LoginNeeded):
        data["login"] = True
    return RpcError(INTERNAL_ERROR, _naming(server, error), data)


def _naming(server: str, error: PeerError) -> str:
    text = str(error)
    return text if f"'{server}'" in text else f"server {server!r}: {text}"


def _with_public_uris(result: RawResult, server: str) -> RawResult:
    """A read's result with the URIs of its contents as the gateway calls them."""
    fields = members(result.body)
    if "contents" not in fields:
        return result  # It asks for input, and has no contents yet.
    try:
        contents = _contents.decode(fields["contents"])
        for item in contents:
            if "uri" in item:
                item["uri"] = Raw(encode(public_uri(server, _text.decode(item["uri"]))))
    except UNREADABLE:
        return result  # Malformed; the client will say so better than we could.
    fields["contents"] = Raw(encode(contents))
    return RawResult(body=Raw(encode(fields)), relayed=True)
