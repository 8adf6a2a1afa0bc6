"""Apps: HTML that a host shows beside a tool's result, and what it may do there.

The extension `io.modelcontextprotocol/ui` (MCP Apps, 2026-01-26): what tools and resources say of
it in `_meta`, as a server writes it and a host reads it. How a host frames such a page is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from interlock.wire.decoding import pattern
from interlock.wire.meta import ClientCapabilities, Wire

EXTENSION: Final = "io.modelcontextprotocol/ui"
MIME_TYPE: Final = "text/html;profile=mcp-app"
SCHEME: Final = "ui://"
SETTINGS: Final[dict[str, Any]] = {"mimeTypes": [MIME_TYPE]}
META: Final = "ui"
FLAT_META: Final = "ui/resourceUri"
"""How tools named their page before there was `ui.resourceUri`; deprecated, and read all the same."""

Audience: TypeAlias = Literal["model", "app"]
Permission: TypeAlias = Literal["camera", "microphone", "geolocation", "clipboardWrite"]

_POLICY_NAMES: Final[dict[str, str]] = {
    "camera": "camera",
    "microphone": "microphone",
    "geolocation": "geolocation",
    "clipboardWrite": "clipboard-write",
}
_ORIGIN: Final = pattern(
    r"(?:https?|wss?)://(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
)


class Csp(Wire, frozen=True):
    """The origins a page needs beyond its own; what is not named is not allowed.

    *connect_domains* for requests, *resource_domains* for scripts, styles, images, fonts and media,
    *frame_domains* for frames inside it, *base_uri_domains* for its `<base>`.
    """

    connect_domains: list[str] | None = None
    resource_domains: list[str] | None = None
    frame_domains: list[str] | None = None
    base_uri_domains: list[str] | None = None


class Page(Wire, frozen=True):
    """`_meta.ui` of a resource: what its page needs of the host."""

    csp: Csp | None = None
    permissions: dict[str, dict[str, Any]] | None = None
    domain: str | None = None
    prefers_border: bool | None = None


class ToolPage(Wire, frozen=True):
    """`_meta.ui` of a tool: the page that shows its results, and who may call it."""

    resource_uri: str | None = None
    visibility: list[str] | None = None


def takes_apps(capabilities: ClientCapabilities) -> bool:
    """Whether a client shows pages; one that does not gets along with a tool's text."""
    settings: Any = (capabilities.extensions or {}).get(EXTENSION) or {}
    kinds = settings.get("mimeTypes")
    return isinstance(kinds, list) and MIME_TYPE in kinds


def page_of_tool(meta: Mapping[str, Any] | None) -> ToolPage:
    """What a tool's `_meta` says, as far as it can be read; the deprecated flat key counts too."""
    said: Any = (meta or {}).get(META)
    uri: Any = (meta or {}).get(FLAT_META)
    who: Any = None
    if isinstance(said, dict):
        fields = cast("dict[str, Any]", said)
        uri, who = fields.get("resourceUri", uri), fields.get("visibility")
    return ToolPage(
        resource_uri=uri if isinstance(uri, str) and uri.startswith(SCHEME) else None,
        visibility=[str(each) for each in cast("list[Any]", who)]
        if isinstance(who, list)
        else None,
    )


def may_call(meta: Mapping[str, Any] | None, who: Audience) -> bool:
    """Whether a tool is for a model, or for the page of an app of its own server; both, unless said.

    A host must not show a model tools that are not for it, nor let a page call those that are not.
    """
    visibility = page_of_tool(meta).visibility
    return visibility is None or who in visibility


def page_of(meta: Mapping[str, Any] | None) -> Page:
    """What a resource's `_meta` says of its page; what cannot be read was not asked for."""
    try:
        return msgspec.convert((meta or {}).get(META) or {}, Page)
    except msgspec.ValidationError:
        return Page()


def is_origin(text: str) -> bool:
    """Whether a policy can name this: a scheme and a host, `*.` before it at most, and a port."""
    return _ORIGIN.fullmatch(text) is not None


def content_security_policy(page: Page) -> str:
    """The policy a host frames a page with: as strict as can be, but for what the page declared.

    What is no origin is left out, so that nothing declared can end one directive and begin another.
    """
    csp = page.csp or Csp()
    resources = _origins(csp.resource_domains)
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' 'unsafe-inline'{resources}",
            f"style-src 'self' 'unsafe-inline'{resources}",
            f"img-src 'self' data:{resources}",
            f"font-src 'self'{resources}",
            f"media-src 'self' data:{resources}",
            f"connect-src{_origins(csp.connect_domains) or _NONE}",
            f"frame-src{_origins(csp.frame_domains) or _NONE}",
            "object-src 'none'",
            f"base-uri{_origins(csp.base_uri_domains) or _SELF}",
        ]
    )


def allowed(page: Page) -> str:
    """The `allow` attribute of the frame: the permissions that a page asks for, of those there are."""
    asked = page.permissions or {}
    return "; ".join(policy for name, policy in _POLICY_NAMES.items() if name in asked)


_NONE: Final = " 'none'"
_SELF: Final = " 'self'"


def _origins(domains: Iterable[str] | None) -> str:
    return "".join(f" {each}" for each in domains or () if is_origin(each))
