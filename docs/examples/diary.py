from interlock import Context, Server, run
from interlock.auth.settings import AuthSettings

server = Server(
    "diary",
    auth=AuthSettings(
        issuer_url="http://127.0.0.1:4779",
        resource_server_url="http://127.0.0.1:8000/mcp",
        required_scopes=["diary:read"],
    ),
)
pages: dict[str, list[str]] = {}


@server.tool
async def read(ctx: Context) -> list[str]:
    """Read your own diary."""
    return pages.get(ctx.principal.subject, [])


@server.tool(scopes=["diary:write"], list_without_scopes=True)
async def write(text: str, ctx: Context) -> str:
    """Add a page to your own diary."""
    pages.setdefault(ctx.principal.subject, []).append(text)
    return "Written."


if __name__ == "__main__":
    run(server, "http")
