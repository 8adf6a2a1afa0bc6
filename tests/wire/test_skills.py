"""Promises of wire/skills: the names and URIs of SEP-2640."""

from __future__ import annotations

import msgspec
import pytest

from interlock.wire.jsonrpc import encode
from interlock.wire.skills import Skill, SkillFile, is_name, name_in, root_of


@pytest.mark.parametrize("name", ["a", "0", "git-workflow", "a1-b2", "x" * 64])
def test_names_are_small_letters_digits_and_single_hyphens(name: str):
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", "A", "-a", "a-", "a--b", "a_b", "a b", "ä", "a/b", ".", "..", "x" * 65, "a\n"]
)
def test_anything_else_is_no_name(name: str):
    assert not is_name(name)


@pytest.mark.parametrize(
    ("uri", "root", "name"),
    [
        ("skill://git-workflow/SKILL.md", "skill://git-workflow", "git-workflow"),
        ("skill://acme/billing/refunds/SKILL.md", "skill://acme/billing/refunds", "refunds"),
        ("github://o/r/skills/x/SKILL.md", "github://o/r/skills/x", "x"),
        ("skill://x/skill.md", None, None),
        ("skill://x/SKILL.md/", None, None),
        ("skill://SKILL.md", None, None),
        ("SKILL.md", None, None),
        ("x/SKILL.md", None, None),
    ],
)
def test_a_skill_is_named_by_the_uri_of_its_skill_md(uri: str, root: str | None, name: str | None):
    assert root_of(uri) == root
    assert name_in(uri) == name


def test_an_entry_names_its_files_or_says_that_they_are_dynamic():
    file = SkillFile(uri="skill://x/SKILL.md", digest="sha256:" + "0" * 64, size=0)
    for resources in ([file], "dynamic"):
        skill = Skill(uri=file.uri, frontmatter={"name": "x", "y": None}, resources=resources)  # type: ignore[arg-type]
        assert msgspec.json.decode(encode(skill), type=Skill) == skill
        assert msgspec.json.decode(encode(skill))["frontmatter"] == {"name": "x", "y": None}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"uri": "x", "frontmatter": {}, "resources": "static"}, Skill)
