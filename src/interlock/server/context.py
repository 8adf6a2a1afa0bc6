"""What a handler may do while it runs: report, log, read, ask."""

from __future__ import annotations

import inspect
import math
import os
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, overload
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

from interlock.errors import INVALID_PARAMS, MissingCapability, RpcError, UsageError
from interlock.protocol.abilities import lacking
from interlock.protocol.call import Call, Principal
from interlock.protocol.sealing import Keyring, Unsealed, binding, unusable
from interlock.protocol.session import Envelope
from interlock.server.forms import Elicited, complaint, filled_in, form_of, has_several
from interlock.server.forms import check as check_form
from interlock.server.older import singly
from interlock.wire.apps import takes_apps
from interlock.wire.content import ResourceContents, Text, ToolOutcome, ToolUse
from interlock.wire.decoding import Decoder
from interlock.wire.inputs import (
    ELICIT,
    ROOTS,
    SAMPLE,
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
    ListRootsParams,
    ListRootsResult,
    Root,
    SamplingMessage,
)
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import LOG_LEVELS, LogLevel
from interlock.wire.notices import (
    ELICITED,
    MESSAGE,
    PROGRESS,
    ElicitedNotice,
    LogNotice,
    ProgressNotice,
)
from interlock.wire.tools import Tool
from interlock.wire.versions import V2025_11_25

T = TypeVar("T")

_NOTHING: Final[dict[str, Any]] = {"type": "object", "properties": {}}
"""The form of a question that is answered by accepting it."""

_elicited = Decoder(ElicitResult)
_sampled = Decoder(CreateMessageResult)
_rooted = Decoder(ListRootsResult)


