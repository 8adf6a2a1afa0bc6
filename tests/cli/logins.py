"""A server that wants a login, who gives it, and people who log in: for the commands about logins.

Both answer on sockets from a thread of their own, as commands run a loop of theirs. A browser is a
small program, which does without scripts what a person would click.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import pytest
from tests.cli.conftest import Done
from tests.leaks import leaks

from interlock import Context, Server
from interlock.auth.credentials import Login, open_credentials
from interlock.auth.issuer.issuer import Issuer
from interlock.auth.issuer.people import Person
from interlock.auth.issuer.settings import Resource
from interlock.auth.settings import AuthSettings
from interlock.auth.verifiers import JwtVerifier
from interlock.server.web import HttpApp, serve_http
from interlock.store.memory import MemoryStore
from interlock.testing.clock import Clock
from interlock.transport.http.asgi import App

T = TypeVar("T")

CODE = "correct-horse-battery"
SECONDS = 20.0
"""How long a program may take that takes less than one; the rest is for busy machines."""
BROWSER = """
import html, os, re, sys, time
from http.cookiejar import CookieJar
from urllib.error import URLError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, ProxyHandler, Request
from urllib.request import build_opener

class Stay(HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None

_, opened, page, *stay = sys.argv
with open(opened, "a") as file:
    file.write("opened\\n")
handlers = [ProxyHandler({}), HTTPCookieProcessor(CookieJar()), *([Stay()] if stay else [])]
browser = build_opener(*handlers)
shown = browser.open(page).read().decode()
[ticket] = re.findall('name="ticket" value="([^"]+)"', shown)
[action] = re.findall('action="([^"]+)"', shown)
form = {"ticket": html.unescape(ticket), "choice": os.environ["CHOICE"], "code": os.environ["CODE"]}
request = Request(urljoin(page, html.unescape(action)), urlencode(form).encode())
request.add_header("Sec-Fetch-Site", "same-origin")
try:
    browser.open(request).read()
except URLError as error:
    if not stay:
        raise
    print(error.headers["Location"])
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Neighbours:
    """Apps that are served from a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._serving: dict[int, asyncio.Task[None]] = {}
        self._thread.start()

    def ask(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(SECONDS)

    def serve(self, app: HttpApp, port: int) -> None:
        self.ask(self._serve(app, port))

    def end(self, port: int) -> None:
        self.ask(self._end(port))

    def close(self) -> None:
        for port in list(self._serving):
            self.end(port)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    async def _serve(self, app: HttpApp, port: int) -> None:
        listening = asyncio.Event()
        task = asyncio.create_task(serve_http(app, "127.0.0.1", port, lambda _: listening.set()))
        self._serving[port] = task
        waiting = asyncio.create_task(listening.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiting.cancel()
            task.result()

    async def _end(self, port: int) -> None:
        task = self._serving.pop(port)
        task.cancel()
        await asyncio.wait([task])


class Diary:
    """A server that takes the tokens of an issuer, whose time is the issuer's."""

    def __init__(self) -> None:
        self.door, self.office = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.door}/mcp"
        self.issuer_url = f"http://127.0.0.1:{self.office}"
        self.clock = Clock(time.time())
        self.issuer = Issuer(
            self.issuer_url,
            resources=[Resource(self.url, {"read": "Read it", "write": "Write into it"})],
            people=[Person("ada", "Ada", CODE)],
            store=MemoryStore(clock=self.clock),
            clock=self.clock,
        )
        settings = AuthSettings(
            issuer_url=self.issuer_url,
            resource_server_url=self.url,
            required_scopes=["read"],
            remember=0,
        )
        self.server = Server(
            "diary",
            auth=settings,
            token_verifier=JwtVerifier(self.issuer_url, settings.resource, clock=self.clock),
        )

        @self.server.tool
        async def whose(ctx: Context) -> str:
            return f"{ctx.principal.subject}'s"

        self._neighbours = Neighbours()

    def __enter__(self) -> Self:
        self._neighbours.serve(self.issuer, self.office)
        self._neighbours.serve(App(self.server), self.door)
        return self

    def __exit__(self, *exc: object) -> None:
        self._neighbours.close()

    @property
    def entry(self) -> dict[str, Any]:
        """It, as a configuration names it."""
        return {"type": "http", "url": self.url}

    def serve(self, app: HttpApp) -> str:
        """The URL of another app, served beside it."""
        port = free_port()
        self._neighbours.serve(app, port)
        return f"http://127.0.0.1:{port}/mcp"

    def issuer_goes(self) -> None:
        self._neighbours.end(self.office)

    def logins(self) -> int:
        """How many logins are good there."""
        return self._neighbours.ask(self.issuer.office.families.table.count())


class Visits:
    """The browser of a person, and their state folder: nothing of the real person's is touched."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = folder / "state"
        self._program = folder / "browser.py"
        self._opened = folder / "opened"
        self._program.write_text(BROWSER)
        self._set = monkeypatch.setenv
        self._set("INTERLOCK_STATE", str(self.state))
        self._set("INTERLOCK_KEYRING", "off")
        self._set("BROWSER", shlex.join(self._command))
        self._set("CODE", CODE)
        self._set("CHOICE", "allow")
        for screen in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"):
            monkeypatch.delenv(screen, raising=False)

    @property
    def count(self) -> int:
        """How many pages were opened."""
        return self._opened.read_text().count("\n") if self._opened.exists() else 0

    def denies(self) -> None:
        self._set("CHOICE", "deny")

    def signs_in_with(self, code: str) -> None:
        self._set("CODE", code)

    def takes_for_ever(self) -> None:
        """A page is opened, and nothing comes of it."""
        self._set("BROWSER", "true")

    def elsewhere(self, page: str) -> str:
        """The address that a browser on another machine ends at."""
        done = subprocess.run(
            [*self._command, page, "stay"],
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        return done.stdout.strip()

    @property
    def _command(self) -> list[str]:
        return [sys.executable, "-I", "-S", str(self._program), str(self._opened)]

    # What is kept.

    def kept(self) -> list[Login]:
        async def look() -> list[Login]:
            async with open_credentials(self.state) as credentials:
                return await credentials.list()

        return asyncio.run(look()) if self.state.exists() else []

    def ends(self, url: str) -> None:
        """Have the access token for *url* end, as far as is known here."""

        async def age() -> None:
            async with open_credentials(self.state) as credentials:
                grant = await credentials.find(url)
                assert grant is not None
                aged = msgspec.structs.replace(grant, obtained_at=1.0, expires_at=2.0)
                await credentials.keep(url, "", aged)

        asyncio.run(age())


class Program:
    """A command as a process of its own, whose lines are read as they come."""

    def __init__(self, *words: str, stdin: int | None = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "interlock", *words],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said(self, pattern: str, *, out: bool = False) -> re.Match[str]:
        """The first line of stderr, or stdout, with *pattern* in it; what comes before is lost."""
        stream = self.process.stdout if out else self.process.stderr
        assert stream is not None
        for line in stream:
            leaks.hear("what a program printed", line)
            if (found := re.search(pattern, line)) is not None:
                return found
        raise AssertionError(f"it ended without saying {pattern}")

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> Done:
        """What it exits with, and what it printed since."""
        try:
            out, err = self.process.communicate(timeout=SECONDS)
        finally:
            self.process.kill()
        leaks.hear("what a program printed", out + err)
        return Done(self.process.returncode, out, err)
