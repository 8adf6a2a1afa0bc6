"""What a modern server says may be kept, kept for as long as it says (2026-07-28 § Caching).

Lists, reads and discovery. What a server calls private belongs to one client; what it calls public
may be had by every client of that server to which the same `Cache` was given.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from types import CoroutineType
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from interlock.errors import INVALID_PARAMS, RpcError
from interlock.protocol.call import Call
from interlock.transport.link import Link
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import PagedParams, RawResult
from interlock.wire.notices import (
    PROMPTS_CHANGED,
    RESOURCE_UPDATED,
    RESOURCES_CHANGED,
    TOOLS_CHANGED,
    UpdatedNotice,
)
from interlock.wire.resources import ReadResourceParams

ENTRIES: Final = 1000
BYTES: Final = 64 * 1024 * 1024
LONGEST: Final = 86_400.0
"""Seconds that anything is kept at most, whatever its server says."""

_STALE: Final = {
    TOOLS_CHANGED: ("tools/list",),
    PROMPTS_CHANGED: ("prompts/list",),
    RESOURCES_CHANGED: ("resources/list", "resources/templates/list"),
}
"""What is no longer so once a notification came."""
_READ: Final = "resources/read"


class _Key(Struct, frozen=True):
    """What makes two questions the same one.

    *owner* is nobody (0) for what is public; *server* is a URL, or else a client's own.
    """

    owner: int
    server: str
    revision: str
    capabilities: bytes
    method: str
    params: bytes


class _Entry(Struct):
    body: Raw
    until: float
    size: int
    uri: str | None = None


class _Hints(Struct):
    ttl: Any = msgspec.field(default=0, name="ttlMs")
    scope: Any = msgspec.field(default="private", name="cacheScope")


_hints: Final = msgspec.json.Decoder(_Hints)
_updated: Final = msgspec.json.Decoder(UpdatedNotice)


class Cache:
    """A bounded store of answers; those that were not asked for the longest make room.

    Give one to several clients of this process, and they share what their servers call public. Not
    for several event loops at once. *clock* counts seconds and never goes back.
    """

    def __init__(
        self,
        *,
        entries: int = ENTRIES,
        bytes: int = BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._most = entries
        self._room = bytes
        self._used = 0
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._owners = 0
        self._changes: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def view(self, server: str | None) -> View:
        """What one client sees of it. *server* is its URL; None for one that nobody else reaches."""
        self._owners += 1
        return View(self, self._owners, server if server is not None else _own(self._owners))

    def changes(self, server: str, method: str) -> int:
        """How often answers to *method* were dropped: what is asked before may come too late."""
        return self._changes.get((server, method), 0)

    def get(self, key: _Key) -> Raw | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until <= self.clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.body

    def put(self, key: _Key, body: Raw, seconds: float, uri: str | None) -> None:
        size = len(bytes(body)) + len(key.params)
        if size > self._room // 4:
            return  # One answer must not push out all others.
        self._drop(key)
        # A raw member keeps the whole message alive that it came in.
        kept = body.copy()
        self._entries[key] = _Entry(kept, self.clock() + min(seconds, LONGEST), size, uri)
        self._used += size
        while self._used > self._room or len(self._entries) > self._most:
            self._drop(next(iter(self._entries)))

    def forget(self, server: str, method: str, uri: str | None = None) -> None:
        """Drop what is known of *server* by *method*, for everyone; of one resource with *uri*."""
        self._changes[server, method] = self.changes(server, method) + 1
        for key, entry in list(self._entries.items()):
            same = key.server == server and key.method == method
            if same and (uri is None or entry.uri == uri):
                self._drop(key)

    def forget_owner(self, owner: int) -> None:
        for key in [key for key in self._entries if key.owner == owner]:
            self._drop(key)
        for change in [change for change in self._changes if change[0] == _own(owner)]:
            del self._changes[change]

    def _drop(self, key: _Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._used -= entry.size


def _own(owner: int) -> str:
    """What the server of a client is called that nobody else can reach."""
    return f"#{owner}"


class View:
    """One client's part of a cache: its server, and who it is there."""

    def __init__(self, cache: Cache, owner: int, server: str) -> None:
        self._cache = cache
        self._owner = owner
        self._server = server

    def over(self, link: Link) -> Link:
        """*link*, asked only for what is not kept; a legacy one as it is."""
        return CachingLink(link, self) if link.envelope.revision.modern else link

    def hear(self, method: str, params: Raw) -> None:
        """Drop what a notification says has changed."""
        for stale in _STALE.get(method, ()):
            self._cache.forget(self._server, stale)
        if method == RESOURCE_UPDATED:
            try:
                uri = _updated.decode(params).uri
            except UNREADABLE:
                return  # A notification that nobody can read changes nothing.
            self._cache.forget(self._server, _READ, uri)

    def clear(self) -> None:
        """Drop what is this client's alone: it disconnects, or becomes somebody else."""
        self._cache.forget_owner(self._owner)

    def keys(self, call: Call) -> tuple[_Key, _Key]:
        """Under what the answer to *call* is kept: as private, and as public."""
        private = _Key(
            self._owner,
            self._server,
            call.envelope.revision.name,
            encode(call.envelope.capabilities),
            call.method,
            encode(call.params),
        )
        return private, msgspec.structs.replace(private, owner=0)

    def find(self, keys: tuple[_Key, _Key]) -> RawResult | None:
        for key in keys:
            body = self._cache.get(key)
            if body is not None:
                return RawResult(body=body, relayed=True)
        return None

    def changes(self, call: Call) -> int:
        return self._cache.changes(self._server, call.method)

    def keep(self, keys: tuple[_Key, _Key], call: Call, result: RawResult) -> None:
        """Keep an answer, if its server allows it."""
        try:
            hints = _hints.decode(result.body)
        except UNREADABLE:
            return
        ttl = hints.ttl
        if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not ttl > 0:
            return  # Absent or negative is none (§ Caching).
        private, public = keys
        uri = call.params.uri if isinstance(call.params, ReadResourceParams) else None
        key = public if hints.scope == "public" else private
        self._cache.put(key, Raw(result.body), ttl / 1000, uri)

    def drop_pages(self, method: str) -> None:
        """Drop all of a list: its pages no longer fit together."""
        self._cache.forget(self._server, method)


class CachingLink:
    """A link of the modern era that answers from a `View` what it can."""

    def __init__(self, link: Link, view: View) -> None:
        self.envelope = link.envelope  # Such a link is settled once.
        self.greeting = link.greeting
        self._link = link
        self._view = view
        self.notify = link.notify
        self.wait_lost = link.wait_lost
        self.close = link.close

    # Not async: calls that are never kept should not cost a step more than they have to.
    def handle(self, call: Call) -> CoroutineType[Any, Any, RawResult]:
        # What is asked with `_meta` of its own, or again with answers, is nobody else's question.
        if not call.row.cacheable or call.raw or call.fields is not None:
            return self._link.handle(call)
        return self._handle(call)

    async def _handle(self, call: Call) -> RawResult:
        view = self._view
        keys = view.keys(call)
        found = view.find(keys)
        if found is not None:
            return found
        changes = view.changes(call)
        try:
            result = await self._link.handle(call)
        except RpcError as error:
            if error.code == INVALID_PARAMS and _has_cursor(call):
                view.drop_pages(call.method)
            raise
        if result.kind == "complete" and view.changes(call) == changes:
            view.keep(keys, call, result)
        return result


def _has_cursor(call: Call) -> bool:
    return isinstance(call.params, PagedParams) and call.params.cursor is not None
