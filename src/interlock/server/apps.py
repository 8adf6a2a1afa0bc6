"""Apps on a server: pages as resources, and tools that are shown by them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, get_args

import msgspec

from interlock.errors import RegistrationError
from interlock.server.resources import FunctionResource
from interlock.wire.apps import (
    META,
    MIME_TYPE,
    SCHEME,
    Audience,
    Csp,
    Page,
    Permission,
    is_origin,
)
from interlock.wire.content import ResourceContents
from interlock.wire.meta import CacheHints
from interlock.wire.resources import Resource

Html = str | os.PathLike[str] | Callable[[], Any]
"""A page: the whole of it, the file it is in, or a function that gives it."""

_DOMAINS: Final = ("connect_domains", "resource_domains", "frame_domains", "base_uri_domains")


def page(
    uri: str,
    html: Html,
    *,
    csp: Csp | None = None,
    permissions: Sequence[Permission] = (),
    domain: str | None = None,
    prefers_border: bool | None = None,
    hints: CacheHints | None = None,
    **listed: Any,
) -> FunctionResource:
    """The resource that a page is; *listed* is what else its list entry says."""
    if not uri.startswith(SCHEME):
        raise RegistrationError(f"A page's URI begins with {SCHEME}, as in ui://shop/cart: {uri!r}")
    if isinstance(html, str) and "<html" not in html.lower():
        raise RegistrationError(
            f"{uri}: expected a whole HTML document, from <!doctype html> on; a file is given as a "
            "Path"
        )
    for name in _DOMAINS:
        for each in getattr(csp, name, None) or ():
            if not is_origin(each):
                raise RegistrationError(
                    f"{uri}: {each!r} in {name} is no origin such as https://api.example.com or "
                    "https://*.example.com"
                )
    if unknown := set(permissions) - set(get_args(Permission)):
        known = ", ".join(get_args(Permission))
        raise RegistrationError(f"{uri}: a page can ask for {known}; got {sorted(unknown)}")
    needs: dict[str, Any] = msgspec.to_builtins(
        Page(
            csp=csp,
            permissions={each: {} for each in permissions} or None,
            domain=domain,
            prefers_border=prefers_border,
        )
    )
    meta = {META: needs} if needs else None

    def contents(text: str) -> ResourceContents:
        return ResourceContents(uri=uri, mime_type=MIME_TYPE, text=text, meta=meta)

    resource = Resource(uri=uri, mime_type=MIME_TYPE, meta=meta, **listed)
    return FunctionResource(_giving(html, contents), resource, hints)


def _giving(html: Html, contents: Callable[[str], ResourceContents]) -> Callable[[], Any]:
    if isinstance(html, str):

        async def whole() -> ResourceContents:
            return contents(html)

        return whole
    if not callable(html):

        def file() -> ResourceContents:
            with open(html, encoding="utf-8") as page:  # noqa: PTH123 - pathlib is a dozen modules
                return contents(page.read())

        return file
    if inspect.iscoroutinefunction(html):

        async def awaited() -> ResourceContents:
            return contents(await html())

        return awaited

    def made() -> ResourceContents:
        return contents(html())

    return made


def shown_by(
    name: str,
    ui: str | None,
    visibility: Sequence[Audience] | None,
    meta: dict[str, Any] | None,
) -> dict[str, Any] | None:
    """A tool's `_meta`, with the page that shows its results and who may call it."""
    if ui is None and visibility is None:
        return meta
    if ui is not None and not ui.startswith(SCHEME):
        raise RegistrationError(f"{name}: ui= names a page by its {SCHEME} URI, got {ui!r}")
    if visibility is not None and (not visibility or set(visibility) - set(get_args(Audience))):
        raise RegistrationError(
            f'{name}: visibility= is one or both of "model" and "app", got {list(visibility)}'
        )
    said: dict[str, Any] = {}
    if ui is not None:
        said["resourceUri"] = ui
    if visibility is not None:
        said["visibility"] = list(visibility)
    return {**(meta or {}), META: said}
