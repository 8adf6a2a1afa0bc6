"""What anybody may read at an endpoint with a gate: the documents that say how to come in (RFC 9728)."""

from __future__ import annotations

from typing import Final

from interlock.protocol.gate import Gate
from interlock.transport.http.plain import JSON, Header, Scope, Send, bare, length, refuse, whole

WELL_KNOWN: Final = "/.well-known/"
_METHODS: Final = b"GET, HEAD, OPTIONS"
_OPEN: Final[list[Header]] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", _METHODS),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-max-age", b"600"),
]
"""Any page may read them: a client in a browser has to, before it knows anybody."""
_KEPT: Final = (b"cache-control", b"public, max-age=300")


def document(gate: Gate, scope: Scope) -> bytes | None:
    """The document that is asked for.

    It may stand at our own path, under the prefix that we are mounted under, or where that prefix
    comes last, as RFC 9728 § 3.1 puts it: what a host hands us depends on the host.
    """
    path: str = scope["path"]
    if WELL_KNOWN not in path:
        return None
    documents = gate.documents
    root: str = scope.get("root_path", "").rstrip("/")
    within = path.removeprefix(root) if path.startswith(root + "/") else path
    start, _, rest = within.removeprefix(WELL_KNOWN).partition("/")
    among = f"{WELL_KNOWN}{start}{root}/{rest}".rstrip("/")
    for place in (path, within, among):
        found = documents.get(place.rstrip("/"))
        if found is not None:
            return found
    return None


async def publish(scope: Scope, send: Send, found: bytes, fixed: list[Header]) -> None:
    """Answer a request for a document."""
    match scope["method"]:
        case "GET" | "HEAD" as method:
            headers = [JSON, length(found), _KEPT, *_OPEN, *fixed]
            await whole(send, 200, headers, found if method == "GET" else b"")
        case "OPTIONS":
            await bare(send, 204, [*_OPEN, *fixed])
        case method:
            why = f"{method} is not served here; use GET"
            await refuse(send, 405, why, [(b"allow", _METHODS), *_OPEN, *fixed])
