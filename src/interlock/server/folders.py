"""Folders of skills on disk: which skills they hold, what belongs to each, and what it says.

Blocking, for a thread to call. Only regular files are part of a skill: symbolic links and names
that begin with a dot are left out, so nothing outside the folder is ever given, nor what tools
and version control keep inside it.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import stat
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from msgspec import Struct

from interlock.wire import frontmatter
from interlock.wire.frontmatter import BadFrontmatter
from interlock.wire.skills import (
    BYTES,
    DESCRIPTION,
    FILES,
    SKILL_FILE,
    Skill,
    SkillFile,
    is_name,
)

SCHEME: Final = "skill://"
ALL_FILES: Final = 100_000
"""The most files a folder of skills may have, whatever they belong to."""
LEVELS: Final = 64

_PLAIN: Final = "!$&'()*+,;=-._~"
"""What stands in a URI as it is, in its first segment too (RFC 3986, reg-name)."""
_NO_LINK: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)
_FILE: Final = _NO_LINK | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_DIRECTORY: Final = _NO_LINK | getattr(os, "O_DIRECTORY", 0)

Stamp: TypeAlias = tuple[int, int, int]
"""A file's size, time of change and number: what tells that it may hold something else now."""
Seen: TypeAlias = dict[str, Stamp]
"""The files below a folder, by their path in it with slashes."""


class BadSkill(ValueError):
    """A directory that hosts would not take for a skill; the message says which and why."""


class File(Struct, frozen=True):
    """A file as its skill's entry describes it; it is at *path*, with slashes, below *top*."""

    uri: str
    top: Path
    path: str
    size: int
    digest: str
    type: str

    def read(self) -> bytes | None:
        """What it holds now; None if it is gone, or has become what is not offered."""
        try:
            descriptor = _open(self.top, self.path)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(BYTES + 1)
        finally:
            os.close(descriptor)
        return data if len(data) <= BYTES else None


class Found(Struct, frozen=True):
    """One skill: its entry, and its files by their path in the namespace."""

    entry: Skill
    files: dict[str, File]


class Folder:
    """A folder that holds skills at any depth, or is one; *prefix* goes before their paths."""

    def __init__(self, path: Path, prefix: str = "") -> None:
        self.path = path
        self._prefix = [part for part in prefix.split("/") if part]
        if {".", ".."} & set(self._prefix):
            raise BadSkill(f"{prefix!r} goes before paths, and cannot lead elsewhere")
        self._base = ""
        self._hashed: dict[tuple[str, Stamp], str] = {}

    def look(self) -> Seen:
        """What is there, without reading any of it. Raises `OSError`."""
        return dict(_walk(self.path))

    def scan(self, seen: Seen) -> tuple[list[Found], list[BadSkill]]:
        """The skills among what was *seen*, and why some directories are none."""
        found: list[Found] = []
        bad: list[BadSkill] = []
        hashed: dict[tuple[str, Stamp], str] = {}
        paths = sorted(seen)
        # A folder that is a skill itself keeps its name in the namespace.
        own = [self.path.name] if SKILL_FILE in seen else []
        self._base = "".join(f"{part}/" for part in [*self._prefix, *own])
        for path in paths:
            home, _, file = path.rpartition("/")
            if file != SKILL_FILE:
                continue
            # Everything below `home/` lies together in the order of paths.
            start = f"{home}/" if home else ""
            end = bisect_left(paths, f"{home}0") if home else len(paths)
            mine = paths[bisect_left(paths, start) : end]
            try:
                found.append(self._skill(home, {each: seen[each] for each in mine}, hashed))
            except BadSkill as error:
                bad.append(error)
        self._hashed = hashed
        return found, bad

    def _skill(self, home: str, mine: Seen, hashed: dict[tuple[str, Stamp], str]) -> Found:
        """The skill in the directory *home* of the files below it, those of nested skills too."""
        where = str(self.path / home)
        total = sum(size for size, _, _ in mine.values())
        if len(mine) > FILES or total > BYTES:
            raise BadSkill(
                f"{where} has {len(mine)} files of {total} bytes; hosts take {FILES} files of "
                f"{BYTES} bytes"
            )
        files: dict[str, File] = {}
        for path, stamp in mine.items():
            files[self._base + path] = self._file(path, stamp, hashed)
        main = files[self._base + (f"{home}/" if home else "") + SKILL_FILE]
        said = _frontmatter(main, where)
        name = main.uri.split("/")[-2]
        if said["name"] != name:
            raise BadSkill(
                f"{where}: the skill calls itself {said['name']!r}, its directory {name!r}; they "
                "must be the same"
            )
        listed = [SkillFile(uri=f.uri, digest=f.digest, size=f.size) for f in files.values()]
        return Found(Skill(uri=main.uri, frontmatter=said, resources=listed), files)

    def _file(self, path: str, stamp: Stamp, hashed: dict[tuple[str, Stamp], str]) -> File:
        where = self.path / path
        try:
            parts = (self._base + path).split("/")
            uri = SCHEME + "/".join(quote(part, safe=_PLAIN) for part in parts)
        except UnicodeEncodeError:
            raise BadSkill(f"{where}: its name is not UTF-8, so no URI can hold it") from None
        kind = "text/markdown" if path.endswith(".md") else mimetypes.guess_type(path)[0]
        size = stamp[0]
        digest = self._hashed.get((path, stamp))
        if digest is None:
            data = File(uri, self.path, path, size, "", "").read()
            if data is None or len(data) != size:
                raise BadSkill(f"{where}: it changed while it was read")
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
        hashed[path, stamp] = digest
        return File(uri, self.path, path, size, digest, kind or "")


