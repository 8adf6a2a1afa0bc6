"""What is measured: each server, how it is started, and the environments it is started from.

All Python servers run on one version of CPython, the one the peers were built with.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
SERVERS = HERE / "servers"
PEERS = Path(os.environ.get("BENCH_PEERS", PROJECT / ".peers"))
OLDER = "3.11"

BOTH = ("modern", "legacy")


@dataclass(frozen=True)
class Target:
    key: str
    label: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    eras: tuple[str, ...] = BOTH
    """What it speaks; it is asked in the first of these where only one is measured."""
    own: bool = False
    """Has tools of its own: asked only for the cheapest of them, in place of an echo."""
    stdio: tuple[str, ...] | None = ()
    """Further arguments for stdio; None if it does not speak it."""
    port_env: str | None = None
    web: tuple[str, ...] | None = ("--http", "{port}", "--tools", "{tools}")
    """Further arguments for HTTP; None if it does not speak it."""

    def http(self, port: int, tools: int) -> list[str]:
        more = (argument.format(port=port, tools=tools) for argument in self.web or ())
        return [*self.command, *more]

    def environment(self, port: int | None = None) -> dict[str, str]:
        more = {} if self.port_env is None or port is None else {self.port_env: str(port)}
        return {**self.env, **more}

    def pipes(self) -> list[str]:
        return [*self.command, *(self.stdio or ())]


def targets(home: Path) -> list[Target]:
    """The servers to compare, ours first; those that ship compiled get *home*, an empty folder."""
    mcp, mcp1, fastmcp = python("mcp2"), python("mcp1"), python("fastmcp")
    ours = own_python(mcp)
    node = PEERS / "node"
    script = (ours, str(SERVERS / "ours.py"))
    own = Target("interlock", "Interlock", script)
    on_uvicorn = (
        *(("--server", "uvicorn") if knows(ours, "server") else ()),
        *("--http", "{port}", "--tools", "{tools}"),
    )
    found = [own]
    if knows(ours, "server"):
        label = "Interlock on uvicorn"
        found.append(Target("uvicorn", label, script, stdio=None, web=on_uvicorn))
    return [
        *found,
        Target("mcp", f"mcp {version(mcp, 'mcp')}", (mcp, str(SERVERS / "python_sdk.py"))),
        Target(
            "mcp1",
            f"mcp {version(mcp1, 'mcp')}",
            (mcp1, str(SERVERS / "python_sdk_v1.py")),
            eras=("legacy",),
        ),
        Target(
            "fastmcp",
            f"FastMCP {version(fastmcp, 'fastmcp')}",
            (fastmcp, str(SERVERS / "fastmcp_server.py")),
        ),
        Target(
            "typescript",
            f"TypeScript {npm_version('server')}",
            (node_program(node), str(SERVERS / "typescript_sdk.mjs")),
            {"BENCH_NODE": str(node)},
        ),
        Target(
            "typescript1",
            f"TypeScript {npm_version('sdk')}",
            (node_program(node), str(SERVERS / "typescript_sdk_v1.mjs")),
            {"BENCH_NODE": str(node)},
            eras=("legacy",),
        ),
        *compiled(home),
        Target(
            "bare-uvicorn",
            "bare uvicorn",
            (ours, str(SERVERS / "bare.py")),
            eras=("modern",),
            stdio=None,
        ),
        Target(
            "bare-protocol",
            "bare protocol",
            (ours, str(SERVERS / "bare_protocol.py")),
            eras=("modern",),
            stdio=None,
        ),
        Target(
            "bare-pipe",
            "bare pipe loop",
            (ours, str(SERVERS / "bare_pipe.py")),
            eras=("modern",),
            web=None,
        ),
    ]


def compiled(home: Path) -> list[Target]:
    """The Rust and Go servers that npm ships; none where they were not compiled for."""
    folder = PEERS / "compiled/node_modules"
    rust = folder / "@temporal-cortex/cortex-mcp-linux-x64/bin/cortex-mcp"
    go = folder / "mcp-time-linux-x64/bin/mcp-time"
    if not rust.exists() or not go.exists():
        return []
    env = {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return [
        Target(
            "rmcp",
            "rmcp 1.1 (Rust)",
            (str(rust),),
            env,
            eras=("legacy",),
            own=True,
            port_env="HTTP_PORT",
            web=(),
        ),
        Target(
            "mcp-go",
            "mcp-go (Go)",
            (str(go),),
            env,
            eras=("legacy",),
            own=True,
            web=("-t", "stream", "--address", "http://127.0.0.1:{port}/mcp"),
        ),
    ]


def older_targets() -> list[Target]:
    """The same servers on the oldest CPython that is served, as far as they are built for it."""
    folder = PROJECT / f".venv-{OLDER}"
    peer = PEERS / f"mcp2-{OLDER}/bin/python"
    if not peer.exists() or not same_minor(str(peer), OLDER):
        return []
    ours = own_python(str(peer))
    assert Path(ours).parent.parent == folder
    bare = ("modern",)
    return [
        Target("interlock", "Interlock", (ours, str(SERVERS / "ours.py"))),
        Target(
            "mcp", f"mcp {version(str(peer), 'mcp')}", (str(peer), str(SERVERS / "python_sdk.py"))
        ),
        Target(
            "bare-protocol",
            "bare protocol",
            (ours, str(SERVERS / "bare_protocol.py")),
            eras=bare,
            stdio=None,
        ),
        Target(
            "bare-pipe",
            "bare pipe loop",
            (ours, str(SERVERS / "bare_pipe.py")),
            eras=bare,
            web=None,
        ),
    ]


def gateway(ours: Target, config: Path, port: int) -> list[str]:
    """The command of our gateway in the environment of our server."""
    program = str(Path(ours.command[0]).with_name("interlock"))
    return [program, "up", "--config", str(config), "--port", str(port)]


def configuration(commands: Mapping[str, list[str]]) -> str:
    servers = {
        name: {"command": program, "args": arguments}
        for name, (program, *arguments) in commands.items()
    }
    return json.dumps({"mcpServers": servers})


def fastmcp_proxy(upstream: list[str], port: int) -> list[str]:
    script = str(SERVERS / "fastmcp_proxy.py")
    return [python("fastmcp"), script, "--http", str(port), "--", *upstream]


def translate() -> str | None:
    """A gateway hop that ships compiled (Rust); None where it does not."""
    program = PEERS / "translate/bin/dcc-mcp-server"
    return str(program) if program.exists() else None


def translated(program: str, upstream: list[str], port: int, home: Path) -> list[str]:
    """Its command, told to take part in nothing but the hop."""
    command = " ".join(f'"{part}"' if " " in part else part for part in upstream)
    return [
        *(program, "translate", "--stdio", command, "--port", str(port), "--no-register"),
        *("--gateway-port", "0", "--gateway-remote-port", "0", "--no-admin"),
        *("--registry-dir", str(home / "registry")),
    ]


def python(name: str) -> str:
    program = PEERS / name / "bin/python"
    if not program.exists():
        sys.exit(f"expected the environment .peers/{name}, found none; `make bench` builds it")
    return str(program)


@cache
def own_python(peer: str) -> str:
    """The environment of this package on the same CPython as a peer; built if it is missing."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2], sys._base_executable)"
    minor, interpreter = said(peer, ask).split(" ", 1)
    folder = PROJECT / f".venv-{minor}"
    subprocess.run([PROJECT / ".ci/venv", folder.name, interpreter, "test"], check=True)
    return str(folder / "bin/python")


