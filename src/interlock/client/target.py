"""Where a client connects: a URL, a command, a service in this process, or a channel of one's own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from interlock.errors import ConfigError
from interlock.protocol.call import Service
from interlock.transport.channel import Channel
from interlock.transport.link import Authorization

WEBSOCKET: Final = ("ws", "wss")


class Url(Struct, frozen=True):
    """An endpoint over HTTP or WebSocket, and headers for every request to it.

    With `http(s)://` what the server speaks is found out: Streamable HTTP, or else the HTTP+SSE of
    2024, which *transport* "sse" takes for granted. `ws(s)://` is a WebSocket, outside the
    specification. *authorization* proves who we are, where headers alone do not.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    transport: Literal["http", "sse"] = "http"
    authorization: Authorization | None = None

    def __repr__(self) -> str:
        # Headers carry credentials.
        return f"Url({self.url!r})"


class Command(Struct, frozen=True):
    """A program to start and speak to over its stdin and stdout.

    *env* is added to a minimal environment, not to all of ours.
    """

    command: str
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str | None = None

    def __repr__(self) -> str:
        return f"Command({[self.command, *self.args]!r})"


Opener: TypeAlias = Callable[[], Awaitable[Channel]]
"""Opens a channel of one's own making; it is called once a connection, or twice with a server
that exits at a first message it does not know."""

Target: TypeAlias = Url | Command | Service | Opener | str | Path | Sequence[str]


def read_target(target: Target) -> Url | Command | Service | Opener:
    """What *target* means.

    A string with `http(s)://` or `ws(s)://` is a URL, any other a command line, split as a shell would but never
    given to one. A list is a command and its arguments. Where a command begins with a `.py` file,
    this Python runs it. A function is called to open a channel.
    """
    if isinstance(target, Path):
        return _command([str(target)])
    if isinstance(target, str):
        if "://" in target.partition(" ")[0]:
            return _url(target)
        return _command(_words(target))
    if isinstance(target, (list, tuple)):
        words = list(cast("Sequence[Any]", target))
        if not all(isinstance(word, str) for word in words):
            raise ConfigError(f"A command is a list of strings, not {words!r}")
        return _command(words)
    if isinstance(target, (Url, Command)):
        return target
    if callable(getattr(target, "handle", None)):
        return cast("Service", target)
    if callable(target) and not isinstance(target, type):
        return target
    raise ConfigError(
        f"{type(target).__name__} is no target: give a URL, a command as a list, or a Server"
    )


def authorized(target: Url | Command | Service | Opener, authorization: Authorization) -> Url:
    """*target* with a proof of who we are, which only servers at HTTP URLs can be shown."""
    if not isinstance(target, Url) or urlsplit(target.url).scheme in WEBSOCKET:
        raise ConfigError(
            "auth= is for a server at an http(s) URL; others are told in their own way"
        )
    if any(name.lower() == "authorization" for name in target.headers):
        raise ConfigError(
            f"{target.url} has an Authorization header already; auth= would replace it"
        )
    return msgspec.structs.replace(target, authorization=authorization)


def _url(text: str) -> Url:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https", *WEBSOCKET) and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(
            f"{text!r} is no URL of a server: http://host:port/path or https://… is expected, or "
            "ws://… for a WebSocket"
        )
    return Url(text)


def _words(line: str) -> list[str]:
    if line.endswith(".py") and _is_file(line):
        return [line]  # A path may hold spaces.
    try:
        return shlex.split(line)
    except ValueError as error:
        raise ConfigError(f"{line!r} is no command line: {error}; give it as a list") from None


def _command(words: Sequence[str]) -> Command:
    if not words or not words[0]:
        raise ConfigError("Nothing is no target: give a URL, a command, or a Server")
    if not words[0].endswith(".py"):
        return Command(words[0], words[1:])
    if not _is_file(words[0]):
        raise ConfigError(f"There is no file {words[0]!r} (looked in {Path.cwd()})")
    return Command(sys.executable, words)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:
        return False  # Too long for a name, above all.
