"""A server whose tool has a side effect, asks, asks again, and answers; run as a program or imported.

`python kitchen.py [legacy] [once] [http]`; over HTTP it prints its port. The side effect is a line in the file that `KITCHEN_BOOK` names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.doors import only_legacy

from interlock import Context, Server, run
from interlock.server.web import run_in_fast_loop, serve_http
from interlock.transport.http.asgi import App

DISH = {
    "type": "object",
    "properties": {"dish": {"type": "string"}},
    "required": ["dish"],
}


def a_kitchen(book: Path, *, legacy: bool = False, once: bool = False) -> Server:
    """*once* guards the side effect for workers that have to run the handler again."""
    server = Server("kitchen", middleware=[only_legacy] if legacy else [])

    def note() -> None:
        with book.open("a") as file:
            file.write("ordered\n")

    @server.tool
    async def order(ctx: Context, table: int) -> str:
        """Order something."""
        if once:
            await ctx.once("note", note)
        else:
            note()
        await ctx.report_progress(1, 3, "asking")
        dish = await ctx.elicit("Which dish?", DISH)
        if dish.content is None:
            return f"table {table}: {dish.action}"
        await ctx.report_progress(2, 3, "asking again")
        sure = await ctx.confirm(f"{dish.content['dish']} for table {table}?")
        roots = await ctx.roots()
        story = await ctx.sample(f"Praise the {dish.content['dish']}.", max_tokens=50)
        text = getattr(story.content, "text", "")
        return f"table {table}: {dish.content['dish']} {sure} {len(roots)} {text}"

    return server


if __name__ == "__main__":
    words = sys.argv[1:]
    kitchen = a_kitchen(
        Path(os.environ["KITCHEN_BOOK"]), legacy="legacy" in words, once="once" in words
    )
    if "http" in words:
        app = App(kitchen)

        def ready(port: int) -> None:
            sys.stdout.write(f"{port}\n")
            sys.stdout.flush()

        run_in_fast_loop(serve_http(app, "127.0.0.1", 0, ready))
    else:
        run(kitchen)
