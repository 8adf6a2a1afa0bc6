"""What all upstreams offer, as one list of names.

Definitions are relayed verbatim but for their names. The list is joined from bytes that each
upstream's share was encoded to when it last changed; a call is two dictionary lookups. A change of
one upstream costs what that upstream lists, however many others there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from interlock.errors import ConfigError
from interlock.gateway.names import public_name, public_uri, scheme, split_uri
from interlock.wire import apps
from interlock.wire.apps import page_of_tool
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import RawResult
from interlock.wire.notices import Kind
from interlock.wire.parameters import ANNOTATION, BadAnnotation, Mirrored, mirrored

BYTES_PER_TOKEN: Final = 4
"""How many bytes of a definition make a token, roughly; what tokenisers of today come to."""

_OPTIONAL: Final = Raw(b'{"taskSupport":"optional"}')
_WORD: Final = ANNOTATION.encode()
_text: Final = msgspec.json.Decoder(str)


class Definitions(Struct):
    """What one upstream lists: each entry's members, unread."""

    tools: list[dict[str, Raw]] = []
    resources: list[dict[str, Raw]] = []
    templates: list[dict[str, Raw]] = []
    prompts: list[dict[str, Raw]] = []
    tasks: bool = False
    """Any of the tools may become a task, by the extension."""


class Found(Struct, frozen=True):
    """Where a public name leads; of a tool also what matters to a call of it."""

    server: str
    name: str
    mirrored: tuple[Mirrored, ...] = ()
    support: Literal["never", "optional", "required"] = "never"
    """Whether a tool runs as a task, as a 2025-11-25 server says of it."""


class _Share:
    """One upstream's part of one list: its entries as they are listed, joined by commas, and where
    their public keys lead.
    """

    __slots__ = ("body", "names", "older")

    def __init__(
        self,
        server: str,
        entries: Iterable[dict[str, Raw]],
        key: str,
        public: Callable[[str, str], str],
        *,
        tasks: bool = False,
    ) -> None:
        bodies: list[bytes] = []
        older: list[bytes] = []
        self.names: dict[str, Found] = {}
        for entry in entries:
            try:
                original = _text.decode(entry[key])
            except (KeyError, msgspec.DecodeError):
                continue  # Without a name nobody can use it.
            name = public(server, original)
            if name in self.names:
                continue  # A server that lists a name twice has one tool of it.
            self.names[name] = Found(
                server,
                original,
                _mirrored(entry.get("inputSchema")),
                _support(entry.get("execution")),
            )
            paged = _with_public_page(server, entry) if key == "name" else entry
            listed = {**paged, key: Raw(encode(name))}
            if tasks:
                # To a 2025-11-25 client a server of the extension says nothing; the gateway can
                # make a task of any of its tools.
                older.append(encode({**listed, "execution": _OPTIONAL}))
            bodies.append(encode(listed))
        self.body = b",".join(bodies)
        self.older = b",".join(older) if tasks else self.body
        """The same for legacy callers."""


def _with_public_page(server: str, entry: dict[str, Raw]) -> dict[str, Raw]:
    """A tool that is shown by a page, with the page's URI as the gateway calls it (MCP Apps)."""
    if "_meta" not in entry:
        return entry
    try:
        meta = msgspec.json.decode(entry["_meta"], type=dict[str, Any])
    except UNREADABLE:
        return entry
    page = page_of_tool(meta).resource_uri
    if page is None:
        return entry
    uri = public_uri(server, page)
    if isinstance(meta.get(apps.META), dict):
        meta[apps.META]["resourceUri"] = uri
    if apps.FLAT_META in meta:
        meta[apps.FLAT_META] = uri
    return {**entry, "_meta": Raw(encode(meta))}


def _support(execution: Raw | None) -> Literal["never", "optional", "required"]:
    """What `execution.taskSupport` says; nothing, and what cannot be read, is a no."""
    if execution is None:
        return "never"
    try:
        said = msgspec.json.decode(execution, type=dict[str, Any]).get("taskSupport")
    except UNREADABLE:
        return "never"
    return said if said in ("optional", "required") else "never"


def _mirrored(schema: Raw | None) -> tuple[Mirrored, ...]:
    """What a listed tool wants mirrored; of a malformed one nothing, as nobody could call it so."""
    # Few tools want any, and their schemas are the bulk of a list. A backslash may hide the word.
    if schema is None or (_WORD not in (text := bytes(schema)) and b"\\" not in text):
        return ()
    try:
        return mirrored(msgspec.json.decode(schema, type=dict[str, Any]))
    except (BadAnnotation, *UNREADABLE):
        return ()


_KINDS: Final[dict[str, tuple[Kind, str, Callable[[str, str], str]]]] = {
    "tools": ("tools", "name", public_name),
    "resources": ("resources", "uri", public_uri),
    "templates": ("resources", "uriTemplate", public_uri),
    "prompts": ("prompts", "name", public_name),
}
"""The lists: which change notice they belong to, which member names an entry, how it is renamed."""

