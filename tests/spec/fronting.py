"""Our gateway in front of servers by script, served in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.spec.scripts import Script

from interlock.gateway.config import load
from interlock.gateway.gateway import Gateway


@asynccontextmanager
async def front(folder: Path, **upstreams: Script) -> AsyncGenerator[Gateway]:
    """A gateway over *upstreams*, each reached over HTTP under its name."""
    async with AsyncExitStack() as stack:
        servers: dict[str, object] = {}
        for name, script in upstreams.items():
            stack.push_async_callback(script.stop)
            url = await stack.enter_async_context(script.listening())
            servers[name] = {"type": "http", "url": url}
        path = folder / ".mcp.json"
        path.write_text(json.dumps({"mcpServers": servers}))
        gateway = Gateway(load(path, {}))
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        await gateway.settled(20)
        yield gateway
