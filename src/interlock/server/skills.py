"""The skills a server offers: listed, described, and their files given as resources.

What stands in their folders may change while the server runs: it is looked at again, at most once
a second, before a list or an entry is given. A file that changed in between is noticed by whoever
reads it, because its digest is not the one announced.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from interlock.errors import INVALID_PARAMS, RegistrationError, RpcError
from interlock.protocol.call import Call, Handler
from interlock.server.folders import SCHEME, BadSkill, File, Folder, Found, Seen
from interlock.server.resources import FunctionResource, FunctionTemplate, Resources
from interlock.server.shelf import Shelf
from interlock.server.threads import Threads
from interlock.wire.content import ResourceContents
from interlock.wire.meta import CacheHints, Result
from interlock.wire.resources import Resource, ResourceTemplate
from interlock.wire.skills import (
    DIRECTORY_TYPE,
    GET,
    LIST,
    READ_DIRECTORY,
    GetSkillParams,
    GetSkillResult,
    ReadResourceDirectoryParams,
    ReadResourceDirectoryResult,
    Skill,
)

log: Final = logging.getLogger("interlock.skills")

FRESH: Final = 1.0
"""Seconds for which what was seen in a folder is taken to be there still."""
SETTINGS: Final = {"directoryRead": True}


class _Offered(Struct, frozen=True):
    """A skill on the shelf."""

    listed: Skill
    files: dict[str, File]
    kept: CacheHints | None = None

    @property
    def key(self) -> str:
        return self.listed.uri


class _Watched:
    """A folder, and what was seen in it last."""

    def __init__(self, folder: Folder, seen: Seen, found: list[Found]) -> None:
        self.folder = folder
        self.seen = seen
        self.found = found


class Skills:
    """The skills of some folders, on a *shelf* of their own and among the *resources*."""

    def __init__(
        self,
        shelf: Shelf[_Offered],
        resources: Resources,
        threads: Threads,
        hints: CacheHints | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.routes: dict[str, Handler] = {
            LIST: self.list,
            GET: self.get,
            READ_DIRECTORY: self.read_directory,
        }
        self.shelf = shelf
        self._resources = resources
        self._threads = threads
        self._hints = hints
        self._clock = clock
        self._looked = clock()
        self._looking = False
        self._changed = False
        self._watched: list[_Watched] = []
        self._files: dict[str, File] = {}
        self._directories: dict[str, dict[str, Resource]] = {}
        template = ResourceTemplate(
            uri_template=SCHEME + "{+path}",
            name="skill-files",
            description="The files of the skills that skills/list names",
        )
        resources.templates.add(FunctionTemplate(self._read, template, hints))

    def offer(self, path: str | os.PathLike[str], prefix: str = "") -> None:
        """Offer what is in a folder now, and whatever will be there later.

        Raises `RegistrationError` for a folder that is none, and for the first skill in it that
        hosts would refuse; one that becomes so later is left out, and the log says why.
        """
        try:
            folder = Folder(Path(path).resolve(strict=True), prefix)
            seen = folder.look()
            found, bad = folder.scan(seen)
        except OSError as error:
            raise RegistrationError(f"{path} is no folder that can be read: {error}") from None
        except BadSkill as error:
            raise RegistrationError(str(error)) from None
        if bad:
            raise RegistrationError(str(bad[0]))
        self._watched.append(_Watched(folder, seen, found))
        self._put()

    # Answering.

    async def list(self, call: Call) -> Result:
        await self._look_again(call)
        return await self.shelf.page(call)

    async def get(self, call: Call) -> GetSkillResult:
        params = call.params
        assert isinstance(params, GetSkillParams)
        await self._look_again(call)
        skill = self.shelf.get(params.uri)
        if skill is None:
            raise RpcError(
                INVALID_PARAMS, f"No skill is served at {params.uri[:200]}", {"uri": params.uri}
            )
        hints = self.shelf.hints
        return GetSkillResult(skill=skill.listed, ttl_ms=hints.ttl_ms, cache_scope=hints.scope)

    async def read_directory(self, call: Call) -> ReadResourceDirectoryResult:
        params = call.params
        assert isinstance(params, ReadResourceDirectoryParams)
        await self._look_again(call)
        children = self._directories.get(params.uri)
        if children is None:
            raise RpcError(
                INVALID_PARAMS, f"{params.uri[:200]} is no directory here", {"uri": params.uri}
            )
        if params.cursor is not None:
            raise RpcError(INVALID_PARAMS, "Invalid cursor: a directory is given on one page")
        return ReadResourceDirectoryResult(resources=list(children.values()))

    def _read(self, path: str) -> ResourceContents | None:
        """What the file at *path* of the namespace holds; only paths that were found lead anywhere."""
        file = self._files.get(path)
        data = file.read() if file is not None else None
        if file is None or data is None:
            return None
        try:
            return ResourceContents.of(file.uri, data.decode(), file.type or None)
        except UnicodeDecodeError:
            return ResourceContents.of(file.uri, data, file.type or None)

    # Following what happens on disk.

    async def _look_again(self, call: Call) -> None:
        now = self._clock()
        if self._looking or now - self._looked < FRESH:
            return
        self._looking = True
        try:
            await self._threads.run(call, self._scan)
        finally:
            self._looking = False
            self._looked = now
        if self._changed:
            self._changed = False
            self._put()

    def _scan(self) -> None:
        for watched in self._watched:
            try:
                seen = watched.folder.look()
                if seen == watched.seen:
                    continue
                found, bad = watched.folder.scan(seen)
            except (OSError, BadSkill) as error:
                log.warning("skills in %s: %s", watched.folder.path, error)
                continue
            for each in bad:
                log.warning("not offered any more: %s", each)
            watched.seen, watched.found = seen, found
            # Kept, not returned: whoever wanted to know may have left, and the next one does too.
            self._changed = True

    def _put(self) -> None:
        """Offer what was found, and nothing else."""
        offered: dict[str, _Offered] = {}
        for watched in self._watched:
            for found in watched.found:
                uri = found.entry.uri
                if uri in offered:
                    log.warning("two folders hold %s; the first one's is offered", uri)
                    continue
                offered[uri] = _Offered(found.entry, found.files)
        before = {skill.key: skill for skill in self.shelf}
        listed = self._resources.resources
        for uri, skill in before.items():
            if offered.get(uri) != skill and listed.get(uri) is not None:
                listed.remove(uri)
        self._files = {}
        self._directories = {}
        for skill in offered.values():
            self._files |= skill.files
        for path, file in self._files.items():
            self._file(path, file, offered)
        for uri, skill in offered.items():
            if listed.get(uri) is None:
                listed.add(self._main(skill))
        if before != offered:
            self.shelf.replace(list(offered.values()))

    def _file(self, path: str, file: File, offered: dict[str, _Offered]) -> None:
        """Put a file into its directory, and each directory into the one above."""
        segments = file.uri[len(SCHEME) :].split("/")
        names = path.split("/")
        for depth in range(1, len(segments)):
            parent = SCHEME + "/".join(segments[:depth])
            uri = SCHEME + "/".join(segments[: depth + 1])
            children = self._directories.setdefault(parent, {})
            if uri in children:
                continue
            if depth + 1 < len(segments):
                children[uri] = Resource(uri=uri, name=names[depth], mime_type=DIRECTORY_TYPE)
            elif uri in offered:
                children[uri] = _described(offered[uri], file)
            else:
                children[uri] = Resource(
                    uri=uri, name=names[depth], mime_type=file.type or None, size=file.size
                )

    def _main(self, skill: _Offered) -> FunctionResource:
        path, file = next((p, f) for p, f in skill.files.items() if f.uri == skill.key)

        def read_skill() -> ResourceContents | None:
            return self._read(path)

        return FunctionResource(read_skill, _described(skill, file), self._hints)


def _described(skill: _Offered, file: File) -> Resource:
    """A SKILL.md as resources are listed: under its skill's name."""
    said = skill.listed.frontmatter
    return Resource(
        uri=file.uri,
        name=said["name"],
        description=said["description"],
        mime_type=file.type,
        size=file.size,
    )