class Context:
    """Declare a parameter of this type and a handler gets one; it lives as long as the call.

    Safe to use from the handler's own task only. Whatever nobody can hear is dropped silently:
    progress without a token, logs below the level that was asked for. *state* is what the server's
    lifespan gave.
    """

    __slots__ = ("_become", "_keyring", "_progress", "_read", "_visits", "call", "state")

    def __init__(
        self,
        call: Call,
        read: Callable[[Call, str], Awaitable[Sequence[ResourceContents]]],
        state: Any = None,
        keyring: Keyring | None = None,
        become: Callable[[Call], Awaitable[bool]] | None = None,
    ) -> None:
        self.call = call
        self._become = become
        self.state = state
        self._read = read
        self._keyring = keyring if keyring is not None else Keyring()
        self._visits: list[str] = []
        self._progress: float | None = None

    @property
    def principal(self) -> Principal:
        """Who asks, as authentication established it."""
        return self.call.principal

    @property
    def envelope(self) -> Envelope:
        """The revision in use, and what the client says it is and can do."""
        return self.call.envelope

    @property
    def takes_apps(self) -> bool:
        """Whether the client shows a tool's page (`@server.tool(ui=…)`) beside what it returns."""
        return takes_apps(self.call.envelope.capabilities)

    @property
    def cancelled(self) -> bool:
        """Whether the caller has left. For sync handlers, which nobody can interrupt."""
        return self.call.cancelled

    def require(self, **capabilities: dict[str, Any]) -> None:
        """Refuse the call unless the client declared these capabilities (`sampling={}`)."""
        if missing := lacking(self.call.envelope, capabilities):
            raise MissingCapability(missing)

    async def report_progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Say how far the call is. *progress* must grow; a value that does not is dropped."""
        meta = self.call.params.meta
        if meta is None or meta.progress_token is None or not math.isfinite(progress):
            return
        if self._progress is not None and progress <= self._progress:
            return
        self._progress = progress
        notice = ProgressNotice(
            progress_token=meta.progress_token, progress=progress, total=total, message=message
        )
        self.call.outlet.notify(PROGRESS, notice)
        await self.call.outlet.drain()

    def close_stream(self, retry: float) -> None:
        """Let the client go, to fetch the rest of this call in *retry* seconds, and carry on.

        For calls that take long and have nothing to say meanwhile: no connection is held for them.
        Works with clients of 2025-11-25 over HTTP; any other just goes on waiting.
        """
        if not 0 <= retry < math.inf:
            raise UsageError(f"A client cannot come back in {retry} seconds: expected 0 or more")
        self.call.outlet.close_stream(retry)

    async def log(self, level: LogLevel, data: Any, logger: str | None = None) -> None:
        """Send a log line to the client if it wants that level; *data* is any JSON value.

        Modern clients ask with each request, legacy ones by `logging/setLevel`; a legacy client
        that never said gets "info" and above. Never log secrets: the peer reads this.
        """
        # A legacy client may change its level while the call runs.
        session = self.call.session
        envelope = self.call.envelope if session is None else session.envelope
        least = envelope.log_level
        if least is None:
            if envelope.revision.modern:
                return
            least = "info"
        if LOG_LEVELS.index(level) < LOG_LEVELS.index(least):
            return
        if envelope.revision.modern:
            _deprecated("Logs to clients are", "log to stderr or with OpenTelemetry")
        notice = LogNotice(level=level, data=data, logger=logger)
        self.call.outlet.notify(MESSAGE, notice)
        await self.call.outlet.drain()

    async def debug(self, data: Any) -> None:
        await self.log("debug", data)

    async def info(self, data: Any) -> None:
        await self.log("info", data)

    async def warning(self, data: Any) -> None:
        await self.log("warning", data)

    async def error(self, data: Any) -> None:
        await self.log("error", data)

    async def read_resource(self, uri: str) -> Sequence[ResourceContents]:
        """Read a resource of this server; raises `ResourceNotFound`."""
        return await self._read(self.call, uri)

    # Asking. Every question waits for a person or a model: minutes, perhaps. A modern client is
    # answered with it and calls again; the handler stays where it stands meanwhile, and should it
    # be gone by then, runs again with the answers it had. Give a *key* to a question whose words
    # are not the same each time, so that it is known again; guard what must not happen twice with
    # `once`.

    @overload
    async def elicit(
        self, message: str, schema: Mapping[str, Any], *, key: str = ""
    ) -> Elicited[dict[str, Any]]: ...
    @overload
    async def elicit(self, message: str, schema: type[T], *, key: str = "") -> Elicited[T]: ...

    async def elicit(
        self, message: str, schema: Mapping[str, Any] | type[Any], *, key: str = ""
    ) -> Elicited[Any]:
        """Ask the person to fill in a form; waits until they accept, decline or cancel.

        *schema* is a JSON Schema of an object of flat properties, or a dataclass, TypedDict, Struct
        or pydantic model that has one. Never ask for a secret this way: `elicit_url` is for those.
        Raises `MissingCapability` if the client has nobody to ask, and `RpcError` if it answers
        with what does not fit the form.
        """
        self.require(elicitation={"form": {}})
        form = dict(schema) if isinstance(schema, Mapping) else form_of(schema)
        check_form(form)
        revision = self.call.envelope.revision
        if revision < V2025_11_25 and has_several(form):
            raise MissingCapability(
                {"elicitation": {"form": {}}},
                f"A {revision} client cannot choose several of a list",
            )
        params = ElicitParams(message=message, requested_schema=form)
        answer = _read(_elicited, await self.call.outlet.ask(ELICIT, params, key=key), ELICIT)
        if answer.action != "accept":
            return Elicited(answer.action)
        content = answer.content or {}
        if (wrong := complaint(form, content)) is not None:
            raise RpcError(INVALID_PARAMS, f"What was filled in does not fit the form: {wrong}")
        try:
            # pyright cannot know that what is no mapping is a type.
            value = content if isinstance(schema, Mapping) else filled_in(schema, content)
        except ValueError as error:
            raise RpcError(
                INVALID_PARAMS, f"The form was filled in with what does not fit it: {error}"
            ) from error
        return Elicited("accept", value)

    async def confirm(self, message: str, *, key: str = "") -> bool:
        """Ask the person for a yes; anything else is a no."""
        return (await self.elicit(message, _NOTHING, key=key)).accepted

    async def elicit_url(self, message: str, url: str, *, key: str = "") -> bool:
        """Ask the person to visit *url*, where they deal with something that clients must not see.

        Whether they agreed to; not whether they are done there, which only your own page knows.
        The URL must not be a credential itself, nor name the person. Raises `MissingCapability` if
        the client cannot open one.
        """
        if not url.startswith(("https://", "http://")):
            raise UsageError(f"{url[:80]!r} cannot be visited: an https URL is expected")
        if "@" in urlsplit(url).netloc:
            raise UsageError(
                "The URL of a visit holds a user's name; it must lead to a login itself"
            )
        self.require(elicitation={"url": {}})
        revision = self.call.envelope.revision
        # Up to 2025-11-25 a visit has an id, by which its end can be told.
        number = None if revision.modern else os.urandom(12).hex()
        params = ElicitParams(message=message, mode="url", url=url, elicitation_id=number)
        answer = _read(_elicited, await self.call.outlet.ask(ELICIT, params, key=key), ELICIT)
        if number is not None and answer.action == "accept":
            self._visits.append(number)
        return answer.action == "accept"

    def visited(self) -> None:
        """Tell a 2025-11-25 client that what it was sent to visit is done there.

        Modern clients learn it from the answer to their call; they are told nothing.
        """
        for number in self._visits:
            self.call.outlet.notify(ELICITED, ElicitedNotice(elicitation_id=number))
        self._visits.clear()

    async def sample(
        self,
        messages: str | Sequence[SamplingMessage],
        *,
        max_tokens: int,
        system_prompt: str | None = None,
        tools: Sequence[Tool] | None = None,
        tool_choice: Literal["auto", "required", "none"] | None = None,
        temperature: float | None = None,
        stop_sequences: Sequence[str] | None = None,
        model_preferences: Mapping[str, Any] | None = None,
        include_context: Literal["none", "thisServer", "allServers"] | None = None,
        metadata: Mapping[str, Any] | None = None,
        key: str = "",
    ) -> CreateMessageResult:
        """Let the client's model continue *messages*; a string is one message of the user's.

        With *tools* the model may answer with tool uses (`stop_reason` "toolUse"): run them, add
        its message and one with their results, and sample again. Raises `MissingCapability` if the
        client declared no sampling, or not with tools or context, and `RpcError` -1 if the person
        said no.
        """
        needs: dict[str, Any] = {}
        if tools or tool_choice is not None:
            needs["tools"] = {}
        if include_context in ("thisServer", "allServers"):
            needs["context"] = {}
        self.require(sampling=needs)
        if self.call.envelope.revision.modern:
            _deprecated("Sampling is", "call a model's provider yourself")
        if isinstance(messages, str):
            messages = [SamplingMessage(role="user", content=Text(text=messages))]
        check_messages(messages)
        params = CreateMessageParams(
            messages=singly(self.call.envelope.revision, messages),
            max_tokens=max_tokens,
            system_prompt=system_prompt,
            tools=list(tools) if tools else None,
            tool_choice={"mode": tool_choice} if tool_choice is not None else None,
            temperature=temperature,
            stop_sequences=list(stop_sequences) if stop_sequences else None,
            model_preferences=dict(model_preferences) if model_preferences else None,
            include_context=include_context,
            metadata=dict(metadata) if metadata else None,
        )
        return _read(_sampled, await self.call.outlet.ask(SAMPLE, params, key=key), SAMPLE)

    async def roots(self, *, key: str = "") -> list[Root]:
        """The places the client works in: advice, not a fence."""
        self.require(roots={})
        if self.call.envelope.revision.modern:
            _deprecated("Roots are", "take places as parameters of tools, or from configuration")
        answer = await self.call.outlet.ask(ROOTS, ListRootsParams(), key=key or "roots")
        return _read(_rooted, answer, ROOTS).roots

    async def once(self, key: str, function: Callable[[], Any]) -> Any:
        """What *function* gives, which is called once even if the handler has to run again.

        *function* takes nothing and may be async; what it gives must be JSON, and is plain JSON when
        it comes back. It travels, sealed, through the client. *key* names it within this handler.
        """
        kept = self.call.kept
        if kept is None:
            kept = self.call.kept = {}
        if key in kept:
            return msgspec.json.decode(kept[key])
        value = function()
        if inspect.isawaitable(value):
            value = await value
        kept[key] = Raw(encode(value))
        return value

    async def become_task(self) -> bool:
        """Go on as a task: the caller gets its handle now, and the result from there.

        For tools with `task="later"`; what has to be asked before there is a task is asked first.
        Whether it is one now: a client that can have none waits for the result as it did.
        """
        return self._become is not None and await self._become(self.call)

    # The low-level way to ask modern clients: return `InputRequired`, and read what comes back.

    @property
    def input_responses(self) -> dict[str, Raw]:
        """What a modern client answers to an `InputRequired` that was returned to it, by key."""
        params: Any = self.call.params
        return getattr(params, "input_responses", None) or {}

    @property
    def request_state(self) -> str | None:
        """The state that was returned with it, as the client sent it back: see `unseal`."""
        params: Any = self.call.params
        return getattr(params, "request_state", None)

    def seal(self, state: bytes, *, ttl: float = 600.0) -> str:
        """*state* as a `request_state` that only this call's caller can send back, unchanged."""
        return self._keyring.seal(state, bound=binding(self.call), ttl=ttl)

    def unseal(self) -> bytes | None:
        """The state that came back, None if none did.

        Raises `RpcError` -32602 if it was changed, is too old, or belongs to another call.
        """
        sealed = self.request_state
        if sealed is None:
            return None
        try:
            return self._keyring.open(sealed, bound=binding(self.call))
        except Unsealed as why:
            raise unusable(self.call, str(why)) from None


