"""The floors of the house, held by reading imports: who may import whom, and what.

The rules are functions of sources alone, so the tests below can show them broken houses.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

House: TypeAlias = dict[str, str]
"""Sources by room: `wire/sse.py`, `wire/__init__.py`."""
Rule: TypeAlias = Callable[[House], list[str]]
"""A house in, its faults out."""

FLOORS = (
    ("__main__",),
    ("cli",),
    ("scan", "reference", "console", "testing"),
    ("gateway", "compat"),
    ("__init__",),  # the public names: whoever stands above may use them as any user does
    ("server", "client"),
    ("auth",),
    ("transport", "middleware"),
    ("protocol",),
    ("wire", "store"),
    ("errors", "version"),
)
HEIGHT = {wing: -depth for depth, wings in enumerate(FLOORS) for wing in wings}

NAMES = "__init__.py"

QUIET = ("wire", "protocol", "errors")
LOUD = ("asyncio", "socket", "ssl", "threading", "subprocess")

HOME: dict[str, str | tuple[str, ...]] = {
    "aiohttp": ("transport/http/engine.py", "auth/loopback.py"),
    "click": "cli/",
    "cryptography": "protocol/sealing.py",
    "ctypes": "transport/process.py",
    "httptools": "transport/http/reader.py",
    "joserfc": "auth/jwt.py",
    "jsonschema_rs": "protocol/schema.py",
    "keyring": "auth/keeping.py",
    "msgspec": "",
    "pydantic": "server/pydantic.py",
    "pydantic_core": "server/pydantic.py",
    "rich": "cli/",
    "sqlite3": ("store/sqlite_file.py", "reference/"),
    "uvicorn": "server/web.py",
    "uvloop": "server/web.py",
    "yaml": "wire/frontmatter.py",
}
"""The one room, or folder, of each dependency; msgspec is everywhere.

