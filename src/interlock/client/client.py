"""Client: one method a protocol method, and a Handler beneath them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

import msgspec
from msgspec import Raw

from interlock.client.answers import (
    AnswerDesk,
    Answers,
    Desk,
    OnElicit,
    OnElicitUrl,
    OnSample,
    read_root,
)
from interlock.client.cache import Cache, View
from interlock.client.connect import open_link
from interlock.client.greeting import Wish, wished
from interlock.client.listing import Listing
from interlock.client.promised import Promised
from interlock.client.reading import (
    ToolResult,
    read_contents,
    read_page,
    read_prompt,
    read_result,
    read_tool_result,
)
from interlock.client.subscriptions import Subscription
from interlock.client.target import Command, Target, Url, authorized, read_target
from interlock.client.tasks import Task, created, support_of
from interlock.errors import (
    LEGACY_RESOURCE_NOT_FOUND,
    METHOD_NOT_FOUND,
    ConfigError,
    InvalidMessage,
    NotConnected,
    PeerError,
    ResourceNotFound,
    RpcError,
    UsageError,
)
from interlock.protocol.call import Call
from interlock.protocol.rounds import rounds
from interlock.protocol.session import Envelope
from interlock.transport.link import Authorization, Guardian, Link
from interlock.version import VERSION
from interlock.wire.completion import (
    CompleteParams,
    CompleteResult,
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    TemplateReference,
)
from interlock.wire.inputs import Root
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.lifecycle import (
    DiscoverResult,
    InitializeResult,
    ServerCapabilities,
    SetLevelParams,
)
from interlock.wire.meta import (
    SERVER_INFO,
    Implementation,
    LogLevel,
    PagedParams,
    Params,
    RawResult,
    Wire,
    members,
)
from interlock.wire.methods import BY_NAME, Method
from interlock.wire.notices import (
    ELICITED,
    MESSAGE,
    PROGRESS,
    PROMPTS_CHANGED,
    RESOURCE_UPDATED,
    RESOURCES_CHANGED,
    TOOLS_CHANGED,
    ElicitedNotice,
    Filter,
    Kind,
    LogNotice,
    ProgressNotice,
    UpdatedNotice,
)
from interlock.wire.prompts import GetPromptParams, GetPromptResult, Prompt
from interlock.wire.resources import (
    ReadResourceParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    SubscribeParams,
)
from interlock.wire.tasks import EXTENSION, TERMINAL, Augmentation, Support
from interlock.wire.tasks import Task as WireTask
from interlock.wire.tools import CallToolParams, Tool

T = TypeVar("T")

OnProgress: TypeAlias = Callable[[ProgressNotice], None]
OnLog: TypeAlias = Callable[[LogNotice], None]
OnChange: TypeAlias = Callable[[Kind], None]
OnUpdate: TypeAlias = Callable[[str], None]
OnVisited: TypeAlias = Callable[[str], None]

log: Final = logging.getLogger("interlock.client")

PATIENCE: Final = 60.0
"""Seconds a call waits for its answer, counted anew with each progress notice."""

PARTING: Final = 1.0
"""Seconds that a client which closes waits for a server to hear that tasks are given up."""

CALL: Final = BY_NAME["tools/call"]
SET_LEVEL: Final = BY_NAME["logging/setLevel"]

_CHANGES: Final[dict[str, Kind]] = {
    TOOLS_CHANGED: "tools",
    PROMPTS_CHANGED: "prompts",
    RESOURCES_CHANGED: "resources",
}


class Client:
    """A connection to one server, whatever it speaks and wherever it runs.

    *target* is a URL, a command (a list, or one string), the path of a `.py` file, a server
    object, or a function that opens a `Channel`. Use it with `async with`, or call `connect()` and
    `close()` from any task, in any order; a closed client can be connected again. Calls may run
    concurrently.

    *revision* is "auto", "modern", "legacy" or a date. *timeout* is how many seconds a call waits
    without progress (None: for ever), *connect_timeout* how long starting and greeting may take.

    *on_elicit*, *on_elicit_url*, *on_sample* and *roots* (paths or file URIs) are what a server may
    ask in the middle of a call, in whichever era; what is not given is not declared. *sample_tools*
    says that *on_sample* lets its model use the tools that come with a request. *desk* answers
    instead of them. *on_log* hears what the server logs, from *log_level* on ("info" for a modern
    server, its own choice for a legacy one); *on_change* that a list changed, *on_update* that a
    resource did which was subscribed to, *on_visited* that what a person was sent to visit is done
    there: the `elicitation_id` of a 2025-11-25 server's request. *on_stderr* gets the lines that a
    started program writes there, *on_noise* what it sends that is no message. These are plain
    functions, called in the event loop: they must return quickly, and what they raise is only
    logged.

    *name* and *version* are who we say we are, *label* what our errors call the server. *warden*
    ends the program if this one is killed. With *cache* lists, reads and discovery are kept for as
    long as a modern server says they may be; give the same `Cache` to several clients of a URL, and
    they share what it calls public. *auth* proves to a server at a URL who we are: an `OAuth` has a
    person log in, and programs have ways of their own (`interlock.auth.oauth`).
    """

    def __init__(
        self,
        target: Target,
        *,
        name: str = "interlock",
        version: str = VERSION,
        revision: str = "auto",
        timeout: float | None = PATIENCE,
        connect_timeout: float = 30.0,
        on_elicit: OnElicit | None = None,
        on_sample: OnSample | None = None,
        roots: Sequence[str | Path | Root] | None = None,
        on_elicit_url: OnElicitUrl | None = None,
        sample_tools: bool = False,
        desk: Desk | None = None,
        on_log: OnLog | None = None,
        log_level: LogLevel | None = None,
        on_change: OnChange | None = None,
        on_update: OnUpdate | None = None,
        on_visited: OnVisited | None = None,
        on_stderr: Callable[[str], None] | None = None,
        on_noise: Callable[[str], None] | None = None,
        label: str | None = None,
        warden: Guardian | None = None,
        cache: Cache | bool = True,
        auth: Authorization | None = None,
    ) -> None:
        self.target = read_target(target)
        if auth is not None:
            self.target = authorized(self.target, auth)
        self._patience = timeout
        self._on_log = _plain(on_log, "on_log")
        self._on_change = _plain(on_change, "on_change")
        self._on_update = _plain(on_update, "on_update")
        self._on_visited = _plain(on_visited, "on_visited")
        self._log_level: LogLevel | None = log_level
        self._asks_logs: LogLevel | None = log_level or ("info" if on_log is not None else None)
        info = Implementation(name=name, version=version)
        answers = Answers(
            on_elicit,
            on_sample,
            [read_root(root) for root in roots] if roots is not None else None,
            on_elicit_url,
            sample_tools,
        )
        capabilities = desk.capabilities if desk is not None else answers.capabilities
        if desk is None:
            # Whoever calls tools through this client never sees that one became a task.
            ways = dict.fromkeys(auth.extensions if auth is not None else ())
            extensions: dict[str, Any] = {EXTENSION: {}, **{way: {} for way in ways}}
            capabilities = msgspec.structs.replace(capabilities, extensions=extensions)
            desk = AnswerDesk(info, answers)
        modern, legacy = wished(revision)
        self._wish = Wish(
            name=label or _label(self.target),
            info=info,
            capabilities=capabilities,
            desk=desk,
            modern=modern,
            legacy=legacy,
            timeout=connect_timeout,
            on_notice=self._notice,
            on_stderr=_plain(on_stderr, "on_stderr"),
            on_noise=_plain(on_noise, "on_noise"),
            on_person=self._met,
            warden=warden,
            listening=on_change is not None or on_log is not None,
        )
        self._link: Link | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waiting = 0
        self._subscription: Subscription | None = None
        self._parting: set[asyncio.Task[None]] = set()
        self._supports: dict[str, Support] | None = None
        self._promised = Promised()
        self._kept = _view(cache, self.target)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect and settle the era; does nothing if connected.

        Raises `ConnectFailed`, `ServerExited` with what the program said on stderr, or `TimedOut`.
        Whoever fails or is cancelled here leaves nothing running.
        """
        if self._link is not None:
            return
        # In a task of its own: several may wait for it, and whoever closes can end it.
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="interlock connect")
        opening = self._opening
        self._waiting += 1
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            if opening.cancelled():
                raise NotConnected("The client was closed while it connected") from None
            if self._waiting == 1:
                await self._abandon(opening)
            raise
        finally:
            self._waiting -= 1
            if opening.done() and self._opening is opening:
                self._opening = None

    async def close(self) -> None:
        """End the connection, and the program if this client started it. Safe to call twice.

        Calls that wait for an answer raise `ConnectionLost`.
        """
        opening, self._opening = self._opening, None
        if opening is not None:
            await _end(opening)
        if self._parting:
            # They may still be telling the server; but not for long.
            await asyncio.wait(list(self._parting), timeout=PARTING)
        link, self._link = self._link, None
        self._supports = None
        if self._kept is not None:
            self._kept.clear()  # Nobody tells what changes from here on.
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.close()
        if link is not None:
            await link.close()

    async def _open(self) -> None:
        link = await open_link(self.target, self._wish)
        if self._kept is not None:
            link = self._kept.over(link)
        try:
            # A server that refuses to be listened to, or to log, can still be used.
            with contextlib.suppress(RpcError):
                if link.envelope.revision.modern:
                    self._subscription = Subscription(link, self._notice)
                    await self._subscription.want(self._lists(link))
                elif self._log_level is not None and link.greeting.capabilities.logging is not None:
                    level = SetLevelParams(level=self._log_level)
                    await self._request(link, SET_LEVEL, level, math.inf)
        except BaseException:
            if self._subscription is not None:
                await self._subscription.close()
            self._subscription = None
            await link.close()
            raise
        self._link = link

    async def _abandon(self, opening: asyncio.Task[None]) -> None:
        """Undo what nobody waits for any more."""
        await _end(opening)
        await self.close()

    # What the server said of itself.

    @property
    def link(self) -> Link:
        """The way to the server; raises `NotConnected` where there is none."""
        if self._link is None:
            raise NotConnected("The client is not connected: use `async with`, or await connect()")
        return self._link

    @property
    def revision(self) -> str:
        """The revision that was settled on."""
        return self.link.envelope.revision.name

    @property
    def capabilities(self) -> ServerCapabilities:
        return self.link.greeting.capabilities

    @property
    def instructions(self) -> str | None:
        """What the server tells a model about itself as a whole."""
        return self.link.greeting.instructions

    @property
    def server_info(self) -> Implementation | None:
        """Who the server says it is, if it does. For display only."""
        greeting: InitializeResult | DiscoverResult = self.link.greeting
        if isinstance(greeting, InitializeResult):
            return greeting.server_info
        said = (greeting.meta or {}).get(SERVER_INFO)
        try:
            return msgspec.convert(said, Implementation) if said is not None else None
        except msgspec.ValidationError:
            return None

    # Tools.

    def list_tools(self) -> Listing[Tool]:
        """The tools: `await` it for a list, or iterate with `async for`."""
        return self._list("tools/list", "tools", "tools", Tool)

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
        on_progress: OnProgress | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> ToolResult:
        """Call a tool. One that fails says so in the result (`is_error`), and raises nothing.

        *timeout* replaces the client's for this call (`math.inf`: none); each progress notice
        starts it anew, while *deadline* is how many seconds it may take whatever happens. *meta*
        travels in `_meta`. Raises `RpcError` for an unknown tool or arguments the server refuses,
        `TimedOut`, and `ConnectionLost`, after which nobody knows whether the call ran. A result
        that breaks what its tool promised when it was listed says so (`complaint`).

        A server that makes a task of the call is asked until there is a result; what the task asks
        is answered as anything is that a call asks, and whoever gives up the call cancels it.
        """
        until = asyncio.get_running_loop().time() + deadline if deadline is not None else None
        params = CallToolParams(name=name, arguments=Raw(encode(arguments or {})))
        link = self.link
        if not link.envelope.revision.modern and await self._task_support(name) == "required":
            params = _augmented(params)
        result = await self._request(
            link, CALL, params, timeout, until, on_progress=on_progress, meta=meta
        )
        if result.kind != "task" and not params.task:
            return self._promised.hold(name, read_tool_result(result))
        task = self._task(created(result))
        left = until - asyncio.get_running_loop().time() if until is not None else None
        try:
            return self._promised.hold(name, await task.result(deadline=left))
        except BaseException:
            if task.status not in TERMINAL:
                parting = asyncio.create_task(task.abandon())
                self._parting.add(parting)
                parting.add_done_callback(self._parting.discard)
            raise

    async def start_task(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Task:
        """Call a tool and get the task that the server makes of it, without waiting for its end.

        Where it makes none, because it does not want to or is too old, this waits for the result,
        and the task is over. *ttl* is for how many seconds it should be kept; only servers of
        2025-11-25 let a client say so. Raises what `call_tool` does.
        """
        params = CallToolParams(name=name, arguments=Raw(encode(arguments or {})))
        if await self._task_support(name) != "forbidden":
            params = _augmented(params, ttl)
        result = await self.request("tools/call", params, timeout=timeout, meta=meta)
        if result.kind == "task" or params.task:
            return self._task(created(result))
        return self._task(None, done=read_tool_result(result))

    def task(self, id: str) -> Task:
        """The task with this id, which was started earlier, here or elsewhere; nothing is sent."""
        return self._task(None, id=id)

    def _task(self, seed: WireTask | None, id: str = "", done: ToolResult | None = None) -> Task:
        modern = self.link.envelope.revision.modern
        return Task(self.request, self._wish.desk.ask, modern=modern, id=id, seed=seed, done=done)

    async def _task_support(self, name: str) -> Support:
        """Whether a call of this tool may, or must, ask for a task (2025-11-25 § Tasks).

        What a tool supports is listed, and nowhere else: one list is asked for, of a server that
        takes calls as tasks at all.
        """
        link = self.link
        match link.greeting.capabilities.tasks:
            case {"requests": {"tools": {"call": _}}} if not link.envelope.revision.modern:
                pass
            case _:
                return "forbidden"
        if self._supports is None:
            self._supports = {tool.name: support_of(tool) for tool in await self.list_tools()}
        return self._supports.get(name, "forbidden")

    # Resources.

    def list_resources(self) -> Listing[Resource]:
        """The resources that have a URI of their own; `await` it or iterate over it."""
        return self._list("resources/list", "resources", "resources", Resource)

    def list_resource_templates(self) -> Listing[ResourceTemplate]:
        """The families of resources; `await` it or iterate over it."""
        return self._list(
            "resources/templates/list", "resource templates", "resourceTemplates", ResourceTemplate
        )

    async def read_resource(
        self,
        uri: str,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> ReadResourceResult:
        """Read a resource; raises `ResourceNotFound` if the server has none with this URI."""
        params = ReadResourceParams(uri=uri)
        try:
            result = await self.request(
                "resources/read", params, timeout=timeout, on_progress=on_progress
            )
        except RpcError as error:
            if error.code != LEGACY_RESOURCE_NOT_FOUND:
                raise
            raise ResourceNotFound(uri) from error  # Its code says it all; the URI is optional.
        return read_contents(result, uri)

    async def subscribe(self, uri: str) -> None:
        """Have `on_update` called whenever the resource changes, until `unsubscribe` or `close`.

        Raises `RpcError` if the server does not offer that, `PeerError` if not for this resource.
        """
        subscription = self._subscription
        if subscription is None:
            await self.request("resources/subscribe", SubscribeParams(uri=uri))
            return
        watched = subscription.filter.resource_subscriptions or []
        if uri not in watched:
            await self._watch(subscription, [*watched, uri])

    async def unsubscribe(self, uri: str) -> None:
        """Hear no more of a resource; no error if it was not subscribed to."""
        subscription = self._subscription
        if subscription is None:
            await self.request("resources/unsubscribe", SubscribeParams(uri=uri))
            return
        watched = subscription.filter.resource_subscriptions or []
        if uri in watched:
            await self._watch(subscription, [other for other in watched if other != uri])

    # Prompts.

    def list_prompts(self) -> Listing[Prompt]:
        """The prompts; `await` it or iterate over it."""
        return self._list("prompts/list", "prompts", "prompts", Prompt)

    async def get_prompt(
        self,
        name: str,
        arguments: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> GetPromptResult:
        """Fill in a prompt. Its arguments are strings, whatever they stand for."""
        params = GetPromptParams(name=name, arguments=dict(arguments) if arguments else None)
        result = await self.request("prompts/get", params, timeout=timeout, on_progress=on_progress)
        return read_prompt(result)

    async def complete(
        self,
        reference: str | PromptReference | TemplateReference,
        argument: str,
        value: str = "",
        *,
        context: Mapping[str, str] | None = None,
    ) -> Completion:
        """Suggestions for an argument, of which *value* was typed and *context* is known.

        A string as *reference* is a prompt's name, or a template's URI if it has `{variables}`.
        """
        if isinstance(reference, str):
            is_template = "{" in reference
            reference = (
                TemplateReference(uri=reference) if is_template else PromptReference(name=reference)
            )
        params = CompleteParams(
            ref=reference,
            argument=CompletionArgument(name=argument, value=value),
            context=CompletionContext(arguments=dict(context)) if context else None,
        )
        result = await self.request("completion/complete", params)
        return read_result(result, CompleteResult).completion

    # Beneath.

    async def request(
        self,
        method: str,
        params: Params,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
        on_progress: OnProgress | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> RawResult:
        """Any request of the protocol; its result is JSON, still unread."""
        row = BY_NAME.get(method)
        if row is None:
            raise UsageError(f"{method!r} is no method of the protocol")
        until = asyncio.get_running_loop().time() + deadline if deadline is not None else None
        return await self._request(
            self.link, row, params, timeout, until, on_progress=on_progress, meta=meta
        )

    async def _request(
        self,
        link: Link,
        row: Method,
        params: Params,
        timeout: float | None = None,
        until: float | None = None,
        *,
        on_progress: OnProgress | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> RawResult:
        """What `request` does; *until* is the event loop's time."""
        raw = Raw()
        if meta:
            raw = Raw(encode({**members(encode(params)), "_meta": dict(meta)}))
        patience = timeout if timeout is not None else self._patience
        if patience == math.inf:
            patience = None
        envelope = link.envelope
        if self._asks_logs is not None and envelope.revision.modern:
            envelope = Envelope(
                envelope.revision, envelope.client, envelope.capabilities, self._asks_logs
            )
        call = Call(
            row,
            params,
            envelope,
            outlet=_Ear(self._notice, _plain(on_progress, "on_progress")),
            raw=raw,
            patience=patience,
            deadline=until,
        )
        result = await link.handle(call)
        if result.kind == "input_required":
            result = await rounds(link.handle, call, result, self._wish.desk.ask)
        if result.kind == "task" and row is not CALL:
            raise InvalidMessage(f"{row.name} was answered with a task, which only tools become")
        return result

    def _list(self, method: str, what: str, member: str, item: type[T]) -> Listing[T]:
        async def page(cursor: str | None) -> tuple[list[T], str | None]:
            try:
                answer = await self.request(method, PagedParams(cursor=cursor))
            except RpcError as error:
                # Servers without resources often lack the method: that is an empty list.
                if error.code == METHOD_NOT_FOUND and cursor is None:
                    return [], None
                raise
            items, following = read_page(answer, member, item, what)
            if method == "tools/list":
                self._promised.learn(item for item in items if isinstance(item, Tool))
            return items, following

        return Listing(what, page)

    def _lists(self, link: Link) -> Filter:
        """The list changes that someone wants to hear of, and that the server tells."""
        if self._on_change is None:
            return Filter()
        can = link.greeting.capabilities
        return Filter(
            tools_list_changed=can.tools is not None and can.tools.list_changed,
            prompts_list_changed=can.prompts is not None and can.prompts.list_changed,
            resources_list_changed=can.resources is not None and can.resources.list_changed,
        )

    async def _watch(self, subscription: Subscription, uris: list[str]) -> None:
        lists = self._lists(self.link)
        await subscription.want(msgspec.structs.replace(lists, resource_subscriptions=uris or None))
        if refused := subscription.refused:
            kept = [uri for uri in uris if uri not in refused] or None
            await subscription.want(msgspec.structs.replace(lists, resource_subscriptions=kept))
            raise PeerError(f"{self._wish.name} does not tell of {', '.join(refused)}")

    def _met(self, waiting: bool) -> None:
        """A person logs in, or has: what is kept was for who we were before."""
        if not waiting and self._kept is not None:
            self._kept.clear()

    def _notice(self, method: str, params: Raw) -> None:
        if self._kept is not None:
            self._kept.hear(method, params)
        try:
            if method == TOOLS_CHANGED:
                self._supports = None
            if method in _CHANGES:
                _tell(self._on_change, _CHANGES[method])
            elif method == RESOURCE_UPDATED:
                _tell(self._on_update, msgspec.json.decode(params, type=UpdatedNotice).uri)
            elif method == ELICITED:
                notice = msgspec.json.decode(params, type=ElicitedNotice)
                _tell(self._on_visited, notice.elicitation_id)
            elif method == MESSAGE:
                _tell(self._on_log, msgspec.json.decode(params, type=LogNotice))
        except UNREADABLE as error:
            # A notification that nobody can read changes nothing.
            log.debug("%s of %s: %s", method, self._wish.name, error)


class _Ear(msgspec.Struct, eq=False):
    """The outlet of one call of a client: progress to the caller, the rest to the client."""

    on_notice: Callable[[str, Raw], None]
    on_progress: OnProgress | None

    def notify(self, method: str, params: Wire | Raw) -> None:
        if method == PROGRESS:
            if isinstance(params, ProgressNotice):
                _tell(self.on_progress, params)
        elif isinstance(params, Raw):
            self.on_notice(method, params)

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        raise NotConnected(f"{method}: a client's call asks nobody")

    def close_stream(self, retry: float) -> None:
        pass


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # Read: it failed on its own, and nobody waits for it any more.


def _tell(callback: Callable[[T], None] | None, what: T) -> None:
    if callback is None:
        return
    try:
        callback(what)
    except Exception:
        # The top of a user's code: whatever it does must not end the task that reads for all calls.
        log.exception("the callback %r failed", callback)


def _plain(callback: Callable[..., None] | None, name: str) -> Any:
    if callback is not None and inspect.iscoroutinefunction(callback):
        raise ConfigError(f"{name} must be a plain function: it is called, not awaited")
    return callback


def _view(cache: Cache | bool, target: object) -> View | None:
    """What a client may keep. Only a URL names a server that others reach as well."""
    if cache is False:
        return None
    store = cache if isinstance(cache, Cache) else Cache()
    return store.view(target.url if isinstance(target, Url) else None)


def _augmented(params: CallToolParams, ttl: float | None = None) -> CallToolParams:
    """A call that asks for a task, as the experiment has it."""
    wanted = Augmentation(ttl=int(ttl * 1000) if ttl is not None else None)
    return msgspec.structs.replace(params, task=Raw(encode(wanted)))


def _label(target: object) -> str:
    if isinstance(target, Url):
        return target.url
    if isinstance(target, Command):
        return target.command
    info = getattr(target, "info", None)
    return info.name if isinstance(info, Implementation) else "server"
