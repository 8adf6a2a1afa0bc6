"""Tools: what a server lists, what a client calls, what comes back."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import UNSET, Raw, UnsetType, field

from interlock.wire.content import ContentBlock, Unknown
from interlock.wire.meta import Icon, PagedResult, Params, Result, Wire


class ToolAnnotations(Wire, frozen=True):
    """Hints about a tool's effects. Absent means the spec's default, given in brackets.

    `read_only_hint` (false), `destructive_hint` (true), `idempotent_hint` (false),
    `open_world_hint` (true). Untrusted unless the server is.
    """

    title: str | None = None
    read_only_hint: bool | None = None
    destructive_hint: bool | None = None
    idempotent_hint: bool | None = None
    open_world_hint: bool | None = None


class Tool(Wire):
    """A tool as listed. Schemas are kept verbatim: they are the truth, not a rendering of it."""

    name: str
    input_schema: dict[str, Any]
    title: str | None = None
    description: str | None = None
    output_schema: dict[str, Any] | None = None
    annotations: ToolAnnotations | None = None
    icons: list[Icon] | None = None
    execution: dict[str, Any] | None = None
    meta: dict[str, Any] | None = field(default=None, name="_meta")


class ListToolsResult(PagedResult):
    tools: list[Tool]


class CallToolParams(Params):
    """*arguments* stay raw until the function's own decoder reads them; absent means `{}`.

    *task* asks for a task, in 2025-11-25; any other revision ignores it, whatever it is.
    """

    name: str
    arguments: Raw = Raw()
    task: Raw = Raw()
    input_responses: dict[str, Raw] | None = None
    request_state: str | None = None


class CallToolResult(Result):
    """What a tool answered.

    *structured_content* absent is `UNSET`, which is not `None`: JSON `null` is a value from
    2026-07-28 on. With *is_error* the content says what went wrong, for the model to read.
    """

    content: list[ContentBlock]
    structured_content: Any | UnsetType = UNSET
    is_error: bool = False


class ReadToolResult(Result):
    """The same as a client reads it: blocks one by one, so that an unknown one spoils no other."""

    content: list[Raw]
    structured_content: Raw = Raw()
    is_error: bool = False


AnyBlock: TypeAlias = ContentBlock | Unknown
