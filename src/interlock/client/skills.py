"""The skills of a server, for a host that lets a model act on them.

Nothing is fetched before it is needed, and what is fetched is held against the entry it was
announced by: size, digest, and the frontmatter that a person may have approved. That shows what
changed, not whom to trust: whoever serves the files writes the entry too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import re
from typing import Any, Final

from interlock.client.client import Client
from interlock.client.listing import Listing
from interlock.client.reading import read_page, read_result
from interlock.errors import InvalidMessage, Unverified, UsageError
from interlock.wire import frontmatter
from interlock.wire.content import ResourceContents
from interlock.wire.frontmatter import BadFrontmatter
from interlock.wire.meta import PagedParams
from interlock.wire.resources import Resource
from interlock.wire.skills import (
    BYTES,
    DYNAMIC,
    EXTENSION,
    FILES,
    GET,
    LIST,
    READ_DIRECTORY,
    GetSkillParams,
    GetSkillResult,
    ReadResourceDirectoryParams,
    Skill,
    SkillFile,
    is_name,
    name_in,
    root_of,
)

log: Final = logging.getLogger("interlock.client")

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class Skills:
    """What a connected *client*'s server offers as skills.

    A skill is known by its server and its URI together: two servers may have the same URI, and one
    server several skills of one name. What they say is a stranger's text; ask before a model acts
    on it, and again when `Skill.resources` is not what was approved.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def offered(self) -> bool:
        """Whether the server said that it has skills."""
        return self._settings() is not None

    def list(self) -> Listing[Skill]:
        """The skills that the server lists, not always all it has; `await` it or iterate over it.

        Entries that no host may load are left out, and the log says why.
        """

        async def page(cursor: str | None) -> tuple[list[Skill], str | None]:
            if not self.offered:
                return [], None
            answer = await self._client.request(LIST, PagedParams(cursor=cursor))
            skills, following = read_page(answer, "skills", Skill, "skills")
            return [skill for skill in skills if _usable(skill)], following

        return Listing("skills", page)

    async def get(self, uri: str) -> Skill:
        """The entry of one skill as it is now, listed or not; raises `RpcError` if there is none."""
        self._demand()
        answer = await self._client.request(GET, GetSkillParams(uri=uri))
        skill = read_result(answer, GetSkillResult).skill
        fault = fault_of(skill)
        if skill.uri != uri:
            fault = f"it is the entry of {skill.uri[:200]}"
        if fault is not None:
            raise InvalidMessage(f"The entry of {uri} cannot be used: {fault}")
        return skill

    async def load(self, skill: Skill, *, dynamic: bool = False) -> LoadedSkill:
        """Fetch a skill's SKILL.md, and hold it against its entry.

        Raises `Unverified` if it is not what the entry says; the entry may be old then: `get`
        fetches it anew. A skill whose content the server makes up as it goes has nothing to be held
        against, and is loaded with *dynamic* only.
        """
        self._demand()
        if (fault := fault_of(skill)) is not None:
            raise UsageError(f"This entry cannot be used: {fault}")
        if skill.resources == DYNAMIC and not dynamic:
            raise Unverified(
                f"{skill.uri} is made up as it is read, and nothing of it can be verified"
            )
        loaded = LoadedSkill(self._client, skill)
        await loaded.open()
        return loaded

    def read_directory(self, uri: str) -> Listing[Resource]:
        """What a directory holds at the moment: more, perhaps, than a loaded skill may read."""
        settings = self._settings()
        if settings is None or settings.get("directoryRead") is not True:
            raise UsageError("This server does not say what its directories hold")

        async def page(cursor: str | None) -> tuple[list[Resource], str | None]:
            params = ReadResourceDirectoryParams(uri=uri, cursor=cursor)
            answer = await self._client.request(READ_DIRECTORY, params)
            return read_page(answer, "resources", Resource, "a directory's files")

        return Listing("a directory's files", page)

    def _settings(self) -> dict[str, Any] | None:
        return (self._client.capabilities.extensions or {}).get(EXTENSION)

    def _demand(self) -> None:
        if not self.offered:
            raise UsageError("This server did not say that it has skills")


