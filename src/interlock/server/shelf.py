"""Components of one kind by their key, and the list of them as bytes.

The list is encoded when it is first asked for and kept until the shelf changes; looking a
component up is a dictionary's work, whatever their number. How long clients may keep the list is
said with it. Where it depends on the caller's scopes what is on it, there is a list for each set of
those that it depends on.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar, get_args

from interlock.errors import (
    INVALID_PARAMS,
    ConfigError,
    RegistrationError,
    RpcError,
    UsageError,
)
from interlock.protocol.call import NO_SCOPES, Call
from interlock.protocol.gate import scope_names
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import CacheHints, Icon, PagedParams, RawResult, Wire
from interlock.wire.versions import Revision


class Component(Protocol):
    """Something a server offers: how it is listed, and under which key it is found."""

    @property
    def key(self) -> str: ...

    @property
    def listed(self) -> Wire: ...

    @property
    def kept(self) -> CacheHints | None:
        """How long its place in the list may be kept; None as long as the list says."""
        ...


C = TypeVar("C", bound=Component)

UNCACHED: Final = CacheHints()
"""What clients are told unless a server says otherwise: keep nothing."""

Cached: TypeAlias = Literal["discover", "tools", "resources", "prompts", "reads"]
"""What clients may keep: what the server says of itself, each kind's lists, what resources hold."""
Caching: TypeAlias = CacheHints | Mapping[Cached, CacheHints]
"""One answer for everything, or one each; what is not named is not to be kept."""


def hints_of(caching: Caching, what: Cached) -> CacheHints:
    if isinstance(caching, CacheHints):
        return caching
    if unknown := caching.keys() - set(get_args(Cached)):
        known = ", ".join(get_args(Cached))
        raise UsageError(f"cache= knows {known}; got {', '.join(sorted(map(repr, unknown)))}")
    return caching.get(what, UNCACHED)


def narrowest(hints: Iterable[CacheHints]) -> CacheHints:
    """What is true of all *hints* together."""
    hints = list(hints)
    shared = all(each.scope == "public" for each in hints)
    return CacheHints(min(each.ttl_ms for each in hints), "public" if shared else "private")


def drawn(icons: Sequence[Icon] | None) -> list[Icon] | None:
    """The icons of what is offered; clients take no other than https and data URIs."""
    for icon in icons or ():
        if not icon.src.startswith(("https://", "http://", "data:")):
            raise RegistrationError(
                f"An icon is an https or a data URI, as Icon(src='https://…'); got {icon.src[:80]!r}"
            )
    return list(icons) if icons else None


def needed(name: str, scopes: Iterable[str]) -> frozenset[str]:
    """The scopes that a component needs; raises `RegistrationError` for what is none."""
    try:
        return scope_names(scopes)
    except ConfigError as error:
        raise RegistrationError(f"{name}: {error}") from None


LISTS: Final = 64
"""How many sets of scopes lists are kept for; the oldest makes room."""
_MARK: Final = 4
"""Bytes of a cursor that say whose it is."""


class Shelf(Generic[C]):
    """One kind of component, in the order they were added.

    *member* is the list's name in its result ("tools"), *noun* what messages call one. A page
    has *page_size* entries; None puts all on one. *changed* is called after each change. *realm*
    says whose cursors are taken: workers that serve one endpoint have the same. *shown* gives what
    clients of a revision see of one, where that is not the same for all; *hidden* the scopes without
    which a caller does not see it at all.
    """

    def __init__(
        self,
        member: str,
        noun: str,
        *,
        page_size: int | None = None,
        hints: CacheHints = UNCACHED,
        changed: Callable[[], None] = lambda: None,
        realm: str = "",
        shown: Callable[[C, Revision], Wire] = lambda item, _: item.listed,
        hidden: Callable[[C], frozenset[str]] = lambda _: NO_SCOPES,
    ) -> None:
        self.noun = noun
        self.hints = hints
        self._member = member
        self._page_size = page_size
        self._changed = changed
        self._realm = f"{realm}\0{member}".encode()
        self._shown = shown
        self._items: dict[str, C] = {}
        self._hidden = hidden
        self._scopes: frozenset[str] | None = None
        self._lists: dict[frozenset[str] | None, dict[tuple[str, str | None], RawResult]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[C]:
        return iter(self._items.values())

    def get(self, key: str) -> C | None:
        return self._items.get(key)

    def add(self, component: C) -> None:
        """Put *component* on the shelf; its key must be free."""
        if component.key in self._items:
            raise RegistrationError(f"There is a {self.noun} named {component.key!r} already")
        self._items[component.key] = component
        self._touched()

    def remove(self, key: str) -> None:
        if self._items.pop(key, None) is None:
            raise KeyError(f"There is no {self.noun} named {key!r}")
        self._touched()

    def replace(self, components: list[C]) -> None:
        """Offer exactly *components* from now on."""
        self._items = {component.key: component for component in components}
        self._touched()

    async def page(self, call: Call) -> RawResult:
        """Answer a list request."""
        params = call.params
        cursor = params.cursor if isinstance(params, PagedParams) else None
        scopes = self._scopes
        if scopes is None:
            scopes = self._scopes = NO_SCOPES.union(*map(self._hidden, self._items.values()))
        held = call.principal.scopes
        if held is not None:
            held &= scopes
        pages = self._lists.get(held)
        if pages is None:
            pages = self._lists[held] = {}
            if len(self._lists) > LISTS:
                del self._lists[next(iter(self._lists))]
        # What a client sees depends on its revision; each has its form, and each is kept.
        revision = call.envelope.revision
        key = (revision.name, cursor)
        page = pages.get(key)
        if page is None:
            page = self._encode(revision, cursor, held)
            pages[key] = page
        return page

    def _encode(
        self, revision: Revision, cursor: str | None, held: frozenset[str] | None
    ) -> RawResult:
        items = list(self._items.values())
        start = 0 if cursor is None else self._after(cursor)
        items, rest = items[:start], items[start:]
        if held is not None:
            rest = [item for item in rest if self._hidden(item) <= held]
        items += rest
        end = len(items)
        body: dict[str, object] = {}
        if self._page_size is not None and start + self._page_size < end:
            end = start + self._page_size
            body["nextCursor"] = self._cursor(items[end - 1].key)
        body[self._member] = [self._shown(item, revision) for item in items[start:end]]
        if revision.modern:
            # Of all members, not of this page's: pages of one list have one scope (§ Caching).
            hints = narrowest([item.kept or self.hints for item in items] or [self.hints])
            body["ttlMs"] = hints.ttl_ms
            body["cacheScope"] = "private" if self._scopes else hints.scope
        return RawResult(body=encode(body))

    def _cursor(self, key: str) -> str:
        # The key of the last entry seen, so that a page survives changes before it; and a mark of
        # the list it belongs to, so that another's cursor leads nowhere.
        data = key.encode()
        mark = binascii.crc32(self._realm + b"\0" + data).to_bytes(_MARK, "big")
        return base64.urlsafe_b64encode(mark + data).decode()

    def _after(self, cursor: str) -> int:
        try:
            if self._page_size is None:
                raise ValueError("there is one page")
            key = base64.urlsafe_b64decode(cursor.encode())[_MARK:].decode()
            if cursor != self._cursor(key):
                raise ValueError("not as it was given out")
            return list(self._items).index(key) + 1
        except (binascii.Error, UnicodeError, ValueError):
            raise RpcError(
                INVALID_PARAMS, "Invalid cursor: use the nextCursor of the page before, unchanged"
            ) from None

    def _touched(self) -> None:
        self._lists.clear()
        self._scopes = None
        self._changed()
