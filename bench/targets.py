"""What is measured: each server, how it is started, and the environments it is started from.

All Python servers run on one version of CPython, the one the peers were built with.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
SERVERS = HERE / "servers"
PEERS = Path(os.environ.get("BENCH_PEERS", PROJECT / ".peers"))


@dataclass(frozen=True)
class Target:
    key: str
    label: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    stdio: bool = True

    def http(self, port: int, tools: int) -> list[str]:
        return [*self.command, "--http", str(port), "--tools", str(tools)]


def targets() -> list[Target]:
    """The servers to compare, ours first; says what to do where one is not built."""
    mcp = python("mcp2")
    fastmcp = python("fastmcp")
    ours = own_python(mcp)
    node = PEERS / "node"
    server = json.loads(
        (node / "node_modules/@modelcontextprotocol/server/package.json").read_text()
    )
    return [
        Target(
            "interlock",
            f"interlock {version(ours, 'interlock')}",
            (ours, str(SERVERS / "ours.py")),
        ),
        Target("mcp", f"mcp {version(mcp, 'mcp')}", (mcp, str(SERVERS / "python_sdk.py"))),
        Target(
            "fastmcp",
            f"fastmcp {version(fastmcp, 'fastmcp')}",
            (fastmcp, str(SERVERS / "fastmcp_server.py")),
        ),
        Target(
            "typescript",
            f"TypeScript {server['version']}",
            (node_program(node), str(SERVERS / "typescript_sdk.mjs")),
            {"BENCH_NODE": str(node)},
        ),
        Target("bare", "bare uvicorn", (ours, str(SERVERS / "bare.py")), stdio=False),
    ]


def gateway(target: Target, config: Path, port: int) -> list[str]:
    """The command of our gateway in the environment of our server."""
    program = str(Path(target.command[0]).with_name("interlock"))
    return [program, "up", "--config", str(config), "--port", str(port)]


def configuration(target: Target, tools: int) -> str:
    program, *arguments = target.command
    entry = {"command": program, "args": [*arguments, "--tools", str(tools)]}
    return json.dumps({"mcpServers": {"bench": entry}})


def python(name: str) -> str:
    program = PEERS / name / "bin/python"
    if not program.exists():
        sys.exit(f"expected the environment .peers/{name}, found none; `make bench` builds it")
    return str(program)


def own_python(peer: str) -> str:
    """The environment of this package on the same CPython as the peers; built if it is missing."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2], sys._base_executable)"
    minor, interpreter = said(peer, ask).split(" ", 1)
    folder = PROJECT / f".venv-{minor}"
    subprocess.run([PROJECT / ".ci/venv", folder.name, interpreter, "test"], check=True)
    return str(folder / "bin/python")


def node_program(folder: Path) -> str:
    own = folder / "bin/node"
    return str(own) if own.exists() else "node"


def version(program: str, package: str) -> str:
    return said(program, f"from importlib.metadata import version; print(version({package!r}))")


def said(program: str, code: str) -> str:
    done = subprocess.run([program, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def setting() -> str:
    """What the runs stand on, for the head of the report."""
    cpython = said(python("mcp2"), "import platform; print(platform.python_version())")
    node = node_program(PEERS / "node")
    node_version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True)
    return f"CPython {cpython}, Node {node_version.stdout.strip()[1:]}"
