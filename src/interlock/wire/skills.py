"""Skills: directories of instructions for a model, listed, described and read file by file.

The extension `io.modelcontextprotocol/skills` (SEP-2640). The files themselves are resources; what
stands in a SKILL.md is for `frontmatter`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from interlock.wire.decoding import pattern
from interlock.wire.meta import CacheableResult, PagedParams, PagedResult, Params, Result, Wire
from interlock.wire.resources import Resource

EXTENSION: Final = "io.modelcontextprotocol/skills"
LIST: Final = "skills/list"
GET: Final = "skills/get"
READ_DIRECTORY: Final = "resources/directory/read"

SKILL_FILE: Final = "SKILL.md"
DIRECTORY_TYPE: Final = "inode/directory"
DYNAMIC: Final = "dynamic"

FILES: Final = 512
"""The most files of a skill that every host takes, its SKILL.md included."""
BYTES: Final = 16 * 1024 * 1024
"""The most bytes of them together."""
DESCRIPTION: Final = 1024
"""The most characters of a description."""

_NAME: Final = pattern(r"(?!.*--)[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


class SkillFile(Wire, frozen=True):
    """A file of a skill: *digest* (`sha256:` and 64 hex digits) and *size* of its bytes."""

    uri: str
    digest: str
    size: int


class Skill(Wire):
    """A skill's entry, complete: its frontmatter as written, and every file that belongs to it.

    *uri* is that of its SKILL.md, and among the *resources*. `"dynamic"` in their place says that
    what the files hold cannot be known before.
    """

    uri: str
    frontmatter: dict[str, Any]
    resources: list[SkillFile] | Literal["dynamic"]


class ListSkillsResult(PagedResult):
    skills: list[Skill]


class GetSkillParams(Params):
    uri: str


class GetSkillResult(CacheableResult):
    skill: Skill


class ReadResourceDirectoryParams(PagedParams):
    uri: str


class ReadResourceDirectoryResult(Result):
    """The direct children; those that are directories have the type `inode/directory`."""

    resources: list[Resource]
    next_cursor: str | None = None


def is_name(text: str) -> bool:
    """Whether a skill can be called this: 1 to 64 of a-z, 0-9 and single hyphens inside."""
    return _NAME.fullmatch(text) is not None


def root_of(uri: str) -> str | None:
    """The directory of the skill whose SKILL.md this is; None if it is none."""
    root, slash, file = uri.rpartition("/")
    return root if slash and file == SKILL_FILE and "://" in root else None


def name_in(uri: str) -> str | None:
    """What the skill is called by the URI of its SKILL.md; None if that is none."""
    root = root_of(uri)
    return root.rpartition("/")[2] if root is not None else None
