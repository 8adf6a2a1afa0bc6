"""A request as it is read once, and the form that it brings: bounded, and nothing in it twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from msgspec import Struct

from interlock.auth.issuer.responses import Refused
from interlock.transport.http.plain import Scope

BODY_LIMIT: Final = 64 * 1024
FIELDS: Final = 64
VALUE_LIMIT: Final = 20 * 1024
"""Characters that one parameter may have: an assertion is the longest."""
MANY: Final = ("resource", "audience")
"""What may be given more than once (RFC 8707 § 2, RFC 8693 § 2.1); nothing else may (RFC 6749 § 3.1)."""
FORM: Final = "application/x-www-form-urlencoded"


class Request(Struct, frozen=True):
    """What was asked, whole. Header names are lower case, *query* is without its question mark."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, tuple[str, ...]] = {}
    body: bytes = b""
    peer: str = ""
    """Where it came from, as far as the transport knows."""

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("method", self.method), ("path", self.path)]

    def header(self, name: str) -> str | None:
        """A header that may be there once."""
        values = self.headers.get(name, ())
        if len(values) > 1:
            raise Refused("invalid_request", f"The header {name} is there more than once")
        return values[0] if values else None

    @property
    def media_type(self) -> str:
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    def cookie(self, name: str) -> str | None:
        for value in self.headers.get("cookie", ()):
            for pair in value.split(";"):
                found, _, text = pair.strip().partition("=")
                if found == name:
                    return text
        return None

    def form(self) -> Form:
        """The form in the body; raises `Refused` if there is none, or one that is too much."""
        if self.media_type != FORM:
            raise Refused("invalid_request", f"The Content-Type must be {FORM}")
        return parse(self.body)


class Form:
    """Parameters by name. Those without a value are as good as not given (RFC 6749 § 3.1)."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        return f"Form({', '.join(self._values)})"

    def one(self, name: str) -> str | None:
        values = self._values.get(name, [])
        if len(values) > 1:
            raise Refused("invalid_request", f"The parameter {name} is there more than once")
        return values[0] if values and values[0] else None

    def needed(self, name: str) -> str:
        value = self.one(name)
        if value is None:
            raise Refused("invalid_request", f"The parameter {name} is missing")
        return value

    def several(self, name: str) -> list[str]:
        return list(dict.fromkeys(value for value in self._values.get(name, []) if value))

    def hold(self) -> None:
        """Raise `Refused` if anything is there twice that may not be."""
        for name in self._values:
            if name not in MANY:
                self.one(name)


def parse(data: bytes | str) -> Form:
    """The parameters of a form or a query."""
    try:
        text = data if isinstance(data, str) else data.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS)
    except ValueError:
        raise Refused(
            "invalid_request", f"The parameters cannot be read: UTF-8 and at most {FIELDS} of them"
        ) from None
    for name, value in pairs:
        if len(name) > 100 or len(value) > VALUE_LIMIT:
            raise Refused("invalid_request", "A parameter is too long")
        if any(character < " " or character == "\x7f" for character in value):
            raise Refused("invalid_request", "A parameter contains control characters")
    return Form(pairs)


def read(scope: Scope, body: bytes) -> Request:
    """An HTTP request as ASGI brings it."""
    headers: dict[str, tuple[str, ...]] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        headers[name] = (*headers.get(name, ()), raw_value.decode("latin-1"))
    peer = scope.get("client")
    return Request(
        scope["method"],
        scope["path"],
        scope.get("query_string", b"").decode("latin-1"),
        headers,
        body,
        str(peer[0]) if peer else "",
    )
