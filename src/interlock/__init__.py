"""The Model Context Protocol: write servers, use them, and run many behind one door."""

import gc
import typing

# Importing makes tens of thousands of objects and no garbage. To look for some is a tenth of the
# time it takes, so what it made counts as looked through.
_collecting = gc.isenabled()
gc.disable()
try:
    from interlock.errors import RpcError, ToolError
    from interlock.server.context import Context
    from interlock.server.run import run
    from interlock.server.server import Server
    from interlock.version import VERSION as __version__  # noqa: N811  the name packages have for it
finally:
    if _collecting:
        if gc.get_freeze_count() < 1000:  # or somebody froze what there was: 3.12 does a few itself
            gc.freeze()
            gc.unfreeze()  # into the oldest generation
        gc.enable()

if typing.TYPE_CHECKING:
    from interlock.client.client import Client

__all__ = ["Client", "Context", "RpcError", "Server", "ToolError", "__version__", "run"]


def __getattr__(name: str) -> object:
    # A server is started by whoever waits for it, and needs no client (docs/decisions/lazy-client.md).
    if name != "Client":
        raise AttributeError(f"module 'interlock' has no attribute {name!r}")
    from interlock.client.client import Client

    globals()["Client"] = Client
    return Client
