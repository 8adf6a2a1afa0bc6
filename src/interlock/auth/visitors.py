"""Ways to send a person to a login, as an `OAuth` takes them: a visitor each time one is needed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncGenerator, Callable

from interlock.auth.browser import LOGIN_SECONDS, Ask, Browser, Pasted, Say
from interlock.auth.oauth import Visitor, Visitors
from interlock.auth.opening import open_page
from interlock.errors import ConfigError


def in_browser(
    say: Say | None = None,
    *,
    port: int | None = None,
    timeout: float = LOGIN_SECONDS,
    open: Callable[[str], bool] = open_page,
) -> Visitors:
    """A browser on this machine, which comes back to *port*.

    Without one it is the port of the last login if that is free, as that is what we are registered
    with, else any. *say* shows lines to the person, by default on stderr; *timeout* is how many
    seconds they have; *open* opens a page, and tells whether it could.
    """

    @contextlib.asynccontextmanager
    async def visitor(last: int | None) -> AsyncGenerator[Visitor]:
        browser = Browser(say or _tell, port=port or last or 0, timeout=timeout, open=open)
        try:
            await browser.__aenter__()
        except ConfigError:
            if port or not last:
                raise
            browser = Browser(say or _tell, timeout=timeout, open=open)
            await browser.__aenter__()
        try:
            yield browser
        finally:
            await browser.__aexit__(None, None, None)

    return visitor


def by_hand(ask: Ask, say: Say | None = None) -> Visitors:
    """A browser anywhere: the person opens the page there, and brings its last address back."""

    @contextlib.asynccontextmanager
    async def visitor(last: int | None) -> AsyncGenerator[Visitor]:
        yield Pasted(say or _tell, ask)

    return visitor


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
