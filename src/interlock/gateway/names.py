"""What a server's things are called at the door: stable, collision-free, taken by every host.

A name depends on its own server and itself alone, so that adding a server renames nothing. Tools
and prompts are `server__tool`; where that would be too long, or hold a character that some host
refuses, a short hash stands for what was cut. Resources are `server+scheme://…`, pages of apps `ui://server+…`.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from interlock.wire.apps import SCHEME as PAGES

LIMIT: Final = 64
SEPARATOR: Final = "__"
_PREFIX_LIMIT: Final = 24

# No run of underscores and none at an end: the first "__" of a public name is the separator, and
# no two servers can make the same name out of different parts.
_PLAIN_SERVER: Final = re.compile(r"[A-Za-z0-9-]+(?:_[A-Za-z0-9-]+)*")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_ODD: Final = re.compile(r"[^A-Za-z0-9-]+")


def prefix(server: str) -> str:
    """What stands for *server* in public names: its name, or a tidy form of it with a hash."""
    if _PLAIN_SERVER.fullmatch(server) and len(server) <= _PREFIX_LIMIT:
        return server
    tidy = _ODD.sub("_", server).strip("_")[: _PREFIX_LIMIT - 5].strip("_") or "server"
    return f"{tidy}-{_hash(server, 4)}"


def public_name(server: str, name: str) -> str:
    """What a tool or prompt *name* of *server* is called at the door."""
    head = prefix(server) + SEPARATOR
    if _PLAIN_NAME.fullmatch(name) and len(head) + len(name) <= LIMIT:
        return head + name
    tidy = _ODD.sub("_", name)[: LIMIT - len(head) - 7]
    return f"{head}{tidy}_{_hash(name, 6)}"


def scheme(server: str) -> str:
    """What stands before the `+` in URIs of *server*; a scheme has no underscore (RFC 3986)."""
    token = prefix(server).replace("_", ".").lower()
    return token if token[0].isalpha() else f"s..{token}"


def public_uri(server: str, uri: str) -> str:
    """What a resource or template of *server* is called at the door."""
    head = scheme(server)
    # Hosts know the page of an app by its scheme, so the server is named behind it.
    if uri.startswith(PAGES):
        return f"{PAGES}{head}+{uri[len(PAGES) :]}"
    return f"{head}+{uri}"


def split_uri(uri: str) -> tuple[str, str] | None:
    """The way back: what stands for the server, and the URI there; None for no public one."""
    page = uri.startswith(PAGES)
    head, plus, rest = (uri[len(PAGES) :] if page else uri).partition("+")
    if not plus:
        return None
    return head.lower(), PAGES + rest if page else rest


def _hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
