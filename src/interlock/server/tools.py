"""The tools a server has: a function each, called with raw arguments, answered with a result."""

from __future__ import annotations

import inspect
import logging
import re
import secrets
from collections.abc import Callable
from typing import Any, Final

from msgspec import Raw

from interlock.errors import INVALID_PARAMS, RegistrationError, RpcError, ToolError
from interlock.protocol.call import Call
from interlock.server.context import Context
from interlock.server.function import BLOCKS, BadArguments, Function, Signature, structured, wrapped
from interlock.server.shelf import Shelf
from interlock.server.threads import Threads
from interlock.wire.content import Text
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import Result
from interlock.wire.tools import CallToolResult, Tool, ToolAnnotations

log: Final = logging.getLogger("interlock.tools")

NAME: Final = re.compile(r"[A-Za-z0-9_./-]{1,64}")
"""Names that every host takes: the spec allows 128 and no slash, the official suite 64."""


class FunctionTool:
    """A function that can be called as a tool."""

    def __init__(
        self, function: Function, listed: Tool, signature: Signature, *, structure: bool
    ) -> None:
        self.listed = listed
        self.key = listed.name
        self.function = function
        self._signature = signature
        self._bind = signature.arguments.from_json
        # A function of positional parameters and no Context is called with its tuple as it is.
        self._plain = signature.is_async and signature.context < 0 and not signature.keyword_names
        self._output: Callable[[Any], bytes] | None = None
        self._wrap = False
        found = structured(signature) if structure else None
        if found is not None:
            output, self._wrap = found
            self._output = output.encode
            listed.output_schema = wrapped(output.schema) if self._wrap else output.schema
        elif structure and listed.output_schema is not None:
            self._output = encode

    async def run(self, call: Call, context: Callable[[Call], Context], threads: Threads) -> Result:
        try:
            values = self._bind(call.params.arguments)  # type: ignore[attr-defined]
        except BadArguments as error:
            return failed(f"Invalid arguments for {self.key}: {error}")
        try:
            if self._plain:
                value = await self.function(*values)
            else:
                signature = self._signature
                args, named = signature.bind(values, lambda: context(call))
                if signature.is_async:
                    value = await self.function(*args, **named)
                else:
                    value = await threads.run(call, self.function, *args, **named)
            return self._result(value)
        except ToolError as error:
            return failed(str(error) or type(error).__name__)
        except RpcError:
            raise
        except Exception:
            # The spec wants what fails inside a tool as a result the model can see, not as a
            # protocol error; its text was not written for a model, so it gets a number to quote.
            incident = secrets.token_hex(4)
            log.exception("tool %s failed (incident %s)", self.key, incident)
            return failed(f"{self.key} failed unexpectedly (incident {incident})")

    def _result(self, value: Any) -> Result:
        if type(value) is str and self._output is None:
            return CallToolResult(content=[Text(text=value)])
        if isinstance(value, (CallToolResult, InputRequired)):
            return value
        if self._output is not None:
            body = self._output(value)
            text = value if type(value) is str else body.decode()
            if self._wrap:
                body = b'{"result":%b}' % body
            return CallToolResult(content=[Text(text=text)], structured_content=Raw(body))
        return CallToolResult(content=_content(value))


class Tools:
    """The shelf of tools, and the way of a call to one of them."""

    def __init__(
        self, shelf: Shelf[FunctionTool], context: Callable[[Call], Context], threads: Threads
    ) -> None:
        self.shelf = shelf
        self._context = context
        self._threads = threads

    async def call(self, call: Call) -> Result:
        name = call.params.name  # type: ignore[attr-defined]
        tool = self.shelf.get(name)
        if tool is None:
            raise RpcError(INVALID_PARAMS, f"Unknown tool: {name!r}")
        return await tool.run(call, self._context, self._threads)


def describe(
    function: Function,
    *,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    annotations: ToolAnnotations | None = None,
    input_schema: dict[str, Any] | None = None,
    output_schema: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    structured: bool = True,
) -> FunctionTool:
    """The tool that *function* is; whatever is not given is read off it."""
    signature = Signature(function)
    name = name or signature.name
    if not NAME.fullmatch(name):
        raise RegistrationError(
            f"{name!r} cannot be a tool's name: 1 to 64 of A-Z a-z 0-9 _ - . / are expected"
        )
    listed = Tool(
        name=name,
        title=title,
        description=description or documentation(function),
        input_schema=input_schema or signature.arguments.schema,
        output_schema=output_schema,
        annotations=annotations,
        meta=meta,
    )
    return FunctionTool(function, listed, signature, structure=structured)


def documentation(function: Function) -> str | None:
    """A function's docstring without its indentation."""
    return inspect.getdoc(function)


def failed(text: str) -> CallToolResult:
    return CallToolResult(content=[Text(text=text)], is_error=True)


def _content(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, BLOCKS):
        return [value]
    if isinstance(value, (list, tuple)):
        items: list[Any] = list(value)  # type: ignore[reportUnknownArgumentType]
        if items and all(isinstance(item, (str, *BLOCKS)) for item in items):
            return [Text(text=item) if isinstance(item, str) else item for item in items]
    if isinstance(value, str):
        return [Text(text=value)]
    return [Text(text=encode(value).decode())]

