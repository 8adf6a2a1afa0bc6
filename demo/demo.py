"""Four servers behind one endpoint: ours, and two that others wrote.

Usage: demo.py [--once] [--port PORT] [--config FILE]. Starts `interlock up` on demo/mcp.json, makes
one call through its endpoint and shows the answer; then serves until Ctrl-C, or with --once exits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from interlock import Client

ROOT = Path(__file__).resolve().parent.parent
CONFIG = Path("demo/mcp.json")
SERVERS = ("time", "tasks", "git", "files")
ENDPOINT = "Endpoint: "


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit after the call")
    parser.add_argument("--port", type=int, default=4777)
    parser.add_argument("--config", type=Path, default=CONFIG)
    options = parser.parse_args()
    os.chdir(ROOT)  # The paths in the configuration are relative to where it is started.
    port = options.port if free(options.port) else 0
    config = ["--config", str(options.config)]
    command = [sys.executable, "-m", "interlock", "up", *config, "--port", str(port)]
    print(f"$ interlock {' '.join(command[3:])}\n", flush=True)
    gateway = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        return shown(gateway, once=options.once)
    except KeyboardInterrupt:
        return 0  # The gateway got it too.
    finally:
        ended(gateway)


def shown(gateway: subprocess.Popen[str], *, once: bool) -> int:
    """Print what the gateway prints; once it says where it serves, use it."""
    assert gateway.stdout is not None
    url = ""
    for line in gateway.stdout:
        print(line, end="", flush=True)
        if line.startswith(ENDPOINT):
            url = line.removeprefix(ENDPOINT).strip()
        if url and not line.strip():
            faults = asyncio.run(call(url))
            if faults or once:
                return 1 if faults else 0
            url = ""
    return gateway.wait()


async def call(url: str) -> bool:
    """One call through the endpoint, as any host would make it; whether something was wrong."""
    async with Client(url) as client:
        tools = [tool.name async for tool in client.list_tools()]
        missing = [name for name in SERVERS if not any(t.startswith(f"{name}__") for t in tools)]
        arguments = {"repo_path": ".", "max_count": 3}
        print("$ interlock call git.git_log repo_path=. max_count=3\n")
        result = await client.call_tool("git__git_log", arguments)
        print(result.text.strip(), end="\n\n", flush=True)
    for name in missing:
        print(f"The server {name} offers no tools.", file=sys.stderr)
    return bool(missing) or result.is_error


def free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return True
    print(f"Port {port} is taken; another is chosen.", file=sys.stderr)
    return False


def ended(gateway: subprocess.Popen[str]) -> None:
    if gateway.poll() is None:
        gateway.send_signal(signal.SIGINT)
    try:
        gateway.wait(5)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        gateway.kill()
        gateway.wait()


if __name__ == "__main__":
    sys.exit(main())
