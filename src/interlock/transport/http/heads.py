"""The head of a request over HTTP/1.1: what is asked, and how its body comes (RFC 9112).

A parser has split it into fields already; here is what RFC 9112 asks of these beyond its grammar.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from interlock.transport.http.guards import Guards, Head
from interlock.transport.http.plain import Header, Scope

FIELDS: Final = 100
"""The most header fields that a request may have."""
TARGET_LIMIT: Final = 8 * 1024
"""The most bytes that a request target may have."""
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-fv:.]+\]|(?:[-A-Za-z0-9._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
"""uri-host [ ":" port ] (RFC 9110 § 7.2); it may be empty."""


_FRAMING: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))


class BadRequest(Exception):
    """A head that is refused, with the status it gets. The connection is closed after it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Asked(Struct, frozen=True):
    """A head, read. The same bytes give the same: it may be kept for when they come again.

    *length* is that of the body, None if it comes in chunks. *head* is what the guards made of it
    where it is a POST to the endpoint that they let through; *expects* is whether the client waits
    to be told to go on before it sends the body.
    """

    method: str
    target: bytes
    path: str
    query: bytes
    headers: list[Header]
    http11: bool
    length: int | None
    expects: bool
    head: Head | None

    def scope(self, secure: bool, client: object, server: object) -> Scope:
        """The same as ASGI says it."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1" if self.http11 else "1.0",
            "method": self.method,
            "scheme": "https" if secure else "http",
            "path": self.path,
            "raw_path": self.target.partition(b"?")[0],
            "query_string": self.query,
            "root_path": "",
            "headers": self.headers,
            "client": client[:2] if isinstance(client, tuple) else None,
            "server": server[:2] if isinstance(server, tuple) else None,
        }


def judge(
    method: str,
    target: bytes,
    headers: list[Header],
    *,
    http11: bool,
    secure: bool,
    ours: str,
    guards: Guards | None,
) -> Asked:
    """What a head asks for. Raises `BadRequest` where RFC 9112 has it refused.

    *secure* is whether it came over TLS. *ours* is the path of the endpoint, *guards* those that stand before it; the names in *headers*
    are in lower case.
    """
    host: bytes | None = None
    length: int | None = 0
    expects = False
    codings = b""
    for name, value in headers:
        if name not in _FRAMING:
            continue
        if name == b"host":
            if host is not None:
                raise BadRequest(400, "Two Host headers")
            host = value
        elif name == b"content-length":
            # The parser has seen to it that it is a number, and alone.
            length = int(value)
        elif name == b"transfer-encoding":
            if not http11:
                raise BadRequest(400, "HTTP/1.0 has no Transfer-Encoding")
            codings += b"," + value.lower()
            length = None
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise BadRequest(417, "No expectation but 100-continue can be met")
            expects = http11
    if codings and codings != b",chunked":
        if codings.rpartition(b",")[2].strip(b" \t") != b"chunked":
            raise BadRequest(400, "Where the body ends is not told (RFC 9112 § 6.3)")
        raise BadRequest(501, "No Transfer-Encoding but chunked is understood")
    if host is None and http11:
        raise BadRequest(400, "HTTP/1.1 needs a Host header (RFC 9112 § 3.2)")
    if host and not _HOST.fullmatch(host):
        raise BadRequest(400, "Host is no host with a port (RFC 9112 § 3.2)")
    if method == "CONNECT":
        raise BadRequest(501, "CONNECT is for proxies; this is none")
    if not target.startswith(b"/"):
        target, authority = _absolute(target, method, secure)
        if authority:
            # What the target says counts, and Host is not looked at (RFC 9112 § 3.2.2).
            headers = [each for each in headers if each[0] != b"host"]
            headers.insert(0, (b"host", authority))
    raw, _, query = target.partition(b"?")
    if b"#" in target:
        raise BadRequest(400, "A request target has no fragment")
    path = raw.decode("latin-1")
    if "%" in path:
        path = unquote(path)
    head = None
    if guards is not None and method == "POST" and path.rstrip("/") == ours:
        found = guards.inspect(headers)
        head = found if type(found) is Head else None
    return Asked(method, target, path, query, headers, http11, length, expects, head)


def _absolute(target: bytes, method: str, secure: bool) -> tuple[bytes, bytes]:
    """The path of a target that does not begin with one, and the authority that it names."""
    if target == b"*" and method == "OPTIONS":
        return b"/", b""
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise BadRequest(400, "The request target is neither a path nor a URL")
    if scheme.lower() == b"https" and not secure:
        raise BadRequest(421, "https is not what is spoken here (RFC 9110 § 7.4)")
    cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    authority, path = rest[:cut], rest[cut:]
    if not authority or not _HOST.fullmatch(authority):
        raise BadRequest(400, "The request target names no host, or a user")
    return path if path.startswith(b"/") else b"/" + path, authority
