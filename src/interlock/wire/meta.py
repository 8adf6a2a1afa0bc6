"""What any message may carry: `_meta`, identity, icons, annotations, cursors, cache hints."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, dataclass_transform

import msgspec
from msgspec import UNSET, Raw, Struct, StructMeta, UnsetType, field

PREFIX: Final = "io.modelcontextprotocol/"
PROTOCOL_VERSION: Final = PREFIX + "protocolVersion"
CLIENT_INFO: Final = PREFIX + "clientInfo"
CLIENT_CAPABILITIES: Final = PREFIX + "clientCapabilities"
LOG_LEVEL: Final = PREFIX + "logLevel"
SERVER_INFO: Final = PREFIX + "serverInfo"
SUBSCRIPTION_ID: Final = PREFIX + "subscriptionId"
PROGRESS_TOKEN: Final = "progressToken"

PER_HOP: Final = frozenset(
    {
        PROTOCOL_VERSION,
        CLIENT_INFO,
        CLIENT_CAPABILITIES,
        LOG_LEVEL,
        SERVER_INFO,
        SUBSCRIPTION_ID,
        PROGRESS_TOKEN,
    }
)
"""Keys of `_meta` that belong to one hop: whoever relays a message writes them anew."""

Json: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None
Id: TypeAlias = int | str
LogLevel: TypeAlias = Literal[
    "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"
]
Role: TypeAlias = Literal["user", "assistant"]
LOG_LEVELS: Final = (
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
)


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
class _Named(StructMeta):
    """msgspec's `kw_only` ends at the class that says it; this one is inherited."""

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> _Named:
        options.setdefault("kw_only", True)
        return super().__new__(cls, name, bases, namespace, **options)


class Wire(Struct, metaclass=_Named, rename="camel", omit_defaults=True, gc=False):
    """The base of everything that crosses the wire: camel case there, absent if left at default.

    It holds what JSON can say, in which there are no circles: the garbage collector need not look.
    """


class Icon(Wire, frozen=True):
    """A picture for a person to recognise a thing by. *src* is an https or data URI."""

    src: str
    mime_type: str | None = None
    sizes: list[str] | None = None
    theme: Literal["light", "dark"] | None = None


class Implementation(Wire, frozen=True):
    """Who a program says it is. For display and logs; never a basis for a decision."""

    name: str
    version: str
    title: str | None = None
    description: str | None = None
    website_url: str | None = None
    icons: list[Icon] | None = None


class Annotations(Wire, frozen=True):
    """Hints about content or a resource: whom it is for, how important, when it last changed."""

    audience: list[Role] | None = None
    priority: float | None = None
    last_modified: str | None = None


class ClientCapabilities(Wire, frozen=True):
    """What a client can do for a server. A key that is present, even as `{}`, is a yes."""

    elicitation: dict[str, Any] | None = None
    sampling: dict[str, Any] | None = None
    roots: dict[str, Any] | None = None
    tasks: dict[str, Any] | None = None
    extensions: dict[str, dict[str, Any]] | None = None
    experimental: dict[str, Any] | None = None


class RequestMeta(Wire, frozen=True):
    """The keys of a request's `_meta` that the protocol itself reads; others pass through unread."""

    protocol_version: str | UnsetType = field(default=UNSET, name=PROTOCOL_VERSION)
    client_info: Implementation | None = field(default=None, name=CLIENT_INFO)
    client_capabilities: ClientCapabilities | UnsetType = field(
        default=UNSET, name=CLIENT_CAPABILITIES
    )
    log_level: LogLevel | None = field(default=None, name=LOG_LEVEL)
    progress_token: int | str | None = field(default=None, name=PROGRESS_TOKEN)


class Params(Wire):
    """The base of every request's and notification's params."""

    meta: RequestMeta | None = field(default=None, name="_meta")


class PagedParams(Params):
    """Params of a list request. An empty cursor is a cursor; only absence asks for page one."""

    cursor: str | None = None


class Result(Wire):
    """The base of every result. What an era adds to it (`resultType`) is stamped by dispatch."""

    meta: dict[str, Any] | None = field(default=None, name="_meta")


class EmptyResult(Result):
    """A result that says only: done."""


class RawResult(Result):
    """A result that is JSON already: encoded once and kept, or *relayed* from elsewhere.

    A relayed one carries stamps of its sender, perhaps of another era; one of our own has none.
    *kind* is the `resultType` of a relayed one, *fields* are the members of its body where they are
    known: whoever sends it on need not look for them again.
    """

    body: Raw | bytes
    relayed: bool = False
    kind: str = "complete"
    fields: dict[str, Raw] | None = None


class CacheHints(Struct, frozen=True):
    """How long a list or a read may be kept, in milliseconds, and whether users may share it.

    Sharing is about caches on the way, never about who may ask: whatever differs between users is
    "private".
    """

    ttl_ms: int = 0
    scope: Literal["public", "private"] = "private"

    def __post_init__(self) -> None:
        if self.ttl_ms < 0 or self.scope not in ("public", "private"):
            raise ValueError(f"A ttl_ms of 0 or more, public or private, is expected; got {self}")


class CacheableResult(Result):
    """The base of results that modern clients may keep."""

    ttl_ms: int | None = None
    cache_scope: Literal["public", "private"] | None = None


class PagedResult(CacheableResult):
    """One page of a list; no `nextCursor` means the last."""

    next_cursor: str | None = None


_fields = msgspec.json.Decoder(dict[str, Raw])


def members(raw: Raw | bytes) -> dict[str, Raw]:
    """The members of a JSON object, each still unread. Raises `msgspec.DecodeError`."""
    return _fields.decode(raw) if raw else {}


def carried(meta: Raw | bytes | None) -> dict[str, Raw]:
    """What of a message's `_meta` a relay passes on: everything that is not of one hop."""
    if not meta:
        return {}
    given = _fields.decode(meta)
    return {key: given[key] for key in given if key not in PER_HOP}