_MEMBERS: Final = {
    "tools": "tools",
    "resources": "resources",
    "templates": "resourceTemplates",
    "prompts": "prompts",
}


class Catalog:
    """The union of what the upstreams offer, in the order in which they are configured.

    Raises `ConfigError` if two of *servers* cannot be told apart in public names.
    """

    def __init__(self, servers: Iterable[str]) -> None:
        self._servers = list(servers)
        self._schemes: dict[str, str] = {}
        for server in self._servers:
            other = self._schemes.setdefault(scheme(server), server)
            if other != server:
                raise ConfigError(
                    f"The servers {other!r} and {server!r} cannot be told apart in the names of "
                    "their tools; rename one of them"
                )
        self._shares: dict[str, dict[str, _Share]] = {kind: {} for kind in _KINDS}
        self._found: dict[str, dict[str, Found]] = {kind: {} for kind in _KINDS}
        self._originals: dict[str, list[Found]] = {}
        self._pages: dict[tuple[str, bool], RawResult] = {}
        self._given: dict[str, Definitions] = {}

    def update(self, server: str, definitions: Definitions) -> set[Kind]:
        """Replace what *server* offers; which lists are not what they were.

        A list that is the same object as the last time is not looked at again.
        """
        given = self._given.get(server)
        same_tasks = given is not None and given.tasks == definitions.tasks
        self._given[server] = definitions
        shares: dict[str, _Share] = {}
        for kind, (_, key, public) in _KINDS.items():
            entries: list[dict[str, Raw]] = getattr(definitions, kind)
            tools = kind == "tools"
            if (same_tasks or not tools) and entries is getattr(given, kind, None):
                continue
            tasks = definitions.tasks and tools
            shares[kind] = _Share(server, entries, key, public, tasks=tasks)
        return self._put(server, shares)

    def follow(self, server: str, other: Catalog) -> set[Kind]:
        """Have of *server* what *other* has: the same bytes, encoded once for all who share it."""
        shares = {
            kind: shares[server] for kind, shares in other._shares.items() if server in shares
        }
        return self._put(server, shares)

    def _put(self, server: str, shares: dict[str, _Share]) -> set[Kind]:
        changed: set[Kind] = set()
        for kind, share in shares.items():
            old = self._shares[kind].get(server)
            if old is share or (old is None and not share.names):
                continue
            if old is not None and old.body == share.body and old.older == share.older:
                continue
            self._shares[kind][server] = share
            self._index(kind, old.names if old is not None else {}, share.names)
            changed.add(_KINDS[kind][0])
        return changed

    def tool(self, name: str) -> Found | None:
        return self._found["tools"].get(name)

    def prompt(self, name: str) -> Found | None:
        return self._found["prompts"].get(name)

    def uri(self, uri: str) -> Found | None:
        """Where a resource's public URI leads; an original one too if a single server lists it.

        Results hold links in their servers' own terms, which a model will try to read.
        """
        parts = split_uri(uri)
        if parts is not None:
            server = self._schemes.get(parts[0])
            if server is not None:
                return Found(server, parts[1])
        found = self._originals.get(uri, ())
        return found[0] if len(found) == 1 else None

    def page(self, kind: str, *, modern: bool) -> RawResult:
        """The whole list of *kind* as a result."""
        page = self._pages.get((kind, modern))
        if page is None:
            shares = self._shares[kind]
            listed = [shares[server] for server in self._servers if server in shares]
            bodies = [share.body if modern else share.older for share in listed]
            body = b",".join(filter(None, bodies))
            hints = b',"ttlMs":0,"cacheScope":"private"' if modern else b""
            page = RawResult(body=b'{"%b":[%b]%b}' % (_MEMBERS[kind].encode(), body, hints))
            self._pages[kind, modern] = page
        return page

    def counts(self, server: str) -> dict[str, int]:
        """How many entries of each kind *server* has at the door."""
        return {
            kind: len(share.names) if (share := self._shares[kind].get(server)) else 0
            for kind in _KINDS
        }

    def tokens(self, server: str) -> int:
        """About how many tokens the definitions of *server*'s tools cost a model's context."""
        share = self._shares["tools"].get(server)
        return len(share.body) // BYTES_PER_TOKEN if share else 0

    def _index(self, kind: str, old: dict[str, Found], new: dict[str, Found]) -> None:
        """Find what one server has *new*, and no more what it had: no two make the same name."""
        found = self._found[kind]
        for name in old:
            del found[name]
        found |= new
        self._pages.pop((kind, True), None)
        self._pages.pop((kind, False), None)
        if kind == "resources":
            for entry in old.values():
                self._originals[entry.name].remove(entry)
                if not self._originals[entry.name]:
                    del self._originals[entry.name]
            for entry in new.values():
                self._originals.setdefault(entry.name, []).append(entry)
