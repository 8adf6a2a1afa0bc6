"""The people who may let clients in: how they sign in, and how a browser stays signed in.

A code is short enough to be typed, so it must not be tried often: each try is counted before it is
looked at, for where it came from and for all together, and too many make the next one wait.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Final

from msgspec import Struct

from interlock.auth.issuer.records import TRIES, Records, fingerprint, handle, same
from interlock.auth.issuer.requests import Request
from interlock.auth.issuer.settings import Lifetimes
from interlock.errors import ConfigError, StoreError
from interlock.transport.http.plain import Header

CODE_LEAST: Final = 8
CODE_LIMIT: Final = 200
TRIES_EACH: Final = 5
TRIES_ALL: Final = 50
"""Codes that may be tried, from one address and from all, before the next try has to wait."""
WAIT: Final = 5.0
WAIT_EACH: Final = 900.0
WAIT_ALL: Final = 10.0
"""Seconds that it has to wait first, doubled each time, and at most: for all together only so long
that nobody who tries codes all day keeps everybody out.
"""
FORGET: Final = 3600.0
_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


class Person(Struct, frozen=True):
    """Somebody who may let clients in, and is who tokens are about. *code* is what they sign in
    with: spaces, hyphens and case do not count in it.
    """

    subject: str
    name: str
    code: str

    def __post_init__(self) -> None:
        if not CODE_LEAST <= len(_plain(self.code)) <= CODE_LIMIT or not self.subject:
            raise ConfigError(
                f"{self.name!r} needs a subject, and a code of {CODE_LEAST} characters at least"
            )

    def __repr__(self) -> str:
        return f"Person({self.subject!r}, {self.name!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("subject", self.subject), ("name", self.name)]


def someone() -> Person:
    """The one person of a box, with a new code to be shown to them: 58 random bits."""
    letters = [secrets.choice(_ALPHABET) for _ in range(12)]
    code = "-".join("".join(letters[place : place + 4]) for place in (0, 4, 8))
    return Person("owner", "the owner", code)


class Session(Struct, frozen=True):
    """A browser that is signed in."""

    subject: str
    since: float
    until: float
    browser: str
    """The fingerprint of the browser that it is good in."""


class Attempts(Struct, frozen=True):
    """Codes that were tried, and until when no other may be."""

    count: int
    until: float


class Wait(Exception):
    """Too many codes were tried; the next one in *seconds*."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Too many codes were tried; wait {seconds:g} seconds")
        self.seconds = seconds


class People:
    """*persons*, and their browsers. *secure* is whether they come over https."""

    def __init__(
        self,
        persons: Sequence[Person],
        sessions: Records[Session],
        attempts: Records[Attempts],
        *,
        lifetimes: Lifetimes,
        clock: Callable[[], float],
        secure: bool,
        port: int | None,
    ) -> None:
        self.persons = tuple(persons)
        self._sessions = sessions
        self._attempts = attempts
        self._lifetimes = lifetimes
        self._clock = clock
        self._secure = secure
        # Cookies do not tell ports apart, so that on one machine two issuers would share theirs.
        stem = "__Host-interlock" if secure else f"interlock-{port or 80}"
        self.browser_cookie = f"{stem}-browser"
        self.session_cookie = f"{stem}-session"
        if len({_plain(person.code) for person in persons}) < len(persons):
            raise ConfigError("Two people have the same code")

    def named(self, subject: str) -> Person | None:
        return next((each for each in self.persons if each.subject == subject), None)

    def browser(self, request: Request) -> str | None:
        """What tells one browser from another, once it was given one."""
        return request.cookie(self.browser_cookie)

    def meet(self, browser: str) -> Header:
        """Give a browser what it is told by."""
        return self._cookie(self.browser_cookie, browser, self._lifetimes.session)

    async def signed_in(self, request: Request) -> tuple[Person, Session] | None:
        cookie, browser = request.cookie(self.session_cookie), self.browser(request)
        if cookie is None or browser is None:
            return None
        session = await self._sessions.get(fingerprint("session", cookie))
        if session is None or session.until <= self._clock():
            return None
        if not same(session.browser, fingerprint("browser", browser)):
            return None
        person = self.named(session.subject)
        return None if person is None else (person, session)

    async def sign_in(
        self, code: str, request: Request, browser: str
    ) -> tuple[Person, Session, Header] | None:
        """Who has that code, and the cookie that their browser stays signed in with; raises `Wait`."""
        peer = fingerprint("peer", _network(request.peer))
        # In this order: who must wait anyway makes nobody else wait, and the few tries that all
        # have together bound how many addresses are remembered.
        await self._pause(peer)
        before_all = await self._count("all", TRIES_ALL, WAIT_ALL)
        before = await self._count(peer, TRIES_EACH, WAIT_EACH)
        # All are looked at, so that the time tells nothing.
        given = _plain(code[:CODE_LIMIT])
        fitting = [each for each in self.persons if same(_plain(each.code), given)]
        if not fitting:
            return None
        # It alone is not counted. Those before it are: whoever has a code could else try for others'
        # without end, with their own in between.
        await self._forgive(peer, before)
        await self._forgive("all", before_all)
        now, ttl = self._clock(), self._lifetimes.session
        session = Session(fitting[0].subject, now, now + ttl, fingerprint("browser", browser))
        cookie = handle()
        await self._sessions.put(fingerprint("session", cookie), session, ttl)
        return fitting[0], session, self._cookie(self.session_cookie, cookie, ttl)

    async def sign_out(self, request: Request) -> Header:
        cookie = request.cookie(self.session_cookie)
        if cookie is not None:
            await self._sessions.take(fingerprint("session", cookie))
        return self._cookie(self.session_cookie, "", 0)

    async def _pause(self, key: str) -> None:
        before = await self._attempts.get(key)
        if before is not None and before.until > self._clock():
            raise Wait(before.until - self._clock())

    async def _count(self, key: str, free: int, most: float) -> float:
        """Count one more try; until when the one before it had made others wait."""
        for _ in range(TRIES):
            now = self._clock()
            found = await self._attempts.find(key)
            before, version = found or (Attempts(0, 0), 0)
            if before.until > now:
                raise Wait(before.until - now)
            count = before.count + 1
            over = count - free
            wait = min(WAIT * 2 ** min(over, 20), most) if over >= 0 else 0.0
            if await self._attempts.put(key, Attempts(count, now + wait), FORGET, version):
                return before.until
        raise StoreError("Too many codes are tried at once")

    async def _forgive(self, key: str, until: float) -> None:
        """Take one try back that was counted."""
        for _ in range(TRIES):
            found = await self._attempts.find(key)
            if found is None:
                return
            less = Attempts(max(0, found[0].count - 1), until)
            if await self._attempts.put(key, less, FORGET, found[1]):
                return

    def _cookie(self, name: str, value: str, seconds: float) -> Header:
        secure = "; Secure" if self._secure else ""
        text = f"{name}={value}; Path=/; Max-Age={int(seconds)}; HttpOnly; SameSite=Lax{secure}"
        return b"set-cookie", text.encode()


def _network(peer: str) -> str:
    """What one machine can call from as it likes: an address, or of IPv6 a network of them."""
    try:
        return str(IPv6Network((IPv6Address(peer), 64), strict=False))
    except ValueError:
        return peer


def _plain(code: str) -> str:
    return code.replace(" ", "").replace("-", "").casefold()