def same_minor(program: str, minor: str) -> bool:
    return said(program, "import sys; print('%d.%d' % sys.version_info[:2])") == minor


@cache
def knows(ours: str, option: str) -> bool:
    """Whether `run` has an option: some that are measured are younger than this bench."""
    ask = f"import inspect, interlock; print({option!r} in inspect.signature(interlock.run).parameters)"
    return said(ours, ask) == "True"


def node_program(folder: Path) -> str:
    own = folder / "bin/node"
    return str(own) if own.exists() else "node"


def npm_version(package: str) -> str:
    folder = PEERS / "node/node_modules/@modelcontextprotocol" / package
    return json.loads((folder / "package.json").read_text())["version"]


@cache
def version(program: str, package: str) -> str:
    return said(program, f"from importlib.metadata import version; print(version({package!r}))")


def said(program: str, code: str) -> str:
    done = subprocess.run([program, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def cpython(program: str) -> str:
    return said(program, "import platform; print(platform.python_version())")


def versions() -> dict[str, str]:
    """What the runs stand on, for the head of the report."""
    peer = python("mcp2")
    node = subprocess.run(
        [node_program(PEERS / "node"), "--version"], check=True, capture_output=True, text=True
    )
    found = {
        "Interlock": version(own_python(peer), "interlock"),
        "CPython": cpython(peer),
        "Node": node.stdout.strip()[1:],
    }
    for package in ("uvicorn", "uvloop", "httptools", "msgspec"):
        found[package] = version(own_python(peer), package)
    if (PEERS / "translate/bin/python").exists():
        found["dcc-mcp-server"] = version(python("translate"), "dcc-mcp-server")
    return found
