"""What tools said their structured results look like, and whether a result does.

A client reads tolerantly: a result that breaks its tool's promise is still the server's answer. It
is marked, and the log says so; whoever wants it refused looks at the mark.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from interlock.client.reading import ToolResult
from interlock.wire.tools import Tool

log: Final = logging.getLogger("interlock.client")

TOOLS_LIMIT: Final = 10_000
"""Tools whose promise is remembered of one server; beyond it the oldest are forgotten."""


class _Check(Protocol):
    """A compiled schema: `protocol.schema.Check` is one."""

    def complaint(self, value: Any) -> str | None: ...


class Promised:
    """The output schemas of one server's tools, from every list of them that was read."""

    def __init__(self) -> None:
        self._schemas: dict[str, Mapping[str, Any]] = {}
        self._checks: dict[str, _Check | None] = {}

    def learn(self, tools: Iterable[Tool]) -> None:
        """Take note of a page of listed tools."""
        for tool in tools:
            known = self._schemas.pop(tool.name, None)
            if tool.output_schema != known:
                self._checks.pop(tool.name, None)
            if tool.output_schema is not None:
                self._schemas[tool.name] = tool.output_schema
                if len(self._schemas) > TOOLS_LIMIT:
                    oldest = next(iter(self._schemas))
                    del self._schemas[oldest]
                    self._checks.pop(oldest, None)

    def hold(self, name: str, result: ToolResult) -> ToolResult:
        """*result* as it is, or marked with how it breaks what the tool *name* promised.

        Only a result that is no error is held to it (2026-07-28 § Tools, Output Schema).
        """
        if name not in self._schemas or result.is_error:
            return result
        check = self._check(name)
        if check is None:
            return result
        if not result.has_structured:
            complaint = "there is no structured content, which the tool's output schema promises"
        else:
            complaint = check.complaint(result.structured)
        if complaint is None:
            return result
        log.warning("the result of the tool %r is not what it promised: %s", name, complaint)
        return msgspec.structs.replace(result, complaint=complaint)

    def _check(self, name: str) -> _Check | None:
        if name not in self._checks:
            # Kept out of programs whose servers promise nothing, with the validator beneath.
            from interlock.protocol.schema import BadSchema
            from interlock.protocol.schema import compile as compiled

            try:
                self._checks[name] = compiled(self._schemas[name])
            except BadSchema as error:
                log.warning("results of the tool %r are not checked: %s", name, error)
                self._checks[name] = None
        return self._checks[name]
