"""Where the key lives that credentials are encrypted with: in the keyring of the system, or in a
file.

The file `key` says which, whatever the environment has come to since: a state that was begun with
one is opened with that one again, and a key that is gone is an error, not a new beginning.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import stat
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from interlock.auth.turns import Turns
from interlock.errors import ConfigError

T = TypeVar("T")

FILE: Final = "key"
DATABASE: Final = "credentials.db"
VARIABLE: Final = "INTERLOCK_KEYRING"
SERVICE: Final = "interlock"
"""Under which name the keyring has our keys; each has an account of its own."""
KEY_BYTES: Final = 32
PROBE_SECONDS: Final = 5.0
"""How long to look for a keyring: one that answers late is none."""
PERSON_SECONDS: Final = 30.0
"""How long a keyring may take: it may ask a person to unlock it."""
_SIZE_LIMIT: Final = 4096
_PLAINLY: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_PLAIN: Final = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")
"""Where backends live that keep nothing, or keep it for everybody to read."""


class Key(Struct, frozen=True):
    """A key, and where it lives, in words for a person: "key in …"."""

    secret: bytes
    place: str

    def __repr__(self) -> str:
        return f"Key({self.place!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("place", self.place)]


class InFile(Struct, frozen=True, tag_field="kind", tag="file"):
    """The key itself. *why* is why it is in no keyring."""

    key: bytes
    why: str

    def __repr__(self) -> str:
        return "InFile(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class InKeyring(Struct, frozen=True, tag_field="kind", tag="keyring"):
    """Where a keyring has the key. *keyring* is its name in words."""

    service: str
    account: str
    keyring: str


_written: Final = msgspec.json.Decoder(InFile | InKeyring)


async def unlock(
    folder: Path,
    environ: Mapping[str, str],
    turns: Turns,
    *,
    probe: float = PROBE_SECONDS,
    patience: float = PERSON_SECONDS,
) -> Key:
    """The key of the credentials in *folder*, made if nothing has been kept there yet.

    `INTERLOCK_KEYRING` in *environ* says "on" (in a keyring or nowhere) or "off" (no keyring is so
    much as looked for); without a word a keyring is taken if there is one. *probe* and *patience*
    are the seconds given to a keyring, to be found and to answer. Raises `ConfigError` if the key
    cannot be had: the text says what that means, and what to do.
    """
    wish = environ.get(VARIABLE, "").strip().lower()
    if wish not in ("", "on", "off"):
        raise ConfigError(f'{VARIABLE} is {wish[:40]!r}; "on", "off" or nothing is expected')
    own(folder)
    found = _read(folder)
    if found is None:
        # Of several who begin at once one makes the key, and the others find it.
        async with turns.turn(FILE):
            found = _read(folder)
            if found is None:
                if (folder / DATABASE).exists():
                    raise ConfigError(
                        f"{folder / FILE} is gone, and {folder / DATABASE} cannot be read without "
                        f"it: remove {folder / DATABASE} and log in again"
                    )
                return await _made(folder, wish, probe, patience)
    return await _opened(found, folder, wish, probe, patience)


def own(folder: Path) -> None:
    """Make *folder* for this user alone; refuse one that others can put files into."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot hold credentials: {error.strerror or error}; INTERLOCK_STATE names "
            "another folder"
        ) from None
    if os.name == "nt":
        return  # Who may do what is inherited there, and the default folder is the user's own.
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"{folder} belongs to somebody else (user {found.st_uid}), who could read or replace "
            "credentials in it; INTERLOCK_STATE names a folder of your own"
        )
    if found.st_mode & 0o022:
        raise ConfigError(
            f"{folder} can be written by others, who could replace credentials in it: "
            f"chmod 700 {folder}"
        )


async def _made(folder: Path, wish: str, probe: float, patience: float) -> Key:
    secret = os.urandom(KEY_BYTES)
    why = f"{VARIABLE} was off"
    if wish != "off":
        try:
            kept = await _kept(secret, probe, patience)
        except _NoKeyring as error:
            if wish == "on":
                raise ConfigError(
                    f"{VARIABLE} is on, but {error}: credentials are not kept. Start or unlock a "
                    f"keyring, or unset {VARIABLE} for a key in a file"
                ) from None
            why = str(error)
        else:
            _write(folder, kept)
            return Key(secret, _in_keyring(kept))
    _write(folder, InFile(secret, why))
    return Key(secret, _in_file(folder, why))


async def _opened(
    found: InFile | InKeyring, folder: Path, wish: str, probe: float, patience: float
) -> Key:
    again = f"remove {folder / FILE} and {folder / DATABASE}, and log in again"
    if isinstance(found, InFile):
        if wish == "on":
            raise ConfigError(
                f"{VARIABLE} is on, but the key of these credentials is in {folder / FILE}: unset "
                f"it, or {again}"
            )
        if len(found.key) != KEY_BYTES:
            raise ConfigError(f"{folder / FILE} holds no key of {KEY_BYTES} bytes: {again}")
        return Key(found.key, _in_file(folder, found.why))
    if wish == "off":
        raise ConfigError(
            f"{VARIABLE} is off, but the key of these credentials is in the keyring of "
            f"{found.keyring}: unset it, or {again}"
        )
    try:
        secret = await _fetched(found, probe, patience)
    except _NoKeyring as error:
        raise ConfigError(
            f"The key of the credentials in {folder} is in the keyring of {found.keyring}, but "
            f"{error}. Start or unlock that keyring; if it is lost, so are they: {again}"
        ) from None
    if secret is None:
        raise ConfigError(
            f"The key of the credentials in {folder} is gone from the keyring of {found.keyring}, "
            f"and without it they cannot be read: {again}"
        )
    return Key(secret, _in_keyring(found))


