"""A gateway as a process of its own, for tests that end it: `door.py FOLDER`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from interlock.gateway.config import load
from interlock.gateway.gateway import Gateway
from interlock.gateway.run import Running, serve_gateway
from interlock.server.web import run_in_fast_loop


async def main() -> None:
    folder = Path(sys.argv[1])
    gateway = Gateway(load(folder / ".mcp.json", os.environ))

    def ready(running: Running) -> None:
        sys.stdout.write(running.url + "\n")
        sys.stdout.flush()

    await serve_gateway(gateway, folder, port=0, ready=ready)


if __name__ == "__main__":
    run_in_fast_loop(main())
