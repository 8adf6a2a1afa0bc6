"""The ways that requirements are tested over, and what every test of one must have."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.spec.marking import HTTP, MARK
from tests.spec.requirements import REQUIREMENTS
from tests.spec.ways import Way

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "way" not in metafunc.fixturenames:
        return
    mark = next(metafunc.definition.iter_markers(MARK)).kwargs
    ways = [
        Way(transport, revision)
        for transport in mark["over"]
        for revision in mark["revisions"]
        # What 2024-11-05 speaks over HTTP is another transport, tested by itself.
        if (transport, revision) != (HTTP, "2024-11-05")
    ]
    metafunc.parametrize("way", ways, ids=str)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    faults: dict[str, None] = {}
    for item in items:
        if HERE not in item.path.parents or not isinstance(item, pytest.Function):
            continue
        said = str(getattr(item.obj, "__doc__", ""))  # pyright: ignore[reportUnknownMemberType]
        for mark in item.iter_markers(MARK):
            for name in mark.kwargs["ids"]:
                if not any(link in said for link in REQUIREMENTS[name].links):
                    faults[f"{item.path.name}: {item.originalname} has no link of {name}"] = None
    if faults:
        raise pytest.UsageError("\n".join(faults))