def _in_file(folder: Path, why: str) -> str:
    mode = "" if os.name == "nt" else " (mode 0600)"
    return f"key in {folder / FILE}{mode}, as {why}"


def _in_keyring(found: InKeyring) -> str:
    return f"key in the keyring of {found.keyring}"


def _read(folder: Path) -> InFile | InKeyring | None:
    path = folder / FILE
    try:
        # Without waiting: what stands there may be no file.
        file = os.open(path, os.O_RDONLY | _PLAINLY)
        try:
            _only_ours(path, os.fstat(file))
            data = os.read(file, _SIZE_LIMIT)
        finally:
            os.close(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror or error}. A file of your own, of mode 0600, "
            "is expected"
        ) from None
    try:
        return _written.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(
            f"{path} is damaged, and without it {folder / DATABASE} cannot be read: remove both "
            "and log in again"
        ) from None


def _only_ours(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is no file: a key is expected there")
    if os.name == "nt":
        return
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to somebody else (user {found.st_uid}), who knows the key in it: "
            f"remove it and {DATABASE} beside it, and log in again"
        )
    if found.st_mode & 0o077:
        raise ConfigError(
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, so that others may know the key "
            f"in it: chmod 600 {path}; or, if others use this machine, remove it and {DATABASE} "
            "beside it, and log in again"
        )


def _write(folder: Path, what: InFile | InKeyring) -> None:
    """Write the file whole or not at all, whatever happens meanwhile."""
    path, new = folder / FILE, folder / f"{FILE}.new"
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()  # Of somebody who died at it: who writes has the turn.
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as opened:
            opened.write(msgspec.json.encode(what))
            opened.flush()
            os.fsync(file)
        new.replace(path)
        if os.name != "nt":
            beside = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(beside)
            finally:
                os.close(beside)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None


# The keyring.


class _NoKeyring(Exception):
    """A keyring cannot be used now; the text says why."""


async def _kept(secret: bytes, probe: float, patience: float) -> InKeyring:
    """A place in a keyring that has *secret* from now on."""
    backends = await _within(probe, _backends)
    if not backends:
        raise _NoKeyring("no keyring was found")
    backend = backends[0]
    found = InKeyring(SERVICE, f"credentials {os.urandom(8).hex()}", _named(backend))
    text = base64.b64encode(secret).decode()

    def keep() -> bool:
        backend.set_password(found.service, found.account, text)
        # Some take what they do not keep.
        return backend.get_password(found.service, found.account) == text

    if not await _within(patience, keep):
        raise _NoKeyring(f"the keyring of {found.keyring} does not keep what it is given")
    return found


async def _fetched(found: InKeyring, probe: float, patience: float) -> bytes | None:
    backends = await _within(probe, _backends)
    if not backends:
        raise _NoKeyring("no keyring was found")

    def fetch() -> str | None:
        for backend in backends:
            text = backend.get_password(found.service, found.account)
            if text is not None:
                return text
        return None

    text = await _within(patience, fetch)
    try:
        secret = base64.b64decode(text or "", validate=True)
    except ValueError:
        return None
    return secret if len(secret) == KEY_BYTES else None


def _backends() -> list[Any]:
    """The keyrings that keep secrets as secrets, best first. Looking may take long, or for ever."""
    import keyring
    from keyring.backends.chainer import ChainerBackend

    chosen: Any = keyring.get_keyring()
    # The chain of all that there are would have plain files in it, where they are installed.
    backends: list[Any] = chosen.backends if isinstance(chosen, ChainerBackend) else [chosen]
    return [each for each in backends if _keeps_secrets(each)]


def _keeps_secrets(backend: Any) -> bool:
    room = type(backend).__module__
    plain = any(room == each or room.startswith(each + ".") for each in _PLAIN)
    return not plain and "plain" not in type(backend).__name__.lower() and backend.priority > 0


def _named(backend: Any) -> str:
    # "SecretService Keyring": the service of the desktop, and a word that says nothing more.
    return str(backend.name).removesuffix(" Keyring")


async def _within(seconds: float, work: Callable[[], T]) -> T:
    """What *work* gives, done in a thread of its own, which is left alone if it takes too long."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:
            # The top of a thread, and what backends raise is of any kind. Its text stays here: it
            # may quote what was to be kept.
            done.set_exception(_NoKeyring(f"the keyring failed ({type(error).__name__})"))

    # A daemon: a program may end though a keyring never answers.
    threading.Thread(target=run, name="interlock-keyring", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(done)
    except TimeoutError:
        raise _NoKeyring(f"the keyring did not answer within {seconds:g} seconds") from None
