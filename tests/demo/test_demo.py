"""The demo: its configuration, and its script on servers that need no download."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from interlock import Client
from interlock.gateway.config import StdioServer, load

DEMO = Path(__file__).parent.parent.parent / "demo"
STAND_IN = """
from interlock import Server

server = Server("stand-in")

@server.tool
def git_log(repo_path: str, max_count: int) -> str:
    return f"the last {max_count} of {repo_path}"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The demo's configuration, with stand-ins for what others wrote."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    servers: dict[str, dict[str, object]] = {}
    for name in ("time", "tasks", "git", "files"):
        target = f"interlock.reference.{name}" if name in ("time", "tasks") else ""
        args = ["-m", "interlock", "run", target or str(tmp_path / "stand_in.py")]
        servers[name] = {"command": sys.executable, "args": args}
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def command(config: Path, *options: str) -> list[str]:
    return [sys.executable, str(DEMO / "demo.py"), "--config", str(config), "--port", "0", *options]


def test_its_configuration_has_four_servers_and_no_fault():
    found = load(DEMO / "mcp.json", {})
    assert list(found.servers) == ["time", "tasks", "git", "files"]
    assert found.notes == ()


@pytest.mark.parametrize("name", ["time", "tasks"])
async def test_its_servers_of_ours_start_with_the_arguments_given(name: str):
    server = load(DEMO / "mcp.json", {}).servers[name]
    assert isinstance(server, StdioServer)
    module = server.args if server.args[0] == "-m" else ("-m", "interlock", *server.args)
    async with Client([sys.executable, *module]) as client:
        assert await client.list_tools()


def test_once_it_shows_the_table_the_endpoint_and_an_answer_and_exits_0(config: Path):
    done = subprocess.run(command(config, "--once"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    shown = [
        "server  state",
        "files   running",
        "Endpoint: http",
        "claude mcp add",
        "the last 3 of .",
    ]
    places = [done.stdout.index(part) for part in shown]
    assert places == sorted(places)


def test_without_a_server_that_it_needs_it_exits_1(config: Path):
    servers = json.loads(config.read_text())["mcpServers"]
    del servers["files"]
    config.write_text(json.dumps({"mcpServers": servers}))
    done = subprocess.run(command(config, "--once"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "The server files offers no tools.\n")


def test_it_serves_until_ctrl_c(config: Path):
    demo = subprocess.Popen(
        command(config),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout is not None
    try:
        for line in demo.stdout:
            if line.startswith("the last 3"):
                break
        os.killpg(demo.pid, signal.SIGINT)  # As a terminal does: to it and to the gateway.
        _, told = demo.communicate(timeout=10)
        assert (demo.returncode, told) == (0, "")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)