What the standard library loads only for one room stands here too.
"""


class Import(NamedTuple):
    room: str
    target: str
    """A room of the house, or the top name of what is imported from outside."""
    nested: bool
    """Written inside a function."""

    @property
    def wing(self) -> str:
        return wing(self.room)


def wing(room: str) -> str:
    return room.partition("/")[0].removesuffix(".py")


def imports(house: House) -> list[Import]:
    """Every import of the house, `from package import module` and relative ones resolved."""
    return _imports(tuple(house.items()))


@cache
def _imports(rooms_and_sources: tuple[tuple[str, str], ...]) -> list[Import]:
    house = dict(rooms_and_sources)
    rooms = {dotted(room): room for room in house}
    found: list[Import] = []
    for room, source in house.items():
        tree = ast.parse(source, room)
        nested = {
            inner
            for outer in ast.walk(tree)
            if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for inner in ast.walk(outer)
        }
        folder = ["interlock", *room.split("/")[:-1]]
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = folder[: len(folder) + 1 - node.level] if node.level else []
                origin = ".".join([*above, *([node.module] if node.module else [])])
                inner = [f"{origin}.{alias.name}" for alias in node.names]
                names = [name if name in rooms else origin for name in inner]
            for name in names:
                ours = name.split(".")[0] == "interlock"
                target = rooms.get(name, name) if ours else name.split(".")[0]
                found.append(Import(room, target, node in nested))
    return list(dict.fromkeys(found))


def dotted(room: str) -> str:
    parts = ["interlock", *room.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def stairs(house: House) -> list[str]:
    """Imports that run upward or to a neighbour."""
    faults: list[str] = []
    for room, target, _ in imports(house):
        if target not in house:
            if target.startswith("interlock"):
                faults.append(f"{room} imports {target}, which is no room of this house")
            continue
        here, there = wing(room), wing(target)
        if here not in HEIGHT or there not in HEIGHT:
            faults.append(f"{room} imports {target}, and one of them stands on no floor")
        elif here != there and HEIGHT[there] > HEIGHT[here]:
            faults.append(f"{room} imports {target}, upward")
        elif here != there and HEIGHT[there] == HEIGHT[here]:
            faults.append(f"{room} imports {target}, a neighbour")
    return faults


def noises(house: House) -> list[str]:
    """Rooms without I/O that import what does I/O."""
    return [
        f"{found.room} imports {found.target}, and {found.wing} does no I/O"
        for found in imports(house)
        if found.wing in QUIET and found.target in LOUD
    ]


def strays(house: House) -> list[str]:
    """Dependencies outside their room, and those that have none."""
    faults: list[str] = []
    for room, target, _ in imports(house):
        if target in house or target.startswith("interlock"):
            continue
        home = HOME.get(target)
        if home is None and target in sys.stdlib_module_names:
            continue
        if home is None:
            faults.append(f"{room} imports {target}, a dependency without a room")
        elif not room.startswith(home):
            rooms = home if isinstance(home, str) else " and ".join(home)
            faults.append(f"{room} imports {target}, which lives in {rooms}")
    return faults


def circles(house: House) -> list[str]:
    """Rooms that import one another, directly or by way of others."""
    beneath: dict[str, list[str]] = {room: [] for room in house}
    for room, target, _ in imports(house):
        if target in house:
            beneath[room].append(target)
    faults: list[str] = []
    done: set[str] = set()

    def walk(room: str, path: list[str]) -> None:
        if room in path:
            faults.append(" imports ".join([*path[path.index(room) :], room]))
        elif room not in done:
            for target in beneath[room]:
                walk(target, [*path, room])
            done.add(room)

    for room in house:
        walk(room, [])
    return faults


def trapdoors(house: House) -> list[str]:
    """Imports inside functions that do not keep a dependency out, and imports for types only.

    The public names may have both: they keep the client out of servers.
    """
    found = imports(house)
    heavy = {room for room, target, _ in found if HOME.get(target)} | {x for x in HOME if HOME[x]}
    while more := {room for room, target, _ in found if target in heavy} - heavy:
        heavy |= more
    faults = [
        f"{room} imports {target} inside a function, which keeps no dependency out"
        for room, target, nested in found
        if nested and target not in heavy and room != NAMES
    ]
    faults += [
        f"{room} uses TYPE_CHECKING"
        for room in house
        if "TYPE_CHECKING" in house[room] and room != NAMES
    ]
    return faults


RULES: tuple[Rule, ...] = (stairs, noises, strays, circles, trapdoors)


def standing() -> House:
    top = Path(__file__).parent.parent / "src/interlock"
    return {path.relative_to(top).as_posix(): path.read_text() for path in top.rglob("*.py")}


@pytest.mark.parametrize("rule", RULES, ids=[rule.__name__ for rule in RULES])
def test_the_house_stands(rule: Rule):
    faults = rule(standing())
    assert not faults, "\n".join(faults)


SOUND: House = {
    "__init__.py": "from interlock.server.server import Server",
    "errors.py": "class Error(Exception): ...",
    "wire/__init__.py": "",
    "wire/jsonrpc.py": "import msgspec\nfrom interlock.errors import Error",
    "wire/sse.py": "from interlock.wire import jsonrpc",
    "protocol/call.py": "from interlock.wire.jsonrpc import Message",
    "transport/channel.py": "import asyncio\nfrom interlock.protocol import call",
    "transport/http/engine.py": "import aiohttp",
    "client/client.py": "def open():\n    from interlock.transport.http.engine import Engine",
    "server/server.py": "from interlock.transport.channel import Channel",
    "cli/main.py": "import click\nfrom interlock import Server",
}


def test_a_sound_house_has_no_fault():
    assert [rule(SOUND) for rule in RULES] == [[] for _ in RULES]


@pytest.mark.parametrize(
    ("rule", "room", "source", "fault"),
    [
        (
            stairs,
            "wire/sse.py",
            "from interlock.protocol.call import Call",
            "wire/sse.py imports protocol/call.py, upward",
        ),
        (
            stairs,
            "wire/sse.py",
            "from ..protocol import call",
            "wire/sse.py imports protocol/call.py, upward",
        ),
        (
            stairs,
            "server/server.py",
            "import interlock.client.client",
            "server/server.py imports client/client.py, a neighbour",
        ),
        (
            stairs,
            "server/server.py",
            "from interlock import Client",
            "server/server.py imports __init__.py, upward",
        ),
        (
            stairs,
            "attic/box.py",
            "from interlock.errors import Error",
            "attic/box.py imports errors.py, and one of them stands on no floor",
        ),
        (
            stairs,
            "wire/sse.py",
            "import interlock.wire.jsonrcp",
            "wire/sse.py imports interlock.wire.jsonrcp, which is no room of this house",
        ),
        (
            noises,
            "wire/sse.py",
            "import asyncio.streams",
            "wire/sse.py imports asyncio, and wire does no I/O",
        ),
        (
            noises,
            "protocol/call.py",
            "def f():\n    from threading import Lock",
            "protocol/call.py imports threading, and protocol does no I/O",
        ),
        (
            strays,
            "client/client.py",
            "from aiohttp import ClientSession",
            (
                "client/client.py imports aiohttp, "
                "which lives in transport/http/engine.py and auth/loopback.py"
            ),
        ),
        (
            strays,
            "gateway/gateway.py",
            "import rich.table",
            "gateway/gateway.py imports rich, which lives in cli/",
        ),
        (
            strays,
            "server/server.py",
            "import sqlite3",
            "server/server.py imports sqlite3, which lives in store/sqlite_file.py and reference/",
        ),
        (
            strays,
            "client/client.py",
            "import requests",
            "client/client.py imports requests, a dependency without a room",
        ),
        (
            circles,
            "wire/jsonrpc.py",
            "from interlock.wire.sse import Event",
            "wire/jsonrpc.py imports wire/sse.py imports wire/jsonrpc.py",
        ),
        (
            circles,
            "wire/jsonrpc.py",
            "def late():\n    from interlock.wire.sse import Event",
            "wire/jsonrpc.py imports wire/sse.py imports wire/jsonrpc.py",
        ),
        (
            trapdoors,
            "wire/sse.py",
            "def late():\n    from interlock.wire.jsonrpc import Message",
            "wire/sse.py imports wire/jsonrpc.py inside a function, which keeps no dependency out",
        ),
        (
            trapdoors,
            "wire/sse.py",
            "from typing import TYPE_CHECKING",
            "wire/sse.py uses TYPE_CHECKING",
        ),
    ],
)
def test_a_fault_is_named_with_its_room(rule: Rule, room: str, source: str, fault: str):
    assert rule({**SOUND, room: source}) == [fault]
