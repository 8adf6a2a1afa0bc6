from dataclasses import dataclass

from interlock import Context, Server, run

server = Server("waiter")


@dataclass
class Choice:
    dish: str
    spicy: bool = False


@server.tool
async def order(table: int, ctx: Context) -> str:
    """Take an order at a table."""
    choice = await ctx.elicit(f"What will it be at table {table}?", Choice)
    if choice.content is None:
        return "Nothing, then."
    if not await ctx.confirm(f"One {choice.content.dish}, is that right?"):
        return "Nothing, then."
    return f"{choice.content.dish} for table {table}, spicy: {choice.content.spicy}"


if __name__ == "__main__":
    run(server)
