"""Parameters and results of pydantic's types: the one room that imports it.

Only the parameters that mention pydantic go through it; the others of the same function are read
by msgspec, so a function may mix models with Structs, and an `int` means the same everywhere.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Union, get_args, get_origin

from msgspec import Raw
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticUndefined

from interlock.errors import RegistrationError
from interlock.server.native import NativeArguments
from interlock.server.shape import DEFINED, BadArguments, rooted

_COMPLAINTS: Final = 5
"""How many complaints are told: a model corrects a few at a time."""


class PydanticArguments:
    """A parameter list of which some members are pydantic's to read."""

    def __init__(
        self, name: str, parameters: Sequence[inspect.Parameter], pydantic: frozenset[str]
    ) -> None:
        """*pydantic* names the parameters to be read by it."""
        self.names = tuple(p.name for p in parameters)
        self._models = {p.name: _Model(name, p) for p in parameters if p.name in pydantic}
        self.required = frozenset(
            p.name
            for p in parameters
            if (self._models[p.name].required if p.name in pydantic else p.default is p.empty)
        )
        # In the Struct a model's place is kept as raw JSON; an empty one was not sent.
        self._envelope = NativeArguments(
            name,
            [
                p.replace(
                    annotation=Raw if p.name in pydantic else p.annotation,
                    default=_place(p, required=p.name in self.required, model=p.name in pydantic),
                )
                for p in parameters
            ],
        )
        self.schema = self._described()

    def from_json(self, raw: Raw) -> tuple[Any, ...]:
        values = self._envelope.from_json(raw)
        complaints: list[str] = []
        read: list[Any] = []
        for name, value in zip(self.names, values, strict=True):
            model = self._models.get(name)
            if model is None:
                read.append(value)
                continue
            try:
                read.append(model.from_json(value))
            except ValidationError as error:
                complaints += _complaints(name, error)
        if complaints:
            raise BadArguments(_told(complaints))
        return tuple(read)

    def from_strings(self, values: Mapping[str, str]) -> tuple[Any, ...]:
        present = Raw(b"null")
        read = list(
            self._envelope.from_strings(
                {name: present if name in self._models else value for name, value in values.items()}
            )
        )
        complaints: list[str] = []
        for index, name in enumerate(self.names):
            model = self._models.get(name)
            if model is None:
                continue
            try:
                read[index] = model.from_string(values.get(name))
            except ValidationError as error:
                complaints += _complaints(name, error)
        if complaints:
            raise BadArguments(_told(complaints))
        return tuple(read)

    def _described(self) -> dict[str, Any]:
        schema = self._envelope.schema
        definitions: dict[str, Any] = schema.get("$defs", {})
        found, theirs = TypeAdapter.json_schemas(
            [(name, "validation", model.adapter) for name, model in self._models.items()],
            ref_template=DEFINED + "{model}",
            schema_generator=_Untitled,
        )
        defined: dict[str, Any] = theirs.get("$defs", {})
        for taken in definitions.keys() & defined.keys():
            if definitions[taken] != defined[taken]:
                raise RegistrationError(
                    f"Two different types are called {taken!r} in one function; rename one of them"
                )
        for (name, _), described in found.items():
            schema["properties"][name] = described
            self._models[name].show_default(described)
        if definitions or defined:
            schema["$defs"] = {**definitions, **defined}
        return schema


class PydanticOutput:
    """A return type whose values pydantic checks and dumps."""

    def __init__(self, name: str, annotation: Any) -> None:
        self._name = name
        self._adapter = _adapter(name, "the return type", annotation)
        schema = self._adapter.json_schema(
            mode="serialization", ref_template=DEFINED + "{model}", schema_generator=_Untitled
        )
        self.schema = rooted(schema, schema.pop("$defs", {}))
        self.schema.pop("title", None)

    def encode(self, value: Any) -> bytes:
        try:
            checked = self._adapter.validate_python(value, from_attributes=True)
            return self._adapter.dump_json(checked, by_alias=True, warnings="error")
        except ValueError as error:
            raise TypeError(
                f"{self._name} returned what does not fit its return type: {error}"
            ) from error


class _Model:
    """One parameter that pydantic reads."""

    def __init__(self, name: str, parameter: inspect.Parameter) -> None:
        annotation = parameter.annotation
        default: Any = parameter.default
        if default is None or (isinstance(default, FieldInfo) and default.default is None):
            annotation = Union[annotation, None]  # noqa: UP007  made here
        if isinstance(default, FieldInfo):
            annotation = Annotated[annotation, default]
        self._default: Any = None if default is parameter.empty else default
        self._field = _field_of(annotation) if default is parameter.empty else None
        if isinstance(default, FieldInfo):
            self._field = default
        if any(field.alias or field.validation_alias for field in _fields_in(annotation)):
            raise RegistrationError(
                f"{name}: the parameter {parameter.name!r} has an alias; name the parameter itself "
                "as it shall be called"
            )
        self.adapter = _adapter(name, f"the parameter {parameter.name!r}", annotation)
        self.required = (
            self._field.is_required() if self._field is not None else default is parameter.empty
        )

    def from_json(self, raw: Raw) -> Any:
        return self.adapter.validate_json(bytes(raw)) if raw else self._missing()

    def from_string(self, value: str | None) -> Any:
        if value is None:
            return self._missing()
        try:
            return self.adapter.validate_strings(value)
        except ValidationError:
            if value[:1] in ("{", "["):
                return self.adapter.validate_json(value)
            raise

    def show_default(self, schema: dict[str, Any]) -> None:
        """Write the default into *schema*, unless it says one or the default is no JSON."""
        if self._field is None and not self.required:
            with contextlib.suppress(ValueError):
                schema["default"] = self.adapter.dump_python(
                    self._default, mode="json", warnings=False
                )

    def _missing(self) -> Any:
        if self._field is None:
            return copy.deepcopy(self._default)
        return self._field.get_default(call_default_factory=True, validated_data={})


class _Untitled(GenerateJsonSchema):
    """Without a title for each field, which only repeats its name and costs a model's attention."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _place(parameter: inspect.Parameter, *, required: bool, model: bool) -> Any:
    if required:
        return parameter.empty
    return Raw() if model else parameter.default


def _fields_in(annotation: Any) -> list[FieldInfo]:
    if get_origin(annotation) is not Annotated:
        return []
    return [extra for extra in get_args(annotation)[1:] if isinstance(extra, FieldInfo)]


def _field_of(annotation: Any) -> FieldInfo | None:
    """The last `Field(...)` in an `Annotated` that gives a default."""
    found: FieldInfo | None = None
    for field in _fields_in(annotation):
        if field.default is not PydanticUndefined or field.default_factory is not None:
            found = field
    return found


def _adapter(name: str, where: str, annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation)
    except (PydanticUserError, TypeError, NameError) as error:
        text = str(error).partition("\n")[0]
        raise RegistrationError(f"{name}: {where} cannot be read by pydantic: {text}") from error


def _complaints(name: str, error: ValidationError) -> list[str]:
    return [
        f"{each['msg']} - at `$.{name}{_path(each['loc'])}`"
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)


def _told(complaints: Sequence[str]) -> str:
    told = "; ".join(complaints[:_COMPLAINTS])
    more = len(complaints) - _COMPLAINTS
    return f"{told}; and {more} more" if more > 0 else told
