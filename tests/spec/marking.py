"""How a test says which requirements it tests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.spec.requirements import REQUIREMENTS

MARK = "requirement"
STDIO, HTTP = "stdio", "http"


def requirement(
    *ids: str, revisions: Sequence[str] | None = None, over: Sequence[str] = (STDIO, HTTP)
) -> pytest.MarkDecorator:
    """Mark a test with the rows of the table that it tests.

    A test that takes a `way` runs once for each revision that all of its rows hold for, or those
    of *revisions*, and each transport of *over*. In this folder its docstring says what is required
    and has a link of each row; elsewhere its name says it.
    """
    strangers = [name for name in ids if name not in REQUIREMENTS]
    if strangers or not ids:
        raise ValueError(f"{strangers or 'nothing'} is no row of tests/spec/requirements.py")
    if revisions is None:
        revisions = [
            date
            for date in REQUIREMENTS[ids[0]].revisions
            if all(date in REQUIREMENTS[name].revisions for name in ids)
        ]
    return pytest.mark.requirement(ids=ids, revisions=tuple(revisions), over=tuple(over))
