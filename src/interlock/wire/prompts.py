"""Prompts: messages a person picks by name."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, field

from interlock.wire.content import ContentBlock, Unknown
from interlock.wire.meta import Icon, PagedResult, Params, Result, Role, Wire


class PromptArgument(Wire):
    name: str
    title: str | None = None
    description: str | None = None
    required: bool = False


class Prompt(Wire):
    name: str
    title: str | None = None
    description: str | None = None
    arguments: list[PromptArgument] | None = None
    icons: list[Icon] | None = None
    meta: dict[str, Any] | None = field(default=None, name="_meta")


class PromptMessage(Wire):
    """*content* is `Unknown` only where a client read a block of a newer type."""

    role: Role
    content: ContentBlock | Unknown


class ListPromptsResult(PagedResult):
    prompts: list[Prompt]


class GetPromptParams(Params):
    """Arguments of a prompt are strings, whatever they stand for (§ Prompts)."""

    name: str
    arguments: dict[str, str] | None = None
    input_responses: dict[str, Raw] | None = None
    request_state: str | None = None


class GetPromptResult(Result):
    messages: list[PromptMessage]
    description: str | None = None
