"""Schemas that were given verbatim: the truth for arguments and results, whatever the types say.

Schemas that were generated need none of this: the decoders they came from hold what they say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from interlock.errors import RegistrationError
from interlock.protocol import schema as checking
from interlock.server.shape import BadArguments
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.tools import CallToolResult, Tool

Bind = Callable[[Raw], tuple[Any, ...]]


def held(tool: Tool, bind: Bind) -> Bind:
    """*bind* for arguments that the tool's input schema allows. Raises `RegistrationError`."""
    check = _check(tool, "input_schema", tool.input_schema)

    def bind_checked(raw: Raw) -> tuple[Any, ...]:
        try:
            value = msgspec.json.decode(raw or b"{}")
        except UNREADABLE as error:
            raise BadArguments(f"not readable as JSON: {error}") from None
        complaint = check.complaint({} if value is None else value)
        if complaint is not None:
            raise BadArguments(complaint)
        return bind(raw)

    return bind_checked


def promised(tool: Tool) -> Callable[[CallToolResult], None]:
    """What raises `TypeError` for results that the tool's output schema forbids.

    One that says what went wrong may have no structured content, nor need it fit.
    """
    assert tool.output_schema is not None
    check = _check(tool, "output_schema", tool.output_schema)

    def keep(result: CallToolResult) -> None:
        if result.is_error:
            return
        if result.structured_content is UNSET:
            raise TypeError(f"{tool.name} returned no structured content, which it promises")
        complaint = check.complaint(msgspec.json.decode(encode(result.structured_content)))
        if complaint is not None:
            raise TypeError(f"{tool.name} returned what its output_schema forbids: {complaint}")

    return keep


def _check(tool: Tool, which: str, schema: dict[str, Any]) -> checking.Check:
    try:
        return checking.compile(schema)
    except checking.BadSchema as error:
        raise RegistrationError(f"{tool.name}: {which}: {error}") from None
