"""What `import interlock` costs: whoever only serves must not load what only others need."""

from __future__ import annotations

import subprocess
import sys

MODULES = 239
HEAVY = {
    "aiohttp",
    "click",
    "httptools",
    "jsonschema_rs",
    "opentelemetry",
    "pydantic",
    "pydantic_core",
    "rich",
    "sqlite3",
    "uvicorn",
    "uvloop",
    "yaml",
}


def loaded_by(program: str) -> set[str]:
    """The modules that are loaded when *program* has run in a fresh interpreter."""
    # Printed plainly: a library to write it with would be among them.
    report = f"{program}\nimport sys\nprint(*sys.modules)"
    # Isolated: neither the environment nor what a site hooks in counts as ours.
    done = subprocess.run(
        [sys.executable, "-I", "-c", report], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_loads_few_modules_and_no_heavy_library():
    loaded = loaded_by("import interlock")
    assert len(loaded) <= MODULES
    assert not HEAVY & loaded


def test_a_server_loads_no_client():
    loaded = loaded_by("from interlock import Context, Server, ToolError, run")
    assert not {name for name in loaded if name.startswith("interlock.client")}
    assert "interlock.client.client" in loaded_by("from interlock import Client")


def test_the_command_line_serves_a_file_without_what_its_other_commands_need():
    loaded = loaded_by("import interlock.cli.main, interlock.cli.run")
    assert not (HEAVY - {"click"} | {"ctypes"}) & loaded
    assert not {name for name in loaded if name.startswith(("interlock.client", "interlock.gat"))}


def test_importing_leaves_collections_as_they_were():
    print_state = "sys.stdout.write(f'{gc.isenabled()} {gc.get_freeze_count() > 1000} ')"
    for before, after in [
        ("pass", {"True", "False"}),
        ("gc.disable()", {"False"}),
        ("gc.freeze()", {"True"}),
    ]:
        said = loaded_by(f"import gc, sys; {before}; import interlock; {print_state}")
        assert said & {"True", "False"} == after


def test_declaring_a_server_and_using_it_in_process_loads_no_more_of_them():
    program = """
import asyncio, interlock
server = interlock.Server("s")
@server.tool
async def add(a: int, b: int = 2) -> dict[str, int]: return {"sum": a + b}
async def main():
    async with interlock.Client(server) as client:
        assert (await client.call_tool("add", {"a": 1})).structured == {"sum": 3}
asyncio.run(main())
"""
    assert not HEAVY & loaded_by(program)
