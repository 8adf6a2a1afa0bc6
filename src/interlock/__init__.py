"""The Model Context Protocol: write servers, use them, and run many behind one door."""

from interlock.client.client import Client
from interlock.errors import RpcError, ToolError
from interlock.server.context import Context
from interlock.server.run import run
from interlock.server.server import Server
from interlock.version import VERSION as __version__  # noqa: N811  the name packages have for it

__all__ = ["Client", "Context", "RpcError", "Server", "ToolError", "__version__", "run"]
