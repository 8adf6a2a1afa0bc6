"""What a handler may do while it runs: report, log, read, ask."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from interlock.errors import INVALID_REQUEST, MissingCapability, RpcError
from interlock.protocol.call import Call, Principal
from interlock.protocol.session import Envelope
from interlock.wire.content import ResourceContents, Text
from interlock.wire.inputs import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
    ListRootsResult,
    Root,
    SamplingMessage,
)
from interlock.wire.meta import LOG_LEVELS, ClientCapabilities, LogLevel, Params
from interlock.wire.notices import MESSAGE, PROGRESS, LogNotice, ProgressNotice

_elicited = msgspec.json.Decoder(ElicitResult)
_sampled = msgspec.json.Decoder(CreateMessageResult)
_rooted = msgspec.json.Decoder(ListRootsResult)


class Context:
    """Declare a parameter of this type and a handler gets one; it lives as long as the call.

    Safe to use from the handler's own task only. Whatever nobody can hear is dropped silently:
    progress without a token, logs below the level that was asked for. *state* is what the server's
    lifespan gave.
    """

    __slots__ = ("_progress", "_read", "call", "state")

    def __init__(
        self,
        call: Call,
        read: Callable[[Call, str], Awaitable[Sequence[ResourceContents]]],
        state: Any = None,
    ) -> None:
        self.call = call
        self.state = state
        self._read = read
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
    def cancelled(self) -> bool:
        """Whether the caller has left. For sync handlers, which nobody can interrupt."""
        return self.call.cancelled

    def require(self, **capabilities: dict[str, Any]) -> None:
        """Refuse the call unless the client declared these capabilities (`sampling={}`)."""
        missing = {
            name: settings
            for name, settings in capabilities.items()
            if not _declared(self.call.envelope.capabilities, name, settings)
        }
        if missing:
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

    async def elicit(self, message: str, schema: dict[str, Any]) -> ElicitResult:
        """Ask the person for the fields of *schema*, an object of flat properties.

        Waits until they accept, decline or cancel. Legacy era only so far: a modern client gets an
        error that says so.
        """
        self.require(elicitation={})
        params = ElicitParams(message=message, requested_schema=schema)
        return _elicited.decode(await self._ask("elicitation/create", params))

    async def sample(
        self,
        messages: str | Sequence[SamplingMessage],
        *,
        max_tokens: int,
        system_prompt: str | None = None,
    ) -> CreateMessageResult:
        """Let the client's model continue *messages*. Legacy era only so far."""
        self.require(sampling={})
        if isinstance(messages, str):
            messages = [SamplingMessage(role="user", content=Text(text=messages))]
        params = CreateMessageParams(
            messages=list(messages), max_tokens=max_tokens, system_prompt=system_prompt
        )
        return _sampled.decode(await self._ask("sampling/createMessage", params))

    async def roots(self) -> list[Root]:
        """The places the client works in: advice, not a fence. Legacy era only so far."""
        self.require(roots={})
        return _rooted.decode(await self._ask("roots/list", Params())).roots

    async def _ask(self, method: str, params: Any) -> Raw:
        if self.call.envelope.revision.modern:
            raise RpcError(
                INVALID_REQUEST,
                f"{method} in the middle of a call is not offered to {self.call.envelope.revision} "
                "clients yet; return InputRequired instead",
            )
        return await self.call.outlet.ask(method, params)


def _declared(capabilities: ClientCapabilities, name: str, settings: dict[str, Any]) -> bool:
    declared = getattr(capabilities, name, None)
    if declared is None:
        return False
    return all(key in declared for key in settings)
