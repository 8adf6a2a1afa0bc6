"""A Python function as a handler: its schema, its decoder, what it wants injected, its result.

Everything that can be known from the signature is settled here once; a call decodes its arguments
straight into the function's own types and goes on.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Protocol, TypeAlias, Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct

from interlock.errors import RegistrationError
from interlock.server.context import Context
from interlock.wire.content import Audio, EmbeddedResource, Image, ResourceLink, Text
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.tools import CallToolResult

Function: TypeAlias = Callable[..., Any]

BLOCKS: Final = (Text, Image, Audio, EmbeddedResource, ResourceLink)


class BadArguments(ValueError):
    """Arguments do not fit the function; the text says where, for a model to correct itself."""


class Arguments(Protocol):
    """How the parameters of one function are described and read."""

    schema: dict[str, Any]
    names: tuple[str, ...]
    required: frozenset[str]

    def from_json(self, raw: Raw) -> tuple[Any, ...]:
        """The values of *names*, in order. Raises `BadArguments`."""
        ...

    def from_strings(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """The same from strings, which are converted where a parameter is no string."""
        ...


class Output(Protocol):
    """How a return type is described and turned into structured content."""

    schema: dict[str, Any]

    def encode(self, value: Any) -> bytes:
        """*value* as JSON that the schema allows. Raises if it does not fit its declared type."""
        ...


class Signature:
    """What a function takes and gives.

    *context* is where in the parameters a `Context` goes, or -1. *keywords* counts the parameters
    at the end that can only be given by name.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.name: str = getattr(function, "__name__", type(function).__name__)
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  the coroutine test needs the method
        )
        parameters, self.returns = _parameters(function, self.name)
        self.context = -1
        self.keyword_names: tuple[str, ...] = ()
        taken: list[inspect.Parameter] = []
        for index, parameter in enumerate(parameters):
            if _wants_context(parameter.annotation):
                if self.context >= 0:
                    raise RegistrationError(f"{self.name} declares two Context parameters")
                self.context = index
                if parameter.kind is parameter.KEYWORD_ONLY:
                    raise RegistrationError(
                        f"{self.name}: the Context parameter {parameter.name!r} cannot be "
                        "keyword-only; move it before the *"
                    )
            else:
                taken.append(parameter)
        self.keyword_names = tuple(p.name for p in taken if p.kind is p.KEYWORD_ONLY)
        self.arguments = _arguments(self.name, taken)

    def bind(
        self, values: tuple[Any, ...], context: Callable[[], Context]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments to call the function with."""
        named: dict[str, Any] = {}
        if self.keyword_names:
            count = len(values) - len(self.keyword_names)
            named = dict(zip(self.keyword_names, values[count:], strict=True))
            values = values[:count]
        if self.context >= 0:
            values = (*values[: self.context], context(), *values[self.context :])
        return values, named


class _MsgspecArguments:
    """Plain types, dataclasses, TypedDicts and Structs: decoded by msgspec, no model layer."""

    def __init__(self, name: str, parameters: list[inspect.Parameter]) -> None:
        fields: list[Any] = []
        for parameter in parameters:
            annotation = described(parameter.annotation)
            if parameter.default is parameter.empty:
                fields.append((parameter.name, annotation))
            else:
                fields.append((parameter.name, annotation, _default(parameter.default)))
        self.names = tuple(p.name for p in parameters)
        self.required = frozenset(p.name for p in parameters if p.default is p.empty)
        try:
            self._type = msgspec.defstruct(
                name, fields, kw_only=True, forbid_unknown_fields=True, namespace={"__doc__": None}
            )
            self._decode = msgspec.json.Decoder(self._type).decode
            self.schema = object_schema(self._type)
        except (TypeError, ValueError) as error:
            raise RegistrationError(
                f"{name}: a parameter's type cannot be described as JSON Schema: {error}"
            ) from error
        self._astuple = msgspec.structs.astuple

    def from_json(self, raw: Raw) -> tuple[Any, ...]:
        try:
            return self._astuple(self._decode(raw or b"{}"))
        except UNREADABLE as error:
            raise BadArguments(str(error)) from None

    def from_strings(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        try:
            return self._astuple(msgspec.convert(dict(values), self._type, strict=False))
        except msgspec.ValidationError as error:
            raise BadArguments(str(error)) from None


class _MsgspecOutput:
    """A return type described and checked by msgspec."""

    def __init__(self, name: str, annotation: Any) -> None:
        self._type = described(annotation)
        try:
            (schema,), components = msgspec.json.schema_components(
                [self._type], ref_template="#/$defs/{name}"
            )
        except (TypeError, ValueError) as error:
            raise RegistrationError(
                f"{name}: the return type cannot be described as JSON Schema: {error}; give "
                "structured=False to send it as text only"
            ) from error
        self.schema = _inlined_root(schema, components)
        plain = isinstance(annotation, type) and (
            issubclass(annotation, Struct) or hasattr(annotation, "__dataclass_fields__")
        )
        self._checked = not plain

    def encode(self, value: Any) -> bytes:
        if self._checked:
            value = msgspec.convert(value, self._type, from_attributes=True)
        return encode(value)


def structured(signature: Signature) -> tuple[Output, bool] | None:
    """How to send what the function returns as structured content, and whether wrapped.

    None where the return type says nothing (missing, None, Any), says text, or is content already.
    A type whose schema is no object is wrapped as `{"result": …}`: up to 2025-11-25 structured
    content is an object, and one form for all revisions is one form to learn.
    """
    returns = signature.returns
    if returns in (inspect.Signature.empty, None, type(None), Any, str, bytes) or _is_content(
        returns
    ):
        return None
    output: Output
    if mentions_pydantic(returns):
        output = _pydantic().PydanticOutput(signature.name, returns)
    else:
        output = _MsgspecOutput(signature.name, returns)
    return output, output.schema.get("type") != "object"


def wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of `{"result": …}` around one that is no object."""
    inner = dict(schema)
    definitions = inner.pop("$defs", None)
    outer: dict[str, Any] = {
        "type": "object",
        "properties": {"result": inner},
        "required": ["result"],
    }
    if definitions:
        outer["$defs"] = definitions
    return outer


def described(annotation: Any) -> Any:
    """*annotation* with plain strings in `Annotated` read as descriptions."""
    if get_origin(annotation) is not Annotated:
        return annotation
    inner, *extras = get_args(annotation)
    metadata = [
        msgspec.Meta(description=extra) if isinstance(extra, str) else extra for extra in extras
    ]
    for extra in metadata:
        inner = Annotated[inner, extra]
    return inner


def object_schema(struct: type[Struct]) -> dict[str, Any]:
    """The JSON Schema of a Struct as a root object, with what it refers to under `$defs`."""
    (schema,), components = msgspec.json.schema_components(
        [struct], ref_template="#/$defs/{name}"
    )
    root = _inlined_root(schema, components)
    root.pop("title", None)
    return root


def mentions_pydantic(annotation: Any) -> bool:
    """Whether a model or a `Field` of pydantic is anywhere in *annotation*; never imports it."""
    if "pydantic" not in sys.modules:
        return False
    if isinstance(annotation, type) and not get_args(annotation):
        return any(base.__module__.startswith("pydantic") for base in annotation.__mro__)
    if type(annotation).__module__.startswith("pydantic"):
        return True
    return any(mentions_pydantic(part) for part in get_args(annotation))


def _parameters(function: Function, name: str) -> tuple[list[inspect.Parameter], Any]:
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(
            function if inspect.isroutine(function) else type(function).__call__,
            include_extras=True,
        )
    except (NameError, TypeError, ValueError) as error:
        raise RegistrationError(f"{name}: its type hints cannot be read: {error}") from error
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise RegistrationError(
                f"{name} takes {parameter}: a schema needs every parameter by its own name"
            )
        parameters.append(parameter.replace(annotation=hints.get(parameter.name, Any)))
    return parameters, hints.get("return", inspect.Signature.empty)


def _arguments(name: str, parameters: list[inspect.Parameter]) -> Arguments:
    if any(
        mentions_pydantic(p.annotation) or type(p.default).__module__.startswith("pydantic")
        for p in parameters
    ):
        return _pydantic().PydanticArguments(name, parameters)
    return _MsgspecArguments(name, parameters)


def _pydantic() -> Any:
    # The one room that imports pydantic, and only for programs that did so themselves.
    import interlock.server.pydantic as room  # noqa: PLC0415

    return room


def _wants_context(annotation: Any) -> bool:
    if annotation is Context:
        return True
    if get_origin(annotation) in (Union, type(int | str)):
        return any(part is Context for part in get_args(annotation))
    return False


def _default(value: Any) -> Any:
    if isinstance(value, (list, dict, set)):
        return msgspec.field(default_factory=lambda: value.copy())  # type: ignore[reportUnknownLambdaType]
    return value


def _is_content(annotation: Any) -> bool:
    if annotation in BLOCKS or annotation in (CallToolResult, InputRequired):
        return True
    if get_origin(annotation) in (Union, type(int | str)):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return any(_is_content(part) for part in parts)
    if get_origin(annotation) in (list, tuple):
        return any(_is_content(part) for part in get_args(annotation) if part is not ...)
    return False


def _inlined_root(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """*schema* with its own reference followed, so that the root says what it is."""
    reference = schema.get("$ref")
    if reference is not None:
        name = reference.removeprefix("#/$defs/")
        root = dict(components[name])
        rest = {key: value for key, value in components.items() if key != name}
        if f'"{reference}"'.encode() in encode(components):
            rest = components
    else:
        root, rest = dict(schema), components
    if rest:
        root["$defs"] = dict(rest)
    return root
