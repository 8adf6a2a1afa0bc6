"""The resources and templates a server has, and how one is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec

from interlock.errors import (
    INVALID_PARAMS,
    InsufficientScope,
    RegistrationError,
    ResourceNotFound,
    RpcError,
)
from interlock.protocol.call import NO_SCOPES, Call
from interlock.server.function import Function, MakeContext, Signature
from interlock.server.parking import Parking
from interlock.server.shape import BadArguments
from interlock.server.shelf import UNCACHED, Shelf
from interlock.server.threads import Threads
from interlock.wire.content import ResourceContents
from interlock.wire.decoding import pattern
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import CacheHints, Result
from interlock.wire.resources import (
    ReadResourceParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
)
from interlock.wire.uri import BadTemplate, Template

_URI: Final = pattern(
    r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~!$&'()*+,;=:@/?#\[\]-]|%[0-9A-Fa-f]{2})+"
)
"""What RFC 3986 allows in a URI, roughly."""
_SCHEME: Final = pattern(r"[A-Za-z][A-Za-z0-9+.-]*:|[A-Za-z0-9+.-]*\{")

_Found: TypeAlias = list[ResourceContents] | ReadResourceResult | InputRequired


class FunctionResource:
    """A function that gives the contents of one URI. *hints* are for these, not for the list;
    *scopes* are what a caller's token has to allow.
    """

    kept = None

    def __init__(
        self,
        function: Function,
        listed: Resource,
        hints: CacheHints | None = None,
        scopes: frozenset[str] = NO_SCOPES,
    ) -> None:
        self.scopes = scopes
        self.listed = listed
        self.hints = hints
        self.key = listed.uri
        self.function = function
        self.signature = Signature(function)
        if not _URI.fullmatch(listed.uri):
            raise RegistrationError(
                f"{self.signature.name}: {listed.uri!r} is no URI: expected one such as "
                "'note://first', with a scheme and everything else than ASCII percent-encoded"
            )
        if self.signature.arguments.required:
            raise RegistrationError(
                f"{self.signature.name} wants {_listed(self.signature.arguments.required)}, but "
                f"{listed.uri!r} has no variables: write them as {{name}} in the URI"
            )


class FunctionTemplate:
    """A function that gives the contents of every URI that fits a template."""

    kept = None

    def __init__(
        self,
        function: Function,
        listed: ResourceTemplate,
        hints: CacheHints | None = None,
        scopes: frozenset[str] = NO_SCOPES,
    ) -> None:
        self.scopes = scopes
        self.listed = listed
        self.hints = hints
        self.key = listed.uri_template
        self.function = function
        self.signature = Signature(function)
        try:
            self.template = Template(listed.uri_template)
        except BadTemplate as error:
            raise RegistrationError(f"{self.signature.name}: {error}") from error
        if not _SCHEME.match(self.key):
            raise RegistrationError(
                f"{self.signature.name}: the URIs of {self.key[:80]!r} have no scheme, as note:// is "
                "in note://{id}"
            )
        have, want = set(self.template.names), set(self.signature.arguments.names)
        if have - want:
            raise RegistrationError(
                f"{self.signature.name} has no parameter for {_listed(have - want)} of the "
                f"template {self.key!r}"
            )
        if missing := self.signature.arguments.required - have:
            raise RegistrationError(
                f"{self.signature.name} wants {_listed(missing)}, which the template {self.key!r} "
                "lacks; give it a default, or a place in the URI"
            )


_Item: TypeAlias = FunctionResource | FunctionTemplate


class Resources:
    """The shelves of resources and templates, and the way of a read to one of them."""

    def __init__(
        self,
        resources: Shelf[FunctionResource],
        templates: Shelf[FunctionTemplate],
        context: MakeContext,
        threads: Threads,
        parking: Parking,
        hints: CacheHints,
    ) -> None:
        self._parking = parking
        self.resources = resources
        self.templates = templates
        self._context = context
        self._threads = threads
        self._hints = hints

    async def read(self, call: Call) -> Result:
        params = call.params
        assert isinstance(params, ReadResourceParams)
        uri = params.uri
        item, values = self._found(call, uri)
        result = await self._parking.answer(
            call, item.signature, lambda own: self._read(own, item, uri, values)
        )
        retried = params.input_responses is not None or params.request_state is not None
        if retried and isinstance(result, ReadResourceResult):
            # What answers gave rise to is nobody else's, and nobody's for long (§ Caching, MRTR).
            return msgspec.structs.replace(
                result, ttl_ms=UNCACHED.ttl_ms, cache_scope=UNCACHED.scope
            )
        return result

    def has(self, uri: str) -> bool:
        """Whether there is something to read it with."""
        try:
            self._find(uri)
        except RpcError:
            return False
        return True

    def allow(self, call: Call, uri: str) -> None:
        """Raise `InsufficientScope` if *uri* is something that the caller may not read."""
        try:
            item, _ = self._find(uri)
        except RpcError:
            return  # There may be something one day.
        if item.scopes and call.principal.lacks(item.scopes):
            raise InsufficientScope(item.scopes)

    async def contents(self, call: Call, uri: str) -> Sequence[ResourceContents]:
        """What `Context.read_resource` gives a handler."""
        item, values = self._found(call, uri)
        found = await self._contents(call, item, uri, values)
        if isinstance(found, InputRequired):
            raise RpcError(INVALID_PARAMS, f"{uri} asks for input, which a handler cannot give")
        return found.contents if isinstance(found, ReadResourceResult) else found

    def _found(self, call: Call, uri: str) -> tuple[_Item, tuple[Any, ...]]:
        """What *uri* is one of, if the caller may read it: a handler reads no more for it either."""
        item, values = self._find(uri)
        if item.scopes and call.principal.lacks(item.scopes):
            raise InsufficientScope(item.scopes)
        return item, values

    def _find(self, uri: str) -> tuple[_Item, tuple[Any, ...]]:
        """What *uri* is one of, and the values that its function is called with."""
        resource = self.resources.get(uri)
        if resource is not None:
            return resource, resource.signature.arguments.from_strings({})
        # Listed resources first, then templates in their order: the first that fits is the one.
        misfit: BadArguments | None = None
        for template in self.templates:
            found = template.template.match(uri)
            if found is None:
                continue
            try:
                return template, template.signature.arguments.from_strings(found)
            except BadArguments as error:
                misfit = misfit or error
        if misfit is not None:
            raise RpcError(
                INVALID_PARAMS, f"Resource not found: {uri}: {misfit}", {"uri": uri}
            ) from None
        raise ResourceNotFound(uri)

    async def _read(self, call: Call, item: _Item, uri: str, values: tuple[Any, ...]) -> Result:
        found = await self._contents(call, item, uri, values)
        if isinstance(found, InputRequired):
            return found
        result = (
            found if isinstance(found, ReadResourceResult) else ReadResourceResult(contents=found)
        )
        hints = item.hints or self._hints
        scope = result.cache_scope or hints.scope
        # A copy: the handler may give the same result again.
        return msgspec.structs.replace(
            result,
            ttl_ms=hints.ttl_ms if result.ttl_ms is None else result.ttl_ms,
            # Whoever shares what is public has not shown the scopes that it needs.
            cache_scope="private" if item.scopes else scope,
        )

    async def _contents(self, call: Call, item: _Item, uri: str, values: tuple[Any, ...]) -> _Found:
        value = await item.signature.answer(call, values, self._context, self._threads)
        return _contents(uri, item.listed.mime_type, value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def _contents(uri: str, mime_type: str | None, value: Any) -> _Found:
    if isinstance(value, (InputRequired, ReadResourceResult)):
        return value
    if isinstance(value, ResourceContents):
        return [value]
    if isinstance(value, (str, bytes)):
        return [ResourceContents.of(uri, value, mime_type)]
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if items and all(isinstance(item, ResourceContents) for item in items):
            return items
    if value is None:
        raise ResourceNotFound(uri)
    text = encode(value).decode()
    return [ResourceContents.of(uri, text, mime_type or "application/json")]
