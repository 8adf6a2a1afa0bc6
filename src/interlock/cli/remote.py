"""A server at a URL, as a person names it: by its entry in the configuration, or by the URL itself."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from interlock.auth.credentials import Credentials
from interlock.auth.metadata import canonical
from interlock.auth.oauth import OAuth, Visitors
from interlock.cli.problem import USAGE, Problem
from interlock.cli.reach import configured, known
from interlock.client.target import WEBSOCKET, Url, read_target
from interlock.errors import ConfigError
from interlock.gateway.config import Config, HttpServer, load
from interlock.gateway.login import login_to


class Remote(Struct, frozen=True):
    """One server that may want a login. *config* is the file it stands in, if it was named there."""

    name: str
    entry: HttpServer
    config: Config | None = None

    @property
    def url(self) -> str:
        return self.entry.url

    @property
    def port(self) -> int | None:
        """The port that a browser has to come back to, if the entry says one."""
        return self.entry.oauth.callback_port if self.entry.oauth else None

    def oauth(
        self,
        credentials: Credentials,
        visitors: Visitors | None = None,
        principal: str = "",
        scopes: tuple[str, ...] = (),
    ) -> OAuth:
        return login_to(
            self.entry, credentials, visitors=visitors, principal=principal, scopes=scopes
        )

    def target(self, oauth: OAuth) -> Url:
        return Url(
            self.entry.url,
            self.entry.headers,
            "sse" if self.entry.type == "sse" else "http",
            authorization=oauth,
        )


def remote(typed: str, path: Path) -> Remote:
    """The server that *typed* means; a `Problem` for one that no login is for."""
    if "://" in typed:
        if typed.lower().startswith(tuple(f"{scheme}://" for scheme in WEBSOCKET)):
            raise _reached_otherwise(typed, "reached over WebSocket")
        try:
            target = read_target(typed)
            if not isinstance(target, Url):  # With a space in it, it reads as a command line.
                shown = typed.rpartition("@")[2]  # A password may stand before the host.
                raise ConfigError(
                    f"{shown!r} is no URL of a server: https://host/path is expected, without spaces"
                )
            canonical(target.url)
        except ConfigError as error:
            raise Problem(str(error), code=USAGE) from None
        return Remote(typed, HttpServer(name=typed, url=target.url, written=typed))
    config = configured(path)
    known(config, typed)
    entry = config.servers[typed]
    if not isinstance(entry, HttpServer):
        raise _reached_otherwise(typed, "a program")
    if entry.type == "ws":
        raise _reached_otherwise(typed, "reached over WebSocket")
    if entry.oauth is None:
        raise Problem(
            f'{typed} is never logged in to: its entry in {config.path} says "oauth": false.',
            "Take that out to log in.",
            code=USAGE,
        )
    if any(name.lower() == "authorization" for name in entry.headers):
        raise Problem(
            f"{typed} has an Authorization header in {config.path}, which is what it is shown.",
            "Take it out to log in instead.",
            code=USAGE,
        )
    return Remote(typed, entry, config)


def _reached_otherwise(typed: str, what: str) -> Problem:
    return Problem(
        f"{typed} is {what}; logins are for servers at http(s) URLs.",
        "What it needs to know it takes from its entry in the configuration: env, or headers.",
        code=USAGE,
    )


def configured_somewhere(path: Path) -> Config | None:
    """The configuration if there is one: commands about logins do without."""
    try:
        return load(path, os.environ)
    except ConfigError:
        return None
