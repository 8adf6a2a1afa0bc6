"""The resources and templates a server has, and how one is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from interlock.errors import INVALID_PARAMS, RegistrationError, ResourceNotFound, RpcError
from interlock.protocol.call import Call
from interlock.server.context import Context
from interlock.server.function import BadArguments, Function, Signature
from interlock.server.shelf import Shelf
from interlock.server.threads import Threads
from interlock.wire.content import ResourceContents
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import CacheHints, Result
from interlock.wire.resources import ReadResourceResult, Resource, ResourceTemplate
from interlock.wire.uri import Template


class FunctionResource:
    """A function that gives the contents of one URI."""

    def __init__(self, function: Function, listed: Resource) -> None:
        self.listed = listed
        self.key = listed.uri
        self.function = function
        self.signature = Signature(function)
        if self.signature.arguments.required:
            names = ", ".join(sorted(self.signature.arguments.required))
            raise RegistrationError(
                f"The resource {listed.uri!r} has no variables, but its function wants {names}; "
                "write them as {name} in the URI"
            )


class FunctionTemplate:
    """A function that gives the contents of every URI that fits a template."""

    def __init__(self, function: Function, listed: ResourceTemplate) -> None:
        self.listed = listed
        self.key = listed.uri_template
        self.function = function
        self.signature = Signature(function)
        self.template = Template(listed.uri_template)
        have, want = set(self.template.names), set(self.signature.arguments.names)
        if have - want:
            raise RegistrationError(
                f"The template {self.key!r} has {sorted(have - want)}, which its function lacks"
            )
        if self.signature.arguments.required - have:
            missing = sorted(self.signature.arguments.required - have)
            raise RegistrationError(
                f"The function of {self.key!r} wants {missing}, which the template lacks"
            )


class Resources:
    """The shelves of resources and templates, and the way of a read to one of them."""

    def __init__(
        self,
        resources: Shelf[FunctionResource],
        templates: Shelf[FunctionTemplate],
        context: Callable[[Call], Context],
        threads: Threads,
        hints: CacheHints,
    ) -> None:
        self.resources = resources
        self.templates = templates
        self._context = context
        self._threads = threads
        self._hints = hints

    async def read(self, call: Call) -> Result:
        uri: str = call.params.uri  # type: ignore[attr-defined]
        found = await self._value(call, uri)
        if isinstance(found, InputRequired):
            return found
        return ReadResourceResult(
            contents=found, ttl_ms=self._hints.ttl_ms, cache_scope=self._hints.scope
        )

    async def contents(self, call: Call, uri: str) -> Sequence[ResourceContents]:
        """What `Context.read_resource` gives a handler."""
        found = await self._value(call, uri)
        if isinstance(found, InputRequired):
            raise RpcError(INVALID_PARAMS, f"{uri} asks for input, which a handler cannot give")
        return found

    async def _value(self, call: Call, uri: str) -> list[ResourceContents] | InputRequired:
        resource = self.resources.get(uri)
        if resource is not None:
            mime_type = resource.listed.mime_type
            return _contents(uri, mime_type, await self._run(call, resource, ()))
        # Listed resources first, then templates in their order: the first that fits is the one.
        for template in self.templates:
            values = template.template.match(uri)
            if values is not None:
                try:
                    arguments = template.signature.arguments.from_strings(values)
                except BadArguments as error:
                    raise RpcError(INVALID_PARAMS, f"{uri}: {error}", {"uri": uri}) from None
                mime_type = template.listed.mime_type
                return _contents(uri, mime_type, await self._run(call, template, arguments))
        raise ResourceNotFound(uri)

    async def _run(
        self, call: Call, item: FunctionResource | FunctionTemplate, values: tuple[Any, ...]
    ) -> Any:
        signature = item.signature
        if not values and signature.arguments.names:
            values = signature.arguments.from_strings({})
        args, named = signature.bind(values, lambda: self._context(call))
        if signature.is_async:
            return await item.function(*args, **named)
        return await self._threads.run(call, item.function, *args, **named)


def _contents(
    uri: str, mime_type: str | None, value: Any
) -> list[ResourceContents] | InputRequired:
    if isinstance(value, InputRequired):
        return value
    if isinstance(value, ReadResourceResult):
        return value.contents
    if isinstance(value, ResourceContents):
        return [value]
    if isinstance(value, (str, bytes)):
        return [ResourceContents.of(uri, value, mime_type)]
    if isinstance(value, list):
        items: list[Any] = value  # type: ignore[reportUnknownVariableType]
        if items and all(isinstance(item, ResourceContents) for item in items):
            return items
    if value is None:
        raise ResourceNotFound(uri)
    text = encode(value).decode()
    return [ResourceContents.of(uri, text, mime_type or "application/json")]
