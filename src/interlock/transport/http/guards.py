"""Origin, host, size, media type: what is refused before a body is read.

A server on this machine is reachable from every web page its user opens; the Host and Origin
checks are what keeps a page from talking to it (2026-07-28 § Streamable HTTP, Security).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, final

from msgspec import Struct

from interlock.protocol.gate import RawHeaders
from interlock.protocol.ladder import Mirror
from interlock.transport.http.hardening import SAFE
from interlock.wire import headers
from interlock.wire.methods import BY_NAME as METHODS
from interlock.wire.versions import BY_NAME as REVISIONS

BODY_LIMIT: Final = 16 * 1024 * 1024
"""The most bytes a request may have, unless told otherwise."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")

_USUAL: Final = [b"application/json, text/event-stream"]
_KNOWN: Final = {name.encode(): name for name in (*REVISIONS, *METHODS)}
"""What the mirrored headers say in nearly every request, read already."""
_AUTHORITY: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:/?#@\s\[\]]+)(?::[0-9]{0,5})?")


_READ: Final = frozenset(
    (
        b"accept",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        headers.LAST_EVENT_ID,
        b"origin",
    )
)
"""The headers that are read, besides MCP's own."""


class Head(Struct):
    """What the headers of a request say, as far as MCP reads them.

    *json_body* is whether the body is JSON as it stands, *takes_json* and *takes_stream* what the
    response may be; *fixed* are headers that each response has.
    """

    mirror: Mirror
    session: str | None = None
    last_event: str | None = None
    origin: str | None = None
    takes_json: bool = True
    takes_stream: bool = True
    json_body: bool = False
    fixed: list[tuple[bytes, bytes]] = []


@final
class Rejection(Struct, frozen=True):
    """A request refused for its headers: the HTTP status, and why in one sentence."""

    status: int
    reason: str


class Guards:
    """Which hosts and origins may talk to an endpoint, and how much they may send.

    *hosts* are names without port that `Host` may have, loopback names by default; "*" allows
    any, which is safe only behind a proxy that checks. *origins* are full origins
    ("https://app.example.com") allowed besides those on an allowed loopback host; a request
    without `Origin` comes from no browser and passes.
    """

    def __init__(
        self,
        hosts: Sequence[str] = LOOPBACK,
        origins: Sequence[str] = (),
        body_limit: int = BODY_LIMIT,
        fixed: list[tuple[bytes, bytes]] = SAFE,
    ) -> None:
        self.body_limit = body_limit
        self.fixed = fixed
        self._any_host = "*" in hosts
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower() for origin in origins)
        # Hosts repeat request after request; some that were found good are remembered.
        self._good_hosts: set[bytes] = set()

    def inspect(self, raw: RawHeaders) -> Head | Rejection:
        """Read the headers once, and refuse what must not go on."""
        mirror = Mirror()
        head = Head(mirror, fixed=self.fixed)
        parameters: list[tuple[bytes, bytes]] = []
        host: bytes | None = None
        accepted: list[bytes] = []
        encoded = False
        for name, value in raw:
            if name not in _READ and not name.startswith(b"mcp-"):
                continue
            if name == b"host":
                if host is not None:
                    return Rejection(400, "Two Host headers")
                host = value
            elif name == b"content-type":
                head.json_body = value == b"application/json" or _is_json(value)
            elif name == b"accept":
                accepted.append(value)
            elif name == b"content-length":
                if not value.isdigit() or len(value) > 18:
                    return Rejection(400, "Content-Length is not a number")
                if int(value) > self.body_limit:
                    why = f"The body has {int(value)} bytes; at most {self.body_limit} are taken"
                    return Rejection(413, why)
            elif name == b"content-encoding":
                encoded = value.strip().lower() != b"identity"
            elif name == b"origin":
                head.origin = value.decode("latin-1")
                if not self._allows_origin(head.origin):
                    return Rejection(403, f"Origin {head.origin!r} is not allowed here")
            elif name == headers.LAST_EVENT_ID:
                if head.last_event is not None:
                    return Rejection(400, "Two Last-Event-ID headers")
                head.last_event = value.decode("latin-1")
            elif name.startswith(b"mcp-"):
                if name == headers.PROTOCOL_VERSION:
                    repeated = mirror.version is not None
                    mirror.version = _KNOWN.get(value) or headers.text(value)
                elif name == headers.METHOD:
                    repeated = mirror.method is not None
                    mirror.method = _KNOWN.get(value) or headers.text(value)
                elif name == headers.NAME:
                    repeated = mirror.name is not None
                    _take_name(mirror, value)
                elif name == headers.SESSION_ID:
                    repeated = head.session is not None
                    head.session = value.decode("latin-1")
                else:
                    # Of all headers these alone go on to handlers: a token must not.
                    parameters.append((name, value))
                    mirror.headers = parameters
                    continue
                if repeated:
                    return Rejection(400, f"Two {name.decode('latin-1')} headers")
        if not self._any_host and host not in self._good_hosts:
            if host is None or not self._allows_host(host):
                said = "no Host" if host is None else f"Host {host.decode('latin-1')!r}"
                return Rejection(
                    403, f"{said} is not one of the hosts allowed here; name it with hosts="
                )
            if len(self._good_hosts) < 64:
                self._good_hosts.add(host)
        if accepted and accepted != _USUAL:
            head.takes_json, head.takes_stream = _accepted(b",".join(accepted))
        if encoded:
            head.json_body = False
        return head

    def _allows_host(self, host: bytes) -> bool:
        match = _AUTHORITY.fullmatch(host.decode("latin-1"))
        return match is not None and match[1].lower() in self._hosts

    def _allows_origin(self, origin: str) -> bool:
        origin = origin.lower()
        if origin in self._origins or "*" in self._origins:
            return True
        scheme, separator, authority = origin.partition("://")
        match = _AUTHORITY.fullmatch(authority)
        return (
            separator != ""
            and scheme in ("http", "https")
            and match is not None
            and match[1] in LOOPBACK
            and (self._any_host or match[1] in self._hosts)
        )


def _take_name(mirror: Mirror, value: bytes) -> None:
    try:
        mirror.name = headers.decode_value(value.decode("latin-1"))
    except headers.BadHeader as error:
        # What it should have said is known only once the body is read; the ladder answers.
        mirror.name = ""
        mirror.fault = f"Mcp-Name: {error}"


def _is_json(value: bytes) -> bool:
    return value.split(b";", 1)[0].strip().lower() == b"application/json"


def _accepted(value: bytes) -> tuple[bool, bool]:
    kinds = {part.split(b";", 1)[0].strip() for part in value.lower().split(b",")}
    everything = b"*/*" in kinds
    json = everything or b"application/json" in kinds or b"application/*" in kinds
    stream = everything or b"text/event-stream" in kinds or b"text/*" in kinds
    return json, stream
