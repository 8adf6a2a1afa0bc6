"""Opening a page in a person's browser: which URLs are opened, and how, without any shell.

The URL comes from a server that may be hostile: what it names becomes an argument of a command on
this machine (CVE-2025-6514 was one that became a command).
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from interlock.auth.metadata import LOOPBACK

LIMIT: Final = 8 * 1024
"""The most characters a URL may have."""
GRACE_SECONDS: Final = 1.0
"""How long a command has to say that it cannot open anything; most end at once if so."""

# RFC 3986 § 2, without the apostrophe: it quotes in too many places, and %27 says the same.
_STRANGE: Final = re.compile(r"[^A-Za-z0-9\-._~:/?#\[\]@!$&()*+,;=%]")
_BEGINNING: Final = re.compile(r"(https?)://([^/?#]*)", re.IGNORECASE)
_AUTHORITY: Final = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9._\-]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?"
)
_LETTER: Final = r"(?:[A-Za-z0-9\-._~:/@!$&()*+,;=]|%[0-9A-Fa-f]{2})"
_REST: Final = re.compile(rf"(?:/{_LETTER}*)?(?:\?(?:{_LETTER}|\?)*)?(?:#(?:{_LETTER}|\?)*)?")
_HOST_LIMIT: Final = 253
_UNSHOWN: Final = re.compile(r"[^A-Za-z0-9._:\-\[\]]")
_PLAIN_WORD: Final = re.compile(r"[^%&|;<>`$\n]+")


def openable(url: str) -> str | None:
    """Why *url* is not opened, in half a sentence that quotes one letter of it at most; None if
    it is.

    https anywhere, http on this machine only, and nothing but what RFC 3986 lets a URL be: what a
    shell or a terminal would take for a command is mostly not.
    """
    if not url:
        return "it is empty"
    if len(url) > LIMIT:
        return f"it has {len(url)} characters, and at most {LIMIT} are opened"
    if strange := _STRANGE.search(url):
        return f"it contains {strange[0]!a}, which a URL can only have percent-encoded"
    beginning = _BEGINNING.match(url)
    if beginning is None:
        return "it does not begin with https://"
    scheme, authority = beginning.groups()
    if "@" in authority:
        return "it names a user in front of its host"
    named = _AUTHORITY.fullmatch(authority)
    if named is None or len(named[1]) > _HOST_LIMIT:
        return "it names no host"
    host = named[1].lower().strip("[]")
    if ":" in host and not _is_ipv6(host):
        return "it names no host"
    if named[2] is not None and not 0 < int(named[2]) < 65536:
        return "its port is none"
    if scheme.lower() == "http" and host not in LOOPBACK:
        return "it has no TLS (http), which is opened on this machine only"
    if _REST.fullmatch(url, beginning.end()) is None:
        return "its path or query is not spelled as that of a URL (RFC 3986)"
    return None


def host_of(url: str) -> str:
    """The host of a URL, with its port if it names one, fit to be shown whatever the URL is."""
    try:
        parts = urlsplit(url[:LIMIT])
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        return "(no host)"
    shown = _UNSHOWN.sub("?", host[:_HOST_LIMIT])
    if ":" in shown:
        shown = f"[{shown}]"
    return shown if port is None else f"{shown}:{port}"


def open_page(
    url: str,
    commands: Iterable[Sequence[str]] | None = None,
    *,
    grace: float = GRACE_SECONDS,
) -> bool:
    """Open *url* in the person's browser; False if it is not opened, or there is no browser.

    The first of *commands* that can be run is given the URL as an argument (in the place of its
    `%s`, else as its last); without any, `browsers` says which. It is left to itself, apart from
    our terminal. Blocks for up to *grace* seconds a command, to learn whether it gave up.
    """
    if openable(url) is not None:
        return False
    if commands is None:
        commands = browsers(os.environ, sys.platform)
    return any(_run(command, url, grace) for command in commands)


def browsers(environ: Mapping[str, str], platform: str) -> list[list[str]]:
    """The commands that may open a page, best first; none where nobody could see it.

    `BROWSER` may hold several, as is the custom, and one that needs a shell to be understood is
    passed over. The library's `webbrowser` is not used: on a Mac it writes a script for a shell.
    """
    if platform == "win32":
        # By its full name: Windows looks for a command in the current folder first.
        system = environ.get("SYSTEMROOT", r"C:\Windows")
        return [[rf"{system}\System32\rundll32.exe", "url.dll,FileProtocolHandler"]]
    found = [command for said in environ.get("BROWSER", "").split(":") if (command := _plain(said))]
    if platform == "darwin":
        found.append(["open"])
        return found
    if "WSL_DISTRO_NAME" in environ:
        found.append(["wslview"])
    # Without a screen it would start a browser for terminals, whose terminal we are.
    if environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"):
        found.append(["xdg-open"])
    return found


def _plain(said: str) -> list[str] | None:
    """A command as words, if it is one without a shell to read it."""
    try:
        words = shlex.split(said)
    except ValueError:
        return None
    # `%s` may be a word, and not part of one: `sh -c "firefox %s"` would be read by a shell again.
    plain = all(word == "%s" or _PLAIN_WORD.fullmatch(word) for word in words)
    return words if plain and words and words[0] != "%s" else None


def _run(command: Sequence[str], url: str, grace: float) -> bool:
    program = shutil.which(command[0])
    if program is None:
        return False
    words = [url if word == "%s" else word for word in command[1:]]
    if "%s" not in command:
        words.append(url)
    try:
        process = subprocess.Popen(
            [program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    try:
        return process.wait(grace) == 0
    except subprocess.TimeoutExpired:
        # It is the browser itself. Somebody has to wait for it, or it stays as a zombie.
        threading.Thread(target=process.wait, name="browser", daemon=True).start()
        return True


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
