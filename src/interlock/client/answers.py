"""What the user of a client will answer when a server asks: elicitation, sampling, roots."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast
from urllib.parse import unquote

import msgspec
from msgspec import Raw, Struct

from interlock.errors import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    ConfigError,
    InvalidMessage,
    RpcError,
)
from interlock.protocol.call import Call, Handler, Service
from interlock.protocol.session import Envelope
from interlock.wire.content import Text
from interlock.wire.inputs import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
    ListRootsResult,
    Root,
)
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import ClientCapabilities, EmptyResult, Implementation, Json, Result
from interlock.wire.methods import BY_NAME
from interlock.wire.versions import LATEST_MODERN, V2025_11_25

OnElicit: TypeAlias = Callable[[ElicitParams], Awaitable[ElicitResult | Mapping[str, Any] | None]]
"""Shows the form to a person. A mapping is what they filled in, None says that they declined."""
OnElicitUrl: TypeAlias = Callable[[ElicitParams], Awaitable[bool]]
"""Shows a person where they are sent (`url`) and why (`message`); whether they agreed and the page
was opened. Show the whole URL, never fetch it, and open it only on their word."""
OnSample: TypeAlias = Callable[[CreateMessageParams], Awaitable[CreateMessageResult]]
"""Lets a model go on with the messages. Raise `RpcError(-1, …)` where the person says no."""


class Answers(Struct, frozen=True):
    """The callbacks a client was given; what has none is not declared, and refused if asked."""

    elicit: OnElicit | None = None
    sample: OnSample | None = None
    roots: Sequence[Root] | None = None
    elicit_url: OnElicitUrl | None = None
    sample_tools: bool = False
    """Whether *sample* lets its model use the tools that come with a request."""

    @property
    def capabilities(self) -> ClientCapabilities:
        """What these callbacks allow a client to declare."""
        elicitation: dict[str, Any] = {}
        if self.elicit is not None:
            elicitation["form"] = {}
        if self.elicit_url is not None:
            elicitation["url"] = {}
        return ClientCapabilities(
            elicitation=elicitation or None,
            sampling=None if self.sample is None else {"tools": {}} if self.sample_tools else {},
            roots={} if self.roots is not None else None,
        )


class Desk(Service, Protocol):
    """Whoever answers what a server asks of a client: as a request, or before it answers itself."""

    @property
    def capabilities(self) -> ClientCapabilities: ...

    async def ask(self, method: str, params: Raw, key: str) -> Raw: ...


class AnswerDesk:
    """The service at a client's end: what a server may ask, answered by the user's callbacks."""

    def __init__(self, info: Implementation, answers: Answers) -> None:
        self.info = info
        self.capabilities = answers.capabilities
        self._envelope = Envelope(LATEST_MODERN, info, answers.capabilities)
        self._answers = answers
        self.handle: Handler = self._handle

    async def ask(self, method: str, params: Raw, key: str) -> Raw:
        """Answer what a modern server asks for before it answers a call of ours."""
        row = BY_NAME[method]
        try:
            asked = row.decoder.decode(params)
        except UNREADABLE as error:
            raise InvalidMessage(
                f"The server asks {method} in a way nobody can read: {error}"
            ) from None
        return Raw(encode(await self._handle(Call(row, asked, self._envelope))))

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def _handle(self, call: Call) -> Result:
        answers = self._answers
        params: Any = call.params
        match call.method:
            case "ping":
                return EmptyResult()
            case "elicitation/create" if params.mode == "url":
                if answers.elicit_url is None:
                    raise RpcError(INVALID_PARAMS, "This client did not declare elicitation by URL")
                agreed = await answers.elicit_url(params)
                return ElicitResult(action="accept" if agreed else "decline")
            case "elicitation/create" if answers.elicit is not None:
                return await _elicited(answers.elicit, params)
            case "elicitation/create" if answers.elicit_url is not None:
                raise RpcError(INVALID_PARAMS, "This client did not declare elicitation by form")
            case "sampling/createMessage" if answers.sample is not None:
                return _as_known(call, await answers.sample(params))
            case "roots/list" if answers.roots is not None:
                return ListRootsResult(roots=list(answers.roots))
            case method:
                raise RpcError(METHOD_NOT_FOUND, f"This client did not declare {method}")


def read_root(root: str | Path | Root) -> Root:
    """A root from a path, whose `..` are followed first, or from a file URI, which has none."""
    if isinstance(root, str) and "://" in root:
        root = Root(uri=root)
    if isinstance(root, Root):
        uri = root.uri
        if not uri.startswith("file://") or ".." in unquote(uri).split("/"):
            raise ConfigError(
                f"{uri!r} is no root: a path, or a URI with file:// and without .., is expected"
            )
        return root
    path = Path(os.path.abspath(root))  # noqa: PTH100  what is a link stays one
    return Root(uri=path.as_uri(), name=path.name or None)


def _as_known(call: Call, sampled: CreateMessageResult) -> CreateMessageResult:
    """What a model said, as one block for a server of 2025-06-18 or before: its words, if any."""
    content = sampled.content
    if not isinstance(content, list) or call.envelope.revision >= V2025_11_25:
        return sampled
    words = [block.text for block in content if isinstance(block, Text)]
    block = Text(text="\n".join(words)) if words or not content else content[0]
    return msgspec.structs.replace(sampled, content=block)


async def _elicited(elicit: OnElicit, asked: ElicitParams) -> ElicitResult:
    answer = await elicit(asked)
    if answer is None:
        return ElicitResult(action="decline")
    if not isinstance(answer, ElicitResult):
        answer = ElicitResult(action="accept", content=dict(answer))
    return with_defaults(asked, answer)


def with_defaults(asked: ElicitParams, answer: ElicitResult) -> ElicitResult:
    """An accepted form with the defaults of what was left out (SEP-1034)."""
    if answer.action != "accept" or asked.requested_schema is None:
        return answer
    content = dict(answer.content or {})
    for name, schema in _fields(asked.requested_schema.get("properties")).items():
        default = _fields(schema).get("default")
        if name not in content and _may_be_filled_in(default):
            content[name] = default
    return ElicitResult(action="accept", content=content)


def _fields(value: Any) -> dict[str, Json]:
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}


def _may_be_filled_in(value: Json) -> bool:
    """Whether a form's field can hold it: one plain value, or a choice of several texts."""
    if isinstance(value, list):
        return all(isinstance(each, str) for each in value)
    return isinstance(value, str | int | float)
