"""Ways to send a person to a login, as an `OAuth` takes them: a visitor each time one is needed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from interlock.auth.browser import LOGIN_SECONDS, PASTED_TO, Ask, Browser, Pasted, Say
from interlock.auth.oauth import Visitors
from interlock.auth.opening import open_page


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
    return lambda last: Browser(
        say or _tell, port=port or 0, before=last, timeout=timeout, open=open
    )


def by_hand(ask: Ask, say: Say | None = None, *, port: int | None = None) -> Visitors:
    """A browser anywhere: the person opens the page there, and brings its last address back.

    *port* stands in that address, for servers that know us by one; nobody listens at it.
    """
    back = PASTED_TO if port is None else f"http://127.0.0.1:{port}/callback"
    return lambda last: contextlib.nullcontext(Pasted(say or _tell, ask, redirect_uri=back))


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
