"""The tools a server has: a function each, called with raw arguments, answered with a result."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Raw

from interlock.errors import (
    INVALID_PARAMS,
    InsufficientScope,
    RegistrationError,
    RpcError,
    ToolError,
)
from interlock.protocol.call import NO_SCOPES, Call
from interlock.server.apps import shown_by
from interlock.server.function import (
    BLOCKS,
    Function,
    MakeContext,
    Signature,
    documentation,
    given_up,
)
from interlock.server.function import structured as _structure
from interlock.server.mirrored import hold, promised
from interlock.server.older import as_known
from interlock.server.parking import Parking
from interlock.server.shape import BadArguments, wrapped
from interlock.server.shelf import Shelf, drawn, needed
from interlock.server.threads import Threads
from interlock.server.worker import MODES, Mode, Worker
from interlock.wire.apps import Audience
from interlock.wire.content import Text
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import CacheHints, Icon, Result
from interlock.wire.tasks import Support
from interlock.wire.tools import CallToolParams, CallToolResult, Tool, ToolAnnotations
from interlock.wire.versions import V2025_11_25, Revision

log: Final = logging.getLogger("interlock.tools")

NAME: Final = re.compile(r"[A-Za-z0-9_./-]{1,128}")
"""What a name may be: the spec's letters, and the slash that the official suite allows."""
SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What every host takes: the suite knows no more than 64, the spec no slash."""


class FunctionTool:
    """A function that can be called as a tool."""

    def __init__(
        self,
        listed: Tool,
        signature: Signature,
        *,
        output: Callable[[Any], bytes] | None = None,
        wrap: bool = False,
        kept: CacheHints | None = None,
        task: Mode | None = None,
        scopes: frozenset[str] = NO_SCOPES,
        hidden: bool = True,
    ) -> None:
        """*output* encodes what the function returns as structured content, *wrap* puts it into
        `{"result": …}`; None sends content only. *task* says when a call becomes a task. *scopes*
        are what a caller's token has to allow; *hidden* says that others do not even see it.
        """
        self.scopes = scopes
        self.hidden = scopes if hidden else NO_SCOPES
        self.kept = kept
        self.listed = listed
        self.key = listed.name
        self.function = signature.function
        self.mirrored = promised(listed)
        self.signature = signature
        self.asks = signature.wants_context
        self.task: Mode | None = task
        self.promise: Callable[[CallToolResult], None] | None = None
        """Raises for results that an output schema given verbatim forbids."""
        self.bind: Callable[[Raw], tuple[Any, ...]] = signature.arguments.from_json
        self._plain = signature.plain
        self._output = output
        self._wrap = wrap

    async def run(self, call: Call, context: MakeContext, threads: Threads) -> Result:
        params = call.params
        assert isinstance(params, CallToolParams)
        try:
            values = self.bind(params.arguments)
            if self._plain:
                value = await self.function(*values)
            else:
                value = await self.signature.run(call, values, context, threads)
            return self._result(call, value)
        except BadArguments as error:
            given = bytes(params.arguments)
            if given and given != b"null" and not given.startswith(b"{"):
                # No model wrote that, and none can mend it (§ Tools, Error Handling).
                raise RpcError(
                    INVALID_PARAMS, f"Invalid params of tools/call: arguments: {error}"
                ) from None
            return failed(f"Invalid arguments for {self.key}: {error}")
        except ToolError as error:
            return failed(str(error) or type(error).__name__)
        except RpcError:
            raise
        except BaseException as error:
            # The spec wants what fails inside a tool as a result the model can see, not as a
            # protocol error; its text was not written for a model, so it gets a number to quote.
            if given_up(error):
                raise
            incident = os.urandom(4).hex()
            log.exception("tool %s failed (incident %s)", self.key, incident)
            return failed(f"{self.key} failed unexpectedly (incident {incident})")

    def _result(self, call: Call, value: Any) -> Result:
        output = self._output
        if output is None:
            if type(value) is str:
                return CallToolResult(content=[Text(text=value)])
            if isinstance(value, CallToolResult):
                return _as_known(call, value)
            if isinstance(value, InputRequired):
                return value
            return _as_known(call, CallToolResult(content=_content(value)))
        if isinstance(value, InputRequired):
            return value
        if isinstance(value, CallToolResult):
            if self.promise is not None:
                self.promise(value)
            return _as_known(call, value)
        body = output(value)
        text = value if type(value) is str else body.decode()
        if self._wrap:
            body = b'{"result":%b}' % body
        result = CallToolResult(content=[Text(text=text)], structured_content=Raw(body))
        if self.promise is not None:
            self.promise(result)
        return result


class Tools:
    """The shelf of tools, and the way of a call to one of them."""

    def __init__(
        self,
        shelf: Shelf[FunctionTool],
        context: MakeContext,
        threads: Threads,
        parking: Parking,
        worker: Worker,
    ) -> None:
        self.shelf = shelf
        self._worker = worker
        self._context = context
        self._threads = threads
        self._parking = parking

    def call(self, call: Call) -> Awaitable[Result]:
        """The way of *call* to its tool; raises at once where there is none for this caller."""
        params = call.params
        assert isinstance(params, CallToolParams)
        tool = self.shelf.get(params.name)
        if tool is None:
            raise RpcError(INVALID_PARAMS, f"Unknown tool: {params.name[:100]!r}")
        if tool.scopes:
            if call.principal.lacks(tool.scopes):
                raise InsufficientScope(tool.scopes)
            call.needed = tool.scopes
        if tool.mirrored:
            hold(call, tool.mirrored)
        if tool.task is not None or params.task:
            return self._outliving(call, tool)
        if tool.asks or params.request_state is not None:
            return self._parking.answer(
                call, tool.signature, lambda own: tool.run(own, self._context, self._threads)
            )
        return tool.run(call, self._context, self._threads)

    async def _outliving(self, call: Call, tool: FunctionTool) -> Result:
        """Call a tool that may become a task, or that somebody wants to."""

        def run(own: Call) -> Awaitable[Result]:
            return tool.run(own, self._context, self._threads)

        answer = await self._worker.take(call, tool.task, tool.signature, run)
        if answer is not None:
            return answer
        return await self._parking.answer(
            call, tool.signature, run, apart=tool.task == "later" and self._worker.wanted(call)
        )


def shown(tool: FunctionTool, revision: Revision) -> Tool:
    """A tool as it is listed: whether it can be a task is said in the experiment alone."""
    if tool.task is None or revision != V2025_11_25:
        return tool.listed
    support: Support = "required" if tool.task == "required" else "optional"
    return msgspec.structs.replace(tool.listed, execution={"taskSupport": support})


def describe(
    function: Function,
    *,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    annotations: ToolAnnotations | None = None,
    icons: Sequence[Icon] | None = None,
    input_schema: dict[str, Any] | None = None,
    output_schema: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    structured: bool = True,
    cache: CacheHints | None = None,
    task: Mode = "never",
    ui: str | None = None,
    visibility: Sequence[Audience] | None = None,
    scopes: Iterable[str] = (),
    list_without_scopes: bool = False,
) -> FunctionTool:
    """The tool that *function* is; whatever is not given is read off it."""
    signature = Signature(function)
    name = name or signature.name
    if not NAME.fullmatch(name):
        raise RegistrationError(
            f"{name!r} cannot be a tool's name: 1 to 64 of A-Z a-z 0-9 _ - . are expected; "
            "give another with name=…"
        )
    if not SAFE_NAME.fullmatch(name):
        warnings.warn(
            f"{name!r} is a tool's name that not every host takes: more than 64 characters, and "
            "slashes, are beyond what some allow",
            stacklevel=3,  # where the tool is registered
        )
    if signature.returns is bytes:
        raise RegistrationError(
            f"{name} returns bytes, and a model cannot know what they are: return Image.of(…), "
            "Audio.of(…) or an EmbeddedResource"
        )
    if input_schema is not None and input_schema.get("type") != "object":
        raise RegistrationError(f"{name}: input_schema must have 'type': 'object' at its root")
    if output_schema is not None and not structured:
        raise RegistrationError(
            f"{name}: an output_schema promises structured content, which structured=False forbids"
        )
    found = _structure(signature) if structured else None
    output = found[0].encode if found is not None else None
    wrap = found[1] if found is not None else False
    verbatim_output = output_schema is not None
    if output_schema is not None:
        wrap = output_schema.get("type") != "object"
        output = output or encode
    elif found is not None:
        output_schema = found[0].schema
    listed = Tool(
        name=name,
        title=title,
        description=description or documentation(function),
        input_schema=input_schema or signature.arguments.schema,
        output_schema=wrapped(output_schema) if output_schema and wrap else output_schema,
        annotations=annotations,
        icons=drawn(icons),
        meta=shown_by(name, ui, visibility, meta),
    )
    if task not in MODES:
        raise RegistrationError(f"{name}: task={task!r} is none of {', '.join(MODES)}")
    if task == "later" and not signature.wants_context:
        raise RegistrationError(
            f'{name}: task="later" waits for `await ctx.become_task()`: give it a Context parameter'
        )
    mode = task if task != "never" else None
    tool = FunctionTool(
        listed,
        signature,
        output=output,
        wrap=wrap,
        task=mode,
        kept=cache,
        scopes=needed(name, scopes),
        hidden=not list_without_scopes,
    )
    if input_schema is not None or verbatim_output:
        # Only for who gives schemas: checking against them is a library of its own.
        from interlock.server import verbatim

        if input_schema is not None:
            tool.bind = verbatim.held(listed, tool.bind)
        if verbatim_output:
            tool.promise = verbatim.promised(listed)
    return tool


def failed(text: str) -> CallToolResult:
    return CallToolResult(content=[Text(text=text)], is_error=True)


def _content(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str):
        return [Text(text=value)]
    if isinstance(value, BLOCKS):
        return [value]
    if isinstance(value, (list, tuple)):
        items = list(cast("Sequence[Any]", value))
        if items and all(isinstance(item, (str, *BLOCKS)) for item in items):
            return [Text(text=item) if isinstance(item, str) else item for item in items]
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("a tool returned bytes; return Image.of(…), Audio.of(…) or the like")
    return [Text(text=encode(value).decode())]


def _as_known(call: Call, result: CallToolResult) -> CallToolResult:
    """*result* with what the caller's revision knows: nothing newer than it goes out."""
    revision = call.envelope.revision
    if revision.modern:
        return result
    content = as_known(revision, result.content)
    structured = result.structured_content
    if structured is not UNSET and not encode(structured).startswith(b"{"):
        structured = UNSET  # Up to 2025-11-25 it is an object; the text says the same.
    if content is result.content and structured is result.structured_content:
        return result
    return msgspec.structs.replace(result, content=content, structured_content=structured)
