"""The operator's tools, as an MCP server of their own: the command line is a client of it."""

from __future__ import annotations

from interlock.errors import PeerError, ToolError
from interlock.gateway.gateway import Gateway
from interlock.gateway.upstream import Status
from interlock.server.server import Server
from interlock.version import VERSION
from interlock.wire.tools import ToolAnnotations

READ_ONLY = ToolAnnotations(read_only_hint=True, open_world_hint=False)


def control(gateway: Gateway) -> Server:
    """A server that shows and steers *gateway*. Whoever can call it rules over the gateway."""
    server = Server("interlock-control", version=VERSION)

    @server.tool(annotations=READ_ONLY)
    async def status() -> list[Status]:
        """List the servers behind the gateway: state, counts, cost in tokens, what happened."""
        return gateway.status()

    @server.tool
    async def restart(server_name: str, person: str = "") -> Status:
        """Restart one server, whether it runs or has failed; other servers do not notice. With a
        person, as logins name them, it is theirs if they have one of their own.
        """
        upstream = gateway.upstream(server_name, person)
        if upstream is None:
            known = ", ".join(s.name for s in gateway.status(person)) or "none"
            whose = f" of {person[:200]!r}" if person else ""
            raise ToolError(f"There is no server {server_name!r}{whose}; there are: {known}")
        try:
            await upstream.restart()
        except PeerError as error:
            raise ToolError(f"{server_name} did not start: {error}") from error
        return next(s for s in gateway.status(person) if s.name == server_name)

    return server