def _open(top: Path, path: str) -> int:
    """Open a file below *top* to read it. No link on the way is followed, however new it is."""
    if os.open not in os.supports_dir_fd:  # As on Windows, where looking before is all there is.
        place = top / path
        if os.path.realpath(place) != str(place):
            raise OSError(f"{place} is behind a link")
        return os.open(place, _FILE)
    *homes, name = path.split("/")
    here = os.open(top, os.O_RDONLY)
    for step, flags in [*((home, _DIRECTORY) for home in homes), (name, _FILE)]:
        try:
            below = os.open(step, flags, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def _walk(top: Path) -> Iterator[tuple[str, Stamp]]:
    count = 0
    levels: list[tuple[str, str, int]] = [(str(top), "", 1)]
    while levels:
        place, start, depth = levels.pop()
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or entry.is_symlink():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if depth < LEVELS:
                        levels.append((entry.path, f"{start}{entry.name}/", depth + 1))
                elif entry.is_file(follow_symlinks=False):
                    count += 1
                    if count > ALL_FILES:
                        raise BadSkill(f"{top} has more than {ALL_FILES} files")
                    found = entry.stat(follow_symlinks=False)
                    yield start + entry.name, (found.st_size, found.st_mtime_ns, found.st_ino)


def _frontmatter(main: File, where: str) -> dict[str, Any]:
    try:
        said = frontmatter.read((main.read() or b"").decode())
    except UnicodeDecodeError:
        raise BadSkill(f"{where}: {SKILL_FILE} is not UTF-8") from None
    except BadFrontmatter as error:
        raise BadSkill(f"{where}: {SKILL_FILE}: {error}") from None
    name, description = said.get("name"), said.get("description")
    if not isinstance(name, str) or not is_name(name):
        raise BadSkill(
            f"{where}: a skill's name is 1 to 64 of a-z, 0-9 and single hyphens inside, got {name!r}"
        )
    if not isinstance(description, str) or not 0 < len(description) <= DESCRIPTION:
        raise BadSkill(f"{where}: a description of 1 to {DESCRIPTION} characters is needed")
    _reserved(said, where)
    return said


def _reserved(said: Mapping[str, Any], where: str) -> None:
    metadata = said.get("metadata")
    if isinstance(metadata, dict) and any(
        str(key).startswith("io.modelcontextprotocol/")  # pyright: ignore[reportUnknownArgumentType]  keys are strings
        for key in metadata  # pyright: ignore[reportUnknownVariableType]
    ):
        raise BadSkill(f"{where}: metadata under io.modelcontextprotocol/ is the protocol's own")
