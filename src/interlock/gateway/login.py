"""How servers behind the gateway learn who calls: by what that person's login left behind.

Nobody is sent to a login from here: whoever operates the gateway, or a person at a terminal, logs in
beside it. Looking for a login makes nothing: where nobody ever logged in, no credentials are kept.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterable
from typing import Final

from interlock.auth.credentials import Credentials, Grant, open_credentials, state_folder
from interlock.auth.keeping import DATABASE
from interlock.auth.metadata import canonical
from interlock.auth.oauth import OAuth, Visitors
from interlock.errors import ConfigError, LoginNeeded, StoreError
from interlock.gateway.config import HttpServer, OAuthEntry, Server
from interlock.transport.http.engine import Engine, Request, Response

log: Final = logging.getLogger("interlock.gateway")

SCOPES_SHOWN: Final = 10
"""How many of the scopes that a server wants are named to a person."""
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")


def may_want_login(entry: Server) -> bool:
    """Whether a server may be told which person calls: at an HTTP URL, and not told otherwise."""
    if not isinstance(entry, HttpServer) or entry.type == "ws" or entry.oauth is None:
        return False
    if any(name.lower() == "authorization" for name in entry.headers):
        return False
    try:
        canonical(entry.url)
    except ConfigError:
        return (
            False  # Nothing can be kept for it; a user in its URL is another way to say who calls.
        )
    return True


def login_to(
    entry: HttpServer,
    credentials: Credentials,
    *,
    visitors: Visitors | None = None,
    principal: str = "",
    scopes: Iterable[str] = (),
) -> OAuth:
    """The login to a server as its entry describes it; *scopes* are asked for besides."""
    said = entry.oauth or OAuthEntry()
    return OAuth(
        credentials,
        visitors=visitors,
        principal=principal,
        scopes=(*said.scopes, *scopes),
        client_id=said.client_id,
        client_secret=said.client_secret,
        metadata_url=said.metadata_url,
    )


class Logins:
    """The credentials of a gateway: those it is handed, or this machine's as soon as there are any.

    It closes those it was not handed.
    """

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._ours = credentials is None
        self._credentials = credentials

    def credentials(self) -> Credentials | None:
        """None as long as nobody logged in on this machine."""
        if self._credentials is None:
            folder = state_folder(os.environ)
            if os.path.exists(folder / DATABASE):  # noqa: PTH110  a folder closed to us is no error
                self._credentials = open_credentials(folder)
        return self._credentials

    async def close(self) -> None:
        if self._ours and self._credentials is not None:
            await self._credentials.close()


class Login:
    """What one person is to one server, as an `Authorization`: nobody, until the server asks.

    A server that asks for no login is not told who calls, and no call to it looks for one. One that
    asks gets what *logins* has for *principal*; where there is nothing, `LoginNeeded` says what to
    type.
    """

    extensions: tuple[str, ...] = ()

    def __init__(self, entry: HttpServer, logins: Logins, principal: str = "") -> None:
        self._entry = entry
        self._logins = logins
        self._principal = principal
        self._oauth: OAuth | None = None
        self._refused: Grant | None = None

    def __repr__(self) -> str:
        return f"Login({self._entry.name!r})"

    def around(
        self, engine: Engine, url: str, on_person: Callable[[bool], None] | None = None
    ) -> Engine:
        return _Engine(self, engine, url, on_person)

    async def appeared(self) -> bool:
        """Whether there is a login now that was not there, or is another, when one was missed."""
        try:
            found = await self.found()
        except (ConfigError, StoreError) as error:
            log.warning("%s: credentials cannot be looked at: %s", self._entry.name, error)
            return False
        return found is not None and found != self._refused

    async def found(self) -> Grant | None:
        credentials = self._logins.credentials()
        if credentials is None:
            return None
        return await credentials.find(self._entry.url, self._principal)

    async def missed(self) -> None:
        """The login that there is will not do: another has to come."""
        with contextlib.suppress(ConfigError, StoreError):
            self._refused = await self.found()

    def oauth(self) -> OAuth:
        if self._oauth is None:
            credentials = self._logins.credentials()
            assert credentials is not None, "asked for once a login was found"
            self._oauth = login_to(self._entry, credentials, principal=self._principal)
        return self._oauth

    def needed(self, error: LoginNeeded) -> LoginNeeded:
        """*error* in words that say what to type."""
        name = self._entry.name
        command = ["interlock", "login", name]
        if self._principal:
            command += ["--for", self._principal]
        wants = "needs a login"
        scopes = [each for each in error.scopes if _SCOPE.fullmatch(each)][:SCOPES_SHOWN]
        if error.scopes:
            wants = "wants a login that allows more"
            command += ["--again", *(f"--scope={scope}" for scope in scopes)]
        text = f"server {name!r} {wants}: {shlex.join(command)}"
        return LoginNeeded(error.url, text, scopes=error.scopes)

    async def close(self) -> None:
        if self._oauth is not None:
            await self._oauth.close()


class _Engine:
    """Sends what it is given, as nobody as long as that is enough."""

    def __init__(
        self, login: Login, engine: Engine, url: str, on_person: Callable[[bool], None] | None
    ) -> None:
        self._login = login
        self._engine = engine
        self._url = url
        self._on_person = on_person
        self._looked = False
        self._authorized: Engine | None = None

    async def send(self, request: Request) -> Response:
        if self._authorized is None:
            looked, self._looked = self._looked, True
            # Who logged in to a server is shown to it, whether or not it would do without.
            if looked or await self._login.found() is None:
                response = await self._engine.send(request)
                if response.status != 401:
                    return response
                response.close()
                if await self._login.found() is None:
                    raise LoginNeeded(self._url)
        authorized = self._authorized
        if authorized is None:
            oauth = self._login.oauth()
            authorized = self._authorized = oauth.around(self._engine, self._url, self._on_person)
        try:
            return await authorized.send(request)
        except LoginNeeded as error:
            if not error.scopes:  # Else it does for other requests.
                await self._login.missed()
            raise

    async def close(self) -> None:
        await (self._authorized or self._engine).close()
