"""Completion of a prompt's or template's argument while a person types it."""

from __future__ import annotations

from msgspec import field

from interlock.wire.meta import Params, Result, Wire

MOST = 100
"""The most values one answer may hold (§ Completion)."""


class PromptReference(Wire, tag_field="type", tag="ref/prompt"):
    name: str
    title: str | None = None


class TemplateReference(Wire, tag_field="type", tag="ref/resource"):
    uri: str


class CompletionArgument(Wire):
    name: str
    value: str


class CompletionContext(Wire):
    """What was filled in already. Since 2025-06-18."""

    arguments: dict[str, str] = field(default_factory=dict[str, str])


class CompleteParams(Params):
    ref: PromptReference | TemplateReference
    argument: CompletionArgument
    context: CompletionContext | None = None


class Completion(Wire):
    """At most `MOST` values, best first; *total* may be larger."""

    values: list[str]
    total: int | None = None
    has_more: bool | None = None


class CompleteResult(Result):
    completion: Completion
