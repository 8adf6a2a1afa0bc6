"""A Python function as a handler: what it takes and gives, what it wants injected, how it is run.

Everything that can be known from the signature is settled here once; a call decodes its arguments
straight into the function's own types and goes on.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any, Final, TypeAlias, get_args, get_origin

from interlock.errors import INTERNAL_ERROR, RegistrationError, RpcError, ToolError
from interlock.protocol.call import Call
from interlock.server.context import Context
from interlock.server.native import UNIONS, NativeArguments, NativeOutput
from interlock.server.shape import Arguments, Output
from interlock.server.threads import Threads
from interlock.wire.content import Audio, EmbeddedResource, Image, ResourceLink, Text
from interlock.wire.inputs import InputRequired
from interlock.wire.tools import CallToolResult

Function: TypeAlias = Callable[..., Any]
MakeContext: TypeAlias = Callable[[Call], Context]

BLOCKS: Final = (Text, Image, Audio, EmbeddedResource, ResourceLink)


class Signature:
    """What a function takes and gives, and the one way to call it.

    Raises `RegistrationError`, naming the function and the parameter, if it cannot be a handler.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.name = name_of(function)
        if not callable(function) or isinstance(function, type):
            raise RegistrationError(
                f"A function is expected, not {function!r}; to say more, use keywords: name=…"
            )
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            type(function).__call__
        )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise RegistrationError(f"{self.name} yields; return a list instead")
        parameters, self.returns = _parameters(function, self.name)
        self._context_at = -1
        self._context_name = ""
        taken: list[inspect.Parameter] = []
        for index, parameter in enumerate(parameters):
            if not _wants_context(parameter.annotation):
                taken.append(parameter)
            elif self.wants_context:
                raise RegistrationError(f"{self.name} declares two Context parameters")
            elif parameter.kind is parameter.KEYWORD_ONLY:
                self._context_name = parameter.name
            else:
                self._context_at = index
        self._keywords = tuple(p.name for p in taken if p.kind is p.KEYWORD_ONLY)
        self.plain = self.is_async and not self._keywords and not self.wants_context
        """Whether awaiting the function with the values as they are is all there is to do."""
        self.arguments = _arguments(self.name, taken)

    @property
    def wants_context(self) -> bool:
        return self._context_at >= 0 or bool(self._context_name)

    def may_return(self, kind: type) -> bool:
        """Whether the function may return a *kind*; one that does not say what may return any."""
        if self.returns in (inspect.Signature.empty, Any, object):
            return True
        return self.returns is kind or (
            get_origin(self.returns) in UNIONS and kind in get_args(self.returns)
        )

    async def run(
        self, call: Call, values: tuple[Any, ...], context: MakeContext, threads: Threads
    ) -> Any:
        """Call the function with *values*, in the order of `arguments.names`."""
        named: dict[str, Any] = {}
        if self._keywords:
            count = len(values) - len(self._keywords)
            named = dict(zip(self._keywords, values[count:], strict=True))
            values = values[:count]
        if self._context_at >= 0:
            values = (*values[: self._context_at], context(call), *values[self._context_at :])
        elif self._context_name:
            named[self._context_name] = context(call)
        if self.is_async:
            return await self.function(*values, **named)
        value = await threads.run(call, self.function, *values, **named)
        # A decorator may hide that what it wraps is async.
        return await value if inspect.isawaitable(value) else value

    async def answer(
        self, call: Call, values: tuple[Any, ...], context: MakeContext, threads: Threads
    ) -> Any:
        """The same where a failure is answered with a JSON-RPC error: of resources and prompts."""
        try:
            return await self.run(call, values, context, threads)
        except ToolError as error:
            raise RpcError(INTERNAL_ERROR, str(error)) from error
        except BaseException as error:
            if given_up(error) or isinstance(error, Exception):
                raise
            raise RuntimeError(f"{self.name} gave up: {error!r}") from error


def given_up(error: BaseException) -> bool:
    """Whether *error* ends the call from outside, rather than telling of a handler that failed.

    A handler may let a cancellation of something else escape, or a library's `sys.exit()`: neither
    is a reason to leave the caller without an answer, or to end the server.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return not isinstance(error, (Exception, SystemExit))


def structured(signature: Signature) -> tuple[Output, bool] | None:
    """How to send what the function returns as structured content, and whether wrapped.

    None where the return type says nothing (missing, None, Any), says text, or is content already.
    A type whose schema is no object is wrapped as `{"result": …}`: up to 2025-11-25 structured
    content is an object, and one form for all revisions is one form to learn.
    """
    returns = signature.returns
    if returns in (inspect.Signature.empty, None, type(None), Any, object, str):
        return None
    if _is_content(returns):
        return None
    output: Output
    if mentions_pydantic(returns):
        output = _pydantic().PydanticOutput(signature.name, returns)
    else:
        output = NativeOutput(signature.name, returns)
    return output, output.schema.get("type") != "object"


def mentions_pydantic(annotation: Any) -> bool:
    """Whether a type or a `Field` of pydantic is anywhere in *annotation*; never imports it."""
    return "pydantic" in sys.modules and _mentions(annotation, set())


def name_of(function: Any) -> str:
    """A function's own name; of an object its class's."""
    while isinstance(function, functools.partial):
        function = function.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  of any function
    return getattr(function, "__name__", type(function).__name__)


def documentation(function: Any) -> str | None:
    """A function's docstring without its indentation; of an object its `__call__`'s or class's."""
    while isinstance(function, functools.partial):
        function = function.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  of any function
    if inspect.isroutine(function):
        return inspect.getdoc(function)
    kind: Any = type(function)  # pyright: ignore[reportUnknownVariableType]
    own: str | None = kind.__call__.__doc__
    return inspect.cleandoc(own) if own else inspect.getdoc(kind)


