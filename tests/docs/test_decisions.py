"""Each decision is listed, and each that is listed is there."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent.parent.parent / "docs/decisions"


def test_the_index_lists_each_decision_once_under_its_title():
    index = re.findall(
        r"^- \[(.+)\]\((.+\.md)\): ", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    written = {path.name for path in FOLDER.glob("*.md")} - {"README.md"}
    assert sorted(name for _, name in index) == sorted(written)
    for title, name in index:
        assert (FOLDER / name).read_text().startswith(f"# {title}\n"), name
