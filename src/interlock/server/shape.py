"""What a parameter list and a return type look like on the wire: what every way to read them promises.

Two rooms keep the promise: `native` with msgspec alone, `pydantic` for whoever uses its models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from msgspec import Raw, Struct

from interlock.wire.jsonrpc import encode
from interlock.wire.parameters import ANNOTATION

DEFINED: Final = "#/$defs/"


class Header(Struct, frozen=True):
    """Says of a parameter that HTTP clients repeat it in a header: `Annotated[str, Header("Region")]`
    travels as `Mcp-Param-Region` too, for whoever routes by it.

    Only strings, integers and booleans; never secrets, which would end in the logs of proxies.
    """

    name: str

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], Any]) -> Any:
        """How pydantic asks an annotation for its part of the schema."""
        return {**handler(core), ANNOTATION: self.name}


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

    def from_strings(self, values: Mapping[str, str]) -> tuple[Any, ...]:
        """The same from strings, which are converted where a parameter is no string."""
        ...


class Output(Protocol):
    """How a return type is described and turned into structured content."""

    schema: dict[str, Any]

    def encode(self, value: Any) -> bytes:
        """*value* as JSON that the schema allows. Raises `TypeError` if it does not fit its type."""
        ...


def rooted(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """*schema* with its own reference followed, so that the root says what it is.

    Definitions go under `$defs`, without the root's own unless something refers to it.
    """
    definitions = dict(definitions)
    reference = schema.get("$ref")
    if reference is None:
        root = dict(schema)
    else:
        name = reference.removeprefix(DEFINED)
        root = dict(definitions[name])
        if encode(reference) not in encode(definitions):
            del definitions[name]
    if definitions:
        root["$defs"] = definitions
    return root


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
