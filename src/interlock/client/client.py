"""Client: one method a protocol method, and a Handler beneath them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec
from msgspec import Raw, Struct

from interlock.client.answers import AnswerDesk, Answers, OnElicit, OnSample
from interlock.client.connect import Wish, open_link, wished
from interlock.client.listing import Listing
from interlock.client.subscriptions import listen
from interlock.client.target import Target, read_target
from interlock.errors import InvalidMessage, NotConnected
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.transport.link import Link
from interlock.transport.warden import Warden
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
from interlock.wire.content import Text, read
from interlock.wire.inputs import Root
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.lifecycle import DiscoverResult, InitializeResult, ServerCapabilities
from interlock.wire.meta import SERVER_INFO, Implementation, PagedParams, Params, RawResult, Wire
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import (
    MESSAGE,
    PROGRESS,
    PROMPTS_CHANGED,
    RESOURCE_UPDATED,
    RESOURCES_CHANGED,
    TOOLS_CHANGED,
    Filter,
    Kind,
    LogNotice,
    ProgressNotice,
    UpdatedNotice,
)
from interlock.wire.prompts import GetPromptParams, GetPromptResult, ListPromptsResult, Prompt
from interlock.wire.resources import (
    ListResourcesResult,
    ListResourceTemplatesResult,
    ReadResourceParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
)
from interlock.wire.tools import AnyBlock, CallToolParams, ListToolsResult, ReadToolResult, Tool

R = TypeVar("R")

OnProgress = Callable[[ProgressNotice], None]
OnLog = Callable[[LogNotice], None]
OnChange = Callable[[Kind], None]
OnUpdate = Callable[[str], None]

PATIENCE: Final = 60.0
"""Seconds a call waits for its answer, counted anew with each progress notice."""

_CHANGES: Final[dict[str, Kind]] = {
    TOOLS_CHANGED: "tools",
    PROMPTS_CHANGED: "prompts",
    RESOURCES_CHANGED: "resources",
}


class ToolResult(Struct, frozen=True):
    """What a tool answered.

    *structured* is None both for none and for JSON null; *has_structured* tells them apart. With
    *is_error* the content says what went wrong.
    """

    content: list[AnyBlock]
    structured: Any = None
    is_error: bool = False
    has_structured: bool = False
    meta: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The text blocks, joined by newlines."""
        return "\n".join(block.text for block in self.content if isinstance(block, Text))


