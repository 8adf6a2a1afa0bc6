"""Responses as they are written: JSON that nobody keeps, pages that nobody frames, redirects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from interlock.transport.http.plain import JSON, Header

NO_STORE: Final[tuple[Header, ...]] = (
    (b"cache-control", b"no-store"),
    (b"pragma", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
)
_HTML: Final[Header] = (b"content-type", b"text/html; charset=utf-8")
_SHELTER: Final[tuple[Header, ...]] = (
    *NO_STORE,
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


class Refused(Exception):
    """A request that is answered with an error of OAuth's (RFC 6749 § 5.2).

    *description* is for whoever wrote the client; it quotes nothing secret, and nothing that would
    have to be escaped.
    """

    def __init__(
        self, error: str, description: str, status: int = 400, headers: Sequence[Header] = ()
    ) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status
        self.headers = tuple(headers)


class Response(Struct, frozen=True):
    status: int
    headers: tuple[Header, ...] = ()
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Response({self.status})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("status", self.status)]

    def header(self, name: str) -> str | None:
        """The first header of that name, in lower case."""
        for found, value in self.headers:
            if found == name.encode():
                return value.decode("latin-1")
        return None


def answer(value: Any, status: int = 200, headers: Sequence[Header] = ()) -> Response:
    return Response(status, (JSON, *NO_STORE, *headers), msgspec.json.encode(value))


def published(value: Any, seconds: int) -> Response:
    """What anybody may read, and keep for some *seconds*."""
    keep = (b"cache-control", b"public, max-age=%d" % seconds)
    return Response(200, (JSON, keep, NO_STORE[2]), msgspec.json.encode(value))


def refusal(refused: Refused) -> Response:
    said = {"error": refused.error, "error_description": refused.description}
    return answer(said, refused.status, refused.headers)


def page(
    html: str,
    *,
    style: str,
    status: int = 200,
    goes_to: str | None = None,
    headers: Sequence[Header] = (),
) -> Response:
    """A page without scripts, whose forms go nowhere but here and to *goes_to*.

    Chromium holds redirects after a form against form-action as well, so where they lead must be
    named. *style* is the source expression of the page's own style.
    """
    action = "'none'" if goes_to is None else f"'self' {goes_to}"
    policy = (
        f"default-src 'none'; style-src {style}; form-action {action}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    safe = (b"content-security-policy", policy.encode())
    return Response(status, (_HTML, safe, *_SHELTER, *headers), html.encode())


def redirect(
    url: str, parameters: Mapping[str, str | None], headers: Sequence[Header] = ()
) -> Response:
    """Send a browser to *url* with *parameters* added; 303, so that a form is not sent on."""
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    target = f"{url}{'&' if '?' in url else '?'}{query}"
    return Response(303, (*_SHELTER, (b"location", target.encode("ascii")), *headers))
