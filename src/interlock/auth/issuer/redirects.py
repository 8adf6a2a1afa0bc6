"""Where browsers may be sent back to: which URIs a client may name, and when one is the one named."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import urlsplit

LIMIT: Final = 2048
"""Characters that a redirect URI may have."""

_LOOPBACK: Final = re.compile(r"(http://(?:localhost|127\.0\.0\.1|\[::1\]))(?::[0-9]{1,5})?(/.*|)")
_PLAIN: Final = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9.\-_~%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""Without what RFC 3986 lets a name have as well and none has: in a policy for browsers, and to a
person's eyes, it would end the name."""
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+\-]*(?:\.[a-z0-9+\-]+)+")


def is_loopback(uri: str) -> bool:
    return _LOOPBACK.fullmatch(uri) is not None


def fault(uri: str, *, native: bool, schemes: Collection[str] = ()) -> str | None:
    """Why a client may not have *uri* as a redirect URI; None if it may.

    A *native* client may have one on the loopback, or of a scheme of its own: one with a dot in it
    (RFC 8252 § 7.1), or one of *schemes*.
    """
    if not uri or len(uri) > LIMIT or _PLAIN.fullmatch(uri) is None:
        return f"A redirect URI is a URI of at most {LIMIT} ASCII characters"
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return "A redirect URI cannot be read"
    if "#" in uri or parts.username is not None or parts.password is not None:
        return "A redirect URI has neither fragment nor user"
    if "*" in parts.netloc:
        return "A redirect URI has no wildcard in its host"
    if uri.startswith("https://"):
        return None if _HOST.fullmatch(parts.netloc) else "A redirect URI needs a host"
    if not native:
        return "A web client's redirect URIs are https; application_type native may have others"
    if uri.startswith("http:"):
        return None if is_loopback(uri) else "Only a redirect URI on the loopback may be http"
    scheme = uri.partition(":")[0]
    if scheme in schemes or _SCHEME.fullmatch(scheme):
        return None
    return "A redirect URI is https, or http on the loopback"


def fits(uri: str, registered: Iterable[str], *, native: bool) -> bool:
    """Whether *uri* is one of *registered*: the same text, except that a native client's port on
    the loopback is whichever was free (RFC 8252 § 7.3). Never parsed, so there is nothing that two
    parsers could read in two ways.
    """
    known = list(registered)
    if uri in known:
        return True
    if not native or (given := _LOOPBACK.fullmatch(uri)) is None or "#" in uri:
        return False
    if _PLAIN.fullmatch(uri) is None or len(uri) > LIMIT:
        return False
    return any(own.groups() == given.groups() for one in known if (own := _LOOPBACK.fullmatch(one)))


def source(uri: str) -> str:
    """*uri*'s origin, as a source expression of a Content-Security-Policy."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or ":" in (parts.hostname or ""):
        return f"{parts.scheme}:"  # Sources cannot name an address of IPv6.
    return f"{parts.scheme}://{parts.netloc}"


def host(uri: str) -> str:
    """Where a person would say that *uri* leads."""
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        return parts.netloc
    return f"the app that opens {parts.scheme}: links"