class LoadedSkill:
    """A skill that a model acts on, under the entry it was loaded with; nothing else is read."""

    def __init__(self, client: Client, entry: Skill) -> None:
        self.entry = entry
        self.text = ""
        """The whole of its SKILL.md."""
        self._client = client
        self._root = root_of(entry.uri) or ""
        self._taken = 0
        self._files: dict[str, SkillFile] | None = (
            None
            if isinstance(entry.resources, str)
            else {file.uri: file for file in entry.resources}
        )

    @property
    def name(self) -> str:
        return self.entry.frontmatter["name"]

    async def open(self) -> None:
        """Fetch and verify the SKILL.md; `Skills.load` does it."""
        uri = self.entry.uri
        data = await self._fetch(uri)
        try:
            self.text = data.decode()
            said = frontmatter.read(self.text)
        except (UnicodeDecodeError, BadFrontmatter) as error:
            raise Unverified(f"{uri} has no frontmatter that can be compared: {error}") from None
        if not frontmatter.same(said, self.entry.frontmatter):
            fields = sorted(
                key
                for key in said.keys() | self.entry.frontmatter.keys()
                if key not in said
                or key not in self.entry.frontmatter
                or not frontmatter.same(said[key], self.entry.frontmatter[key])
            )
            raise Unverified(
                f"{uri} says something else of itself than its entry: {', '.join(fields)[:200]}"
            )

    async def read(self, path: str) -> bytes:
        """A file of the skill, by its URI or by its path from the SKILL.md; verified each time.

        Raises `Unverified` for one that the entry does not list, without asking the server.
        """
        return await self._fetch(path if "://" in path else f"{self._root}/{path}")

    async def _fetch(self, uri: str) -> bytes:
        file = None
        if self._files is not None:
            file = self._files.get(uri)
            if file is None:
                raise Unverified(f"{uri[:200]} is no file of the skill as it was loaded")
        elif not uri.startswith(f"{self._root}/") or "/../" in f"{uri}/":
            raise Unverified(f"{uri[:200]} is no file of the skill")
        data = _bytes(uri, (await self._client.read_resource(uri)).contents)
        if file is None:
            self._taken += len(data)
            if self._taken > BYTES:
                raise Unverified(f"{self.entry.uri} is larger than {BYTES} bytes")
            return data
        if len(data) != file.size:
            raise Unverified(f"{uri} has {len(data)} bytes, its entry says {file.size}")
        if (digest := "sha256:" + hashlib.sha256(data).hexdigest()) != file.digest:
            raise Unverified(f"{uri} has the digest {digest}, its entry says {file.digest}")
        return data


def fault_of(skill: Skill) -> str | None:
    """Why no host may load what this entry describes; None if one may."""
    root, said = root_of(skill.uri), skill.frontmatter
    if root is None:
        return f"{skill.uri[:200]!r} is not the URI of a SKILL.md"
    name, description = said.get("name"), said.get("description")
    if not isinstance(name, str) or not isinstance(description, str) or not description:
        return "its frontmatter has no name, or no description"
    if name_in(skill.uri) != name or not is_name(name):
        return f"it is called {name[:100]!r}, its directory {name_in(skill.uri)!r}"
    if isinstance(skill.resources, str):
        return None
    uris = [file.uri for file in skill.resources]
    if len(set(uris)) < len(uris) or skill.uri not in uris:
        return "its files do not name its SKILL.md, or one of them twice"
    if any(not uri.startswith(f"{root}/") or "/../" in uri for uri in uris):
        return "a file of it is outside its directory"
    if any(file.size < 0 or not _DIGEST.fullmatch(file.digest) for file in skill.resources):
        return "a file of it has no digest, or no size"
    total = sum(file.size for file in skill.resources)
    if len(uris) > FILES or total > BYTES:
        return f"it has {len(uris)} files of {total} bytes; {FILES} of {BYTES} are taken"
    return None


def _usable(skill: Skill) -> bool:
    fault = fault_of(skill)
    if fault is not None:
        log.warning("the skill %.200s is left out: %s", skill.uri, fault)
    return fault is None


def _bytes(uri: str, contents: list[ResourceContents]) -> bytes:
    if len(contents) != 1:
        raise Unverified(f"{uri} was answered with {len(contents)} files")
    (found,) = contents
    if found.text is not None:
        return found.text.encode()
    try:
        return base64.b64decode(found.blob or "", validate=True)
    except binascii.Error:
        raise Unverified(f"{uri} was answered with broken Base64") from None
