"""Driving a conversation of OAuth: its requests through a fetcher, its pages to a person.

It knows nothing of OAuth beyond where a browser goes and comes back to; the conversation decides
everything else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Final, Literal, Protocol, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit

from interlock.auth.opening import host_of, open_page, openable
from interlock.auth.redirect import read, refusal, state_of
from interlock.auth.steps import Answer, Conversation, Fetch, Visit, Visited
from interlock.errors import (
    AuthorizationFailed,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    InvalidMessage,
    LoginNeeded,
    TimedOut,
)
from interlock.transport.http.engine import Request
from interlock.transport.http.fetching import Fetched

ANSWER_LIMIT: Final = 256 * 1024
"""The most bytes an answer may have."""
ANSWER_SECONDS: Final = 30.0
"""How long a request may take, redirects and all."""
REDIRECTS: Final = 3
"""How many redirects of a GET are followed."""
LOGIN_SECONDS: Final = 300.0
"""How long a person has to log in."""
PASTED_TO: Final = "http://127.0.0.1:47811/callback"
"""Where a browser on another machine is sent to, from which the person takes the address."""
_PASTE_LIMIT: Final = 32 * 1024
_SCOPES_SHOWN: Final = 20
_UNSHOWN: Final = re.compile(r"[^\x21-\x7e]")

T = TypeVar("T")


class Fetching(Protocol):
    """Sends a request to where it is safe to; `transport.http.fetching.Fetcher` does."""

    async def fetch(
        self, request: Request, *, limit: int, seconds: float, redirects: int
    ) -> Fetched: ...


VisitFunction: TypeAlias = Callable[[Visit], Awaitable[Visited]]


class Visitor(Protocol):
    """Has a person visit a page. Where the page is to send them back to is known beforehand,
    because a client registers it.
    """

    @property
    def redirect_uri(self) -> str: ...

    async def __call__(self, visit: Visit) -> Visited: ...


async def drive(conversation: Conversation[T], fetcher: Fetching, visit: VisitFunction) -> T:
    """What *conversation* comes to; it is closed in any case, also if this is cancelled.

    A request that comes to nothing is an `Answer` with status 0, for the conversation to judge.
    Raises what the conversation raises, what *visit* raises, and `UnsafeUrl`.
    """
    try:
        step = next(conversation)
        while True:
            sent = await (_fetched(step, fetcher) if isinstance(step, Fetch) else visit(step))
            step = conversation.send(sent)
    except StopIteration as end:
        return end.value
    finally:
        conversation.close()


async def _fetched(step: Fetch, fetcher: Fetching) -> Answer:
    headers = {name.lower(): value for name, value in step.headers.items()}
    try:
        found = await fetcher.fetch(
            Request(step.method, step.url, headers, step.body),
            limit=ANSWER_LIMIT,
            seconds=ANSWER_SECONDS,
            # What is posted is meant for nobody else.
            redirects=REDIRECTS if step.method == "GET" else 0,
        )
    except (ConnectFailed, ConnectionLost, TimedOut, InvalidMessage) as error:
        return Answer(0, {}, str(error).encode())
    return Answer(found.status, found.headers, found.body)


Say: TypeAlias = Callable[[str], None]
"""Shows a line to the person."""
Ask: TypeAlias = Callable[[str], Awaitable[str]]
"""Shows a question to the person; the line they answer with."""


class Browser:
    """A visitor with a browser on this machine, which comes back to a port of it.

    An async context manager: the port is listened at inside of it. Visits wait for one another.
    *say* shows lines to the person, *timeout* are the seconds each login may take. *port* is the
    one to listen at, and *before* one to prefer to any: where a client was registered to come back
    to, unless another program is there by now. *open* runs in a thread, and returns whether a
    browser was opened.
    """

    def __init__(
        self,
        say: Say,
        *,
        port: int = 0,
        before: int | None = None,
        host: Literal["127.0.0.1", "localhost"] = "127.0.0.1",
        timeout: float = LOGIN_SECONDS,
        open: Callable[[str], bool] = open_page,
    ) -> None:
        # Kept out of programs in which nobody logs in: it brings an HTTP server.
        from interlock.auth.loopback import Loopback

        self._say = say
        self._timeout = timeout
        self._open = open
        self._loopback = Loopback(port, host=host)
        self._before = Loopback(before, host=host) if before and port == 0 else None
        self._stack = AsyncExitStack()
        self._one_at_a_time = asyncio.Lock()

    async def __aenter__(self) -> Self:
        if self._before is not None:
            with suppress(ConfigError):
                self._loopback = await self._stack.enter_async_context(self._before)
                return self
        await self._stack.enter_async_context(self._loopback)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def redirect_uri(self) -> str:
        return self._loopback.redirect_uri

    async def __call__(self, visit: Visit) -> Visited:
        """Raises `AuthorizationFailed` if the page is not opened, or nobody comes back in time."""
        _check(visit)
        if visit.redirect_uri != self.redirect_uri:
            raise ConfigError(
                f"A browser sent back to {visit.redirect_uri} would not be seen here, where "
                f"{self.redirect_uri} is listened at; log in with the latter"
            )
        async with self._one_at_a_time:
            self._loopback.expect(state_of(visit.url))
            self._say(_where(visit))
            self._say(f"If no browser opens, open this page yourself: {visit.url}")
            if not await asyncio.to_thread(self._open, visit.url):
                self._say("No browser could be opened here.")
            try:
                return await self._loopback.wait(self._timeout)
            except TimedOut as error:
                raise AuthorizationFailed(f"{error}; begin the login anew") from error


class Pasted:
    """A visitor whose browser is on another machine: they paste the address it ends at.

    *ask* shows a question and returns the line that is answered; where it raises, the visit does.
    """

    def __init__(
        self, say: Say, ask: Ask, *, redirect_uri: str = PASTED_TO, tries: int = 3
    ) -> None:
        self._say = say
        self._ask = ask
        self._tries = tries
        self.redirect_uri = redirect_uri

    async def __call__(self, visit: Visit) -> Visited:
        """Raises `AuthorizationFailed` if the page is not shown, or nothing usable is pasted."""
        _check(visit)
        state = state_of(visit.url)
        self._say(_where(visit))
        self._say(f"Open this page in a browser, on any machine: {visit.url}")
        self._say(
            "In the end the browser goes to an address that begins with "
            f"{visit.redirect_uri} and perhaps shows nothing there. Copy that address."
        )
        for _ in range(self._tries):
            text = (await self._ask("The address: ")).strip()
            found = _pasted(text, visit.redirect_uri)
            why = found if isinstance(found, str) else refusal(found, state)
            if why is None and isinstance(found, Visited):
                return found
            self._say(f"That is not it: {why}.")
        raise AuthorizationFailed(
            f"The login at {host_of(visit.url)} was not finished: {self._tries} times something "
            "else was pasted than the address that the browser ended at"
        )


class Nobody:
    """A visitor for where no person is, as in a gateway or a pipeline: a login is needed, always.

    *url* is that of the server that wants it, *how* says how to log in to it.
    """

    def __init__(self, url: str, how: str | None = None, *, redirect_uri: str = PASTED_TO) -> None:
        self._url = url
        self._how = how
        self.redirect_uri = redirect_uri

    async def __call__(self, visit: Visit) -> Visited:
        how = self._how or "log in where somebody can, and start this again"
        raise LoginNeeded(
            self._url,
            f"{self._url} needs a login at {host_of(visit.url)}, and nobody is here: {how}",
        )


def _check(visit: Visit) -> None:
    if (why := openable(visit.url)) is not None:
        raise AuthorizationFailed(
            f"The page to log in at ({host_of(visit.url)}) is not opened: {why}. Its address comes "
            "from the authorization server, which has to put it right"
        )


def _where(visit: Visit) -> str:
    """Where the person is sent, and what for: what the server says of it may be made to deceive."""
    host, issuer = host_of(visit.url), host_of(visit.issuer)
    on_behalf = "" if issuer == host else f", on behalf of {issuer}"
    scopes = [_UNSHOWN.sub("?", scope[:100]) for scope in visit.scopes[:_SCOPES_SHOWN]]
    more = " and more" if len(visit.scopes) > _SCOPES_SHOWN else ""
    asked = f" It is asked for: {' '.join(scopes)}{more}." if scopes else ""
    return f"You are sent to {host} to log in{on_behalf}.{asked}"


def _pasted(text: str, redirect_uri: str) -> Visited | str:
    """What a person pasted: the address of a redirect, or its code and state as `code#state`.

    Else why it is neither, in half a sentence that quotes nothing of it.
    """
    if not text:
        return "nothing was pasted"
    if len(text) > _PASTE_LIMIT or _UNSHOWN.search(text):
        return "an address has no spaces, and only letters that an address can have"
    if "://" not in text:
        code, separator, state = text.partition("#")
        if not (code and separator and state):
            return "the whole address is needed, from http:// to its end"
        return Visited({"code": (code,), "state": (state,)})
    theirs, ours = _place(text), _place(redirect_uri)
    if theirs is None or theirs != ours:
        return f"the address has to begin with {redirect_uri}"
    return read(urlsplit(text).query) or "its query cannot be read"


def _place(url: str) -> tuple[str, str, str] | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.scheme, parts.netloc.lower(), parts.path