def _read(decoder: Decoder[T], answer: Raw, method: str) -> T:
    """What a client answered; raises `RpcError` for what is no answer to that."""
    try:
        return decoder.decode(answer)
    except UNREADABLE as error:
        raise RpcError(
            INVALID_PARAMS, f"The client answered {method} with what cannot be read: {error}"
        ) from None


def check_messages(messages: Sequence[SamplingMessage]) -> None:
    """Raise `UsageError` unless tool uses and their results are paired (§ Sampling, Tools)."""
    open_uses: set[str] = set()
    for message in messages:
        blocks = message.content if isinstance(message.content, list) else [message.content]
        results = {each.tool_use_id for each in blocks if isinstance(each, ToolOutcome)}
        if results and (message.role != "user" or len(results) != len(blocks)):
            raise UsageError("A message with tool results is the user's, and holds nothing else")
        if results != open_uses:
            raise UsageError(
                "Each tool use must be answered by its result in the next message: "
                f"{sorted(open_uses ^ results)} are not paired"
            )
        open_uses = {each.id for each in blocks if isinstance(each, ToolUse)}


def _deprecated(what: str, instead: str) -> None:
    """Say so, once for each place that uses it: clients of older revisions go on needing it."""
    # `ctx.info` is a step further away from the handler than `ctx.log`.
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename == __file__:
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f"{what} deprecated since MCP 2026-07-28, and will be gone in a year or more: {instead}",
        DeprecationWarning,
        stacklevel=level,
    )
