"""Every example in the README is a file that runs."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from interlock import Client, Server
from interlock.cli.main import COMMANDS, commands
from interlock.gateway.config import load
from interlock.wire.inputs import ElicitParams

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "docs/examples"
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_its_code_is_that_of_the_examples():
    assert blocks("python") == [
        (EXAMPLES / "kitchen.py").read_text(),
        (EXAMPLES / "waiter.py").read_text(),
        (EXAMPLES / "diary.py").read_text(),
        (EXAMPLES / "cook.py").read_text(),
    ]
    assert blocks("json") == [(EXAMPLES / "mcp.json").read_text()]


def test_its_configuration_has_no_fault():
    config = load(EXAMPLES / "mcp.json", {})
    assert list(config.servers) == ["time", "tasks"]
    assert config.notes == ()


def test_its_commands_do_what_they_say(tmp_path: Path):
    (tmp_path / ".mcp.json").write_text((EXAMPLES / "mcp.json").read_text())
    lines = next(block for block in blocks("console") if "interlock call" in block).splitlines()
    here = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([here, os.environ["PATH"]])}
    for line in lines:
        words = shlex.split(line.removeprefix("$ "))
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), line
        assert done.stdout, line
    assert json.loads(blocks("json")[0])


def test_its_client_talks_to_its_server():
    cook = [sys.executable, "docs/examples/cook.py"]
    done = subprocess.run(cook, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "473.2\n"
    assert f"It prints `{done.stdout.strip()}`" in README


async def test_its_server_runs_by_the_command_line_too():
    command = [sys.executable, "-m", "interlock", "run", str(EXAMPLES / "kitchen.py")]
    async with Client(command) as client:
        assert (await client.call_tool("millilitres", {"cups": 1})).structured == {"result": 236.6}


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_its_waiter_asks_whatever_its_client_speaks(era: str):
    async def answer(asked: ElicitParams) -> dict[str, Any]:
        return {"dish": "curry"} if "What" in asked.message else {}

    path = EXAMPLES / "waiter.py"
    async with Client(path, revision=era, on_elicit=answer) as client:
        result = await client.call_tool("order", {"table": 4})
    assert result.text == "curry for table 4, spicy: False"


def test_its_diary_wants_to_know_who_reads_it():
    diary: Server = runpy.run_path(str(EXAMPLES / "diary.py"))["server"]
    assert diary.gate is not None
    assert diary.gate.resource == "http://127.0.0.1:8000/mcp"
    [described, *_] = diary.gate.documents.values()
    assert json.loads(described)["scopes_supported"] == ["diary:read", "diary:write"]
    assert json.loads(described)["authorization_servers"] == ["http://127.0.0.1:4779"]


def test_it_names_every_command_and_every_target_of_make():
    for name in COMMANDS:
        assert f"| `interlock {name}" in README
    targets = re.findall(r"^([a-z]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in set(targets) - {"help", "clean"}:
        assert f"| `make {target}` |" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_takes_what_it_says_each_takes(name: str):
    context = click.Context(commands)
    command = commands.get_command(context, name)
    assert command is not None
    options = {option for parameter in command.get_params(context) for option in parameter.opts}
    assert {"--json", "--debug", "--help"} <= options


def test_its_links_lead_to_files_of_this_repository():
    links = re.findall(r"\]\(([^)]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    for link in links:
        assert (ROOT / link).exists(), link
