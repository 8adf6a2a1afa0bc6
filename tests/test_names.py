"""The public names: nothing enters or leaves them by accident."""

from __future__ import annotations

from types import ModuleType

import pytest

import interlock

NAMES = [
    "Client",
    "Context",
    "RpcError",
    "Server",
    "ToolError",
    "__version__",
    "run",
]


def test_the_public_names_are_these_in_this_order():
    assert interlock.__all__ == NAMES
    assert sorted(NAMES) == NAMES


def test_every_public_name_is_there():
    for name in NAMES:
        assert hasattr(interlock, name), name


def test_a_name_that_there_is_not_is_none():
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        getattr(interlock, "Klient")  # noqa: B009  no checker would let it pass otherwise


def test_whatever_has_no_underscore_and_is_no_room_is_a_public_name():
    visible = {
        name
        for name, value in vars(interlock).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert visible | {"Client"} == set(NAMES) - {"__version__"}  # loaded when first taken