class Client:
    """A connection to one server, whatever it speaks and wherever it runs.

    *target* is a URL, a command (a list, or one string), a path to a `.py` file, or a server
    object. Use it with `async with`, or call `connect()` and `close()` from any task, in any
    order. *revision* is "auto", "modern", "legacy" or a date. *timeout* is how many seconds a call
    waits without progress, *connect_timeout* how long starting and greeting may take.

    *on_elicit*, *on_sample* and *roots* are what a server may ask; what is not given is not
    declared. *on_log*, *on_change* and *on_update* hear what belongs to no call; they must return
    quickly. Calls may run concurrently.
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
        roots: Sequence[str | Root] | None = None,
        on_log: OnLog | None = None,
        on_change: OnChange | None = None,
        on_update: OnUpdate | None = None,
        on_stderr: Callable[[str], None] | None = None,
        on_noise: Callable[[str], None] | None = None,
        label: str | None = None,
        warden: Warden | None = None,
    ) -> None:
        self.target = read_target(target)
        self._patience = timeout
        self._on_log = on_log
        self._on_change = on_change
        self._on_update = on_update
        info = Implementation(name=name, version=version)
        answers = Answers(on_elicit, on_sample, roots)
        modern, legacy = wished(revision)
        self._wish = Wish(
            name=label or _label(self.target),
            info=info,
            capabilities=answers.capabilities,
            desk=AnswerDesk(info, answers),
            modern=modern,
            legacy=legacy,
            timeout=connect_timeout,
            on_notice=self._notice,
            on_stderr=on_stderr,
            on_noise=on_noise,
            warden=warden,
        )
        self._link: Link | None = None
        self._opening: asyncio.Lock | None = None
        self._listening: asyncio.Task[None] | None = None

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
        """Connect and settle the era; does nothing if connected. Raises `ConnectFailed`."""
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._link is None:
                self._link = await open_link(self.target, self._wish)
                self._listen(self._link)

    async def close(self) -> None:
        """End the connection, and the program if this client started it. Safe to call twice."""
        link, self._link = self._link, None
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.wait([listening])
        if link is not None:
            await link.close()

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
        return self._list("tools/list", "tools", ListToolsResult, lambda page: page.tools)

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> ToolResult:
        """Call a tool. One that fails says so in the result (`is_error`), and raises nothing.

        *timeout* replaces the client's for this call; each progress notice starts it anew. *meta*
        travels in `_meta`. Raises `RpcError` for an unknown tool or arguments the server refuses,
        `TimedOut`, `ConnectionLost`.
        """
        params = CallToolParams(name=name, arguments=Raw(encode(arguments or {})))
        result = await self.request(
            "tools/call", params, timeout=timeout, on_progress=on_progress, meta=meta
        )
        return read_tool_result(result)

    # Resources.

    def list_resources(self) -> Listing[Resource]:
        return self._list(
            "resources/list", "resources", ListResourcesResult, lambda page: page.resources
        )

    def list_resource_templates(self) -> Listing[ResourceTemplate]:
        return self._list(
            "resources/templates/list",
            "resource templates",
            ListResourceTemplatesResult,
            lambda page: page.resource_templates,
        )

    async def read_resource(self, uri: str, *, timeout: float | None = None) -> ReadResourceResult:
        """Read a resource; raises `ResourceNotFound` if the server has none with this URI."""
        result = await self.request("resources/read", ReadResourceParams(uri=uri), timeout=timeout)
        return _decoded(result, ReadResourceResult)

    # Prompts.

    def list_prompts(self) -> Listing[Prompt]:
        return self._list("prompts/list", "prompts", ListPromptsResult, lambda page: page.prompts)

    async def get_prompt(
        self,
        name: str,
        arguments: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> GetPromptResult:
        """Fill in a prompt. Its arguments are strings, whatever they stand for."""
        params = GetPromptParams(name=name, arguments=dict(arguments) if arguments else None)
        result = await self.request("prompts/get", params, timeout=timeout)
        return _decoded(result, GetPromptResult)

    async def complete(
        self,
        reference: PromptReference | TemplateReference,
        argument: str,
        value: str,
        *,
        context: Mapping[str, str] | None = None,
    ) -> Completion:
        """Suggestions for an argument, of which *value* was typed and *context* is known."""
        params = CompleteParams(
            ref=reference,
            argument=CompletionArgument(name=argument, value=value),
            context=CompletionContext(arguments=dict(context)) if context else None,
        )
        result = await self.request("completion/complete", params)
        return _decoded(result, CompleteResult).completion

    # Beneath.

    async def request(
        self,
        method: str,
        params: Params,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> RawResult:
        """Any request of the protocol; its result is JSON, still unread."""
        link = self.link
        row = BY_NAME[method]
        raw = Raw()
        if meta:
            raw = Raw(encode({**msgspec.to_builtins(params), "_meta": dict(meta)}))
        call = Call(
            row,
            params,
            link.envelope,
            outlet=_Ear(self._notice, on_progress),
            raw=raw,
            patience=timeout if timeout is not None else self._patience,
        )
        return await link.handle(call)

    @property
    def envelope(self) -> Envelope:
        return self.link.envelope

    def _list(
        self, method: str, what: str, result: type[R], items: Callable[[R], list[Any]]
    ) -> Listing[Any]:
        async def page(cursor: str | None) -> tuple[list[Any], str | None]:
            answer = await self.request(method, PagedParams(cursor=cursor))
            read = _decoded(answer, result)
            return items(read), read.next_cursor  # type: ignore[attr-defined]

        return Listing(what, page)

    def _listen(self, link: Link) -> None:
        """Hear of changes in the modern era, if anyone wants to."""
        if self._on_change is None or not link.envelope.revision.modern:
            return
        can = link.greeting.capabilities
        wanted = Filter(
            tools_list_changed=can.tools is not None and can.tools.list_changed,
            prompts_list_changed=can.prompts is not None and can.prompts.list_changed,
            resources_list_changed=can.resources is not None and can.resources.list_changed,
        )
        if wanted != Filter():
            self._listening = asyncio.create_task(listen(link, wanted, self._notice))

    def _notice(self, method: str, params: Raw) -> None:
        try:
            if method in _CHANGES:
                if self._on_change is not None:
                    self._on_change(_CHANGES[method])
            elif method == RESOURCE_UPDATED:
                if self._on_update is not None:
                    self._on_update(msgspec.json.decode(params, type=UpdatedNotice).uri)
            elif method == MESSAGE and self._on_log is not None:
                self._on_log(msgspec.json.decode(params, type=LogNotice))
        except UNREADABLE:
            pass  # A notification nobody can read changes nothing.


class _Ear:
    """The outlet of one call of a client: progress to the caller, the rest to the client."""

    __slots__ = ("_on_notice", "_on_progress")

    def __init__(
        self, on_notice: Callable[[str, Raw], None], on_progress: OnProgress | None
    ) -> None:
        self._on_notice = on_notice
        self._on_progress = on_progress

    def notify(self, method: str, params: Wire | Raw) -> None:
        if method == PROGRESS:
            if self._on_progress is not None and isinstance(params, ProgressNotice):
                self._on_progress(params)
        elif isinstance(params, Raw):
            self._on_notice(method, params)

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw) -> Raw:
        raise NotConnected(f"{method}: a client's call asks nobody")


def read_tool_result(result: RawResult) -> ToolResult:
    """A `tools/call` result as a user sees it; what is unknown in it is kept, not refused."""
    if result_kind(result) == "input_required":
        raise InvalidMessage(
            "The server asks for input before it answers; this client does not answer that yet"
        )
    read_result = _decoded(result, ReadToolResult)
    structured = read_result.structured_content
    return ToolResult(
        content=[read(block) for block in read_result.content],
        structured=msgspec.json.decode(structured) if structured else None,
        is_error=read_result.is_error,
        has_structured=bool(structured),
        meta=read_result.meta,
    )


class _Kind(Struct):
    kind: str = msgspec.field(default="complete", name="resultType")


def result_kind(result: RawResult) -> str:
    """Which kind of result it says it is; one that does not say so is complete."""
    return msgspec.json.decode(result.body, type=_Kind).kind


def _decoded(result: RawResult, type: type[R]) -> R:
    try:
        return msgspec.json.decode(result.body, type=type)
    except UNREADABLE as error:
        raise InvalidMessage(f"The server's answer is no {type.__name__}: {error}") from None


def _label(target: object) -> str:
    for attribute in ("url", "command"):
        if hasattr(target, attribute):
            return str(getattr(target, attribute))
    return "server"
