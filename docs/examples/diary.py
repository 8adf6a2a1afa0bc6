from interlock import Context, Server, run
from interlock.auth.settings import AuthSettings
from interlock.auth.verifiers import JwtVerifier

ISSUER = "http://127.0.0.1:4779"
HERE = "http://127.0.0.1:8000/mcp"

server = Server(
    "diary",
    auth=AuthSettings(
        issuer_url=ISSUER, resource_server_url=HERE, required_scopes=["diary:read"]
    ),
    token_verifier=JwtVerifier(ISSUER, HERE),
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
