"""Where a client connects: a URL, a command, or a service in this process."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

from msgspec import Struct, field

from interlock.errors import ConfigError
from interlock.protocol.call import Service


class Url(Struct, frozen=True):
    """A Streamable HTTP endpoint, and headers for every request to it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

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


Target: TypeAlias = Url | Command | Service | str | Sequence[str]


def read_target(target: Target) -> Url | Command | Service:
    """What *target* means.

    A string with `http(s)://` is a URL, one that ends in `.py` a Python file, any other a command
    line, split as a shell would but never given to one. A list is a command and its arguments.
    """
    if isinstance(target, str):
        if "://" in target:
            parts = urlsplit(target)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigError(f"{target!r} is no URL of a server: http:// or https:// expected")
            return Url(target)
        if target.endswith(".py") and Path(target).is_file():
            return Command(sys.executable, [target])
        words = shlex.split(target)
        if not words:
            raise ConfigError("An empty string is no target: give a URL, a command, or a server")
        return Command(words[0], words[1:])
    if isinstance(target, (list, tuple)):
        words = cast("Sequence[Any]", target)
        if not words or not all(isinstance(word, str) for word in words):
            raise ConfigError(f"A command is a list of strings, not {target!r}")
        return Command(target[0], target[1:])
    if isinstance(target, (Url, Command)):
        return target
    if callable(getattr(target, "handle", None)):
        return target  # type: ignore[return-value]
    raise ConfigError(
        f"{type(target).__name__} is no target: give a URL, a command as a list, or a Server"
    )