def _parameters(function: Function, name: str) -> tuple[list[inspect.Parameter], Any]:
    bound: set[str] = set()
    source: Any = function
    while isinstance(source, functools.partial):
        bound |= source.keywords.keys()
        source = source.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  of any function
    if not inspect.isroutine(source) and not inspect.isfunction(inspect.unwrap(source)):
        source = type(source).__call__
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise RegistrationError(f"{name}: its parameters cannot be read: {error}") from error
    try:
        hints = typing.get_type_hints(source, include_extras=True)
    except NameError as error:
        where = _mentioning(source, error.name or "")
        raise RegistrationError(
            f"{name}: the type of {where} cannot be read: {error}. With `from __future__ import "
            "annotations` a type must be imported or defined at the top of its module"
        ) from error
    except (TypeError, ValueError, AttributeError, SyntaxError) as error:
        raise RegistrationError(f"{name}: its type hints cannot be read: {error}") from error
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name in bound:
            continue  # Filled in by functools.partial: not the caller's to choose.
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise RegistrationError(
                f"{name} takes {parameter}: a schema needs every parameter by its own name"
            )
        if not parameters and parameter.name in ("self", "cls") and parameter.name not in hints:
            raise RegistrationError(
                f"{name} is a method without its object: register it on an instance, as in "
                f"server.tool(thing.{name})"
            )
        parameters.append(parameter.replace(annotation=hints.get(parameter.name, Any)))
    return parameters, hints.get("return", inspect.Signature.empty)


def _mentioning(function: Any, name: str) -> str:
    annotations: dict[str, Any] = getattr(function, "__annotations__", {})
    for parameter, annotation in annotations.items():
        if name and name in str(annotation):
            return "what it returns" if parameter == "return" else f"the parameter {parameter!r}"
    return "a parameter"


def _arguments(name: str, parameters: list[inspect.Parameter]) -> Arguments:
    models = frozenset(
        p.name
        for p in parameters
        if mentions_pydantic(p.annotation) or type(p.default).__module__.startswith("pydantic.")
    )
    if models:
        return _pydantic().PydanticArguments(name, parameters, models)
    return NativeArguments(name, parameters)


def _pydantic() -> Any:
    # The one room that imports pydantic, and only for programs that did so themselves.
    import interlock.server.pydantic as room

    return room


def _mentions(annotation: Any, seen: set[int]) -> bool:
    if id(annotation) in seen:
        return False
    seen.add(id(annotation))
    if hasattr(annotation, "__value__"):  # `type X = ...`
        return _mentions(annotation.__value__, seen)
    if any(_mentions(part, seen) for part in get_args(annotation)):
        return True
    if not isinstance(annotation, type):
        return type(annotation).__module__.partition(".")[0] == "pydantic" or (
            isinstance(get_origin(annotation), type) and _mentions(get_origin(annotation), seen)
        )
    if annotation.__module__.partition(".")[0] in ("pydantic", "pydantic_core"):
        return True
    if hasattr(annotation, "__pydantic_core_schema__"):
        return True
    if not hasattr(annotation, "__annotations__") or annotation.__module__ == "builtins":
        return False
    try:
        hints = typing.get_type_hints(annotation, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return False  # Whoever describes it will say what is wrong.
    return any(_mentions(each, seen) for each in hints.values())


def _wants_context(annotation: Any) -> bool:
    if isinstance(annotation, type):
        return issubclass(annotation, Context)
    return get_origin(annotation) in UNIONS and any(
        part is Context for part in get_args(annotation)
    )


def _is_content(annotation: Any) -> bool:
    if annotation in BLOCKS or annotation in (CallToolResult, InputRequired):
        return True
    if get_origin(annotation) in UNIONS:
        return any(_is_content(part) for part in get_args(annotation))
    if get_origin(annotation) in (list, tuple):
        return any(_is_content(part) for part in get_args(annotation) if part is not ...)
    return False
