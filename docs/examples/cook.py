import asyncio

from interlock import Client


async def main() -> None:
    async with Client("docs/examples/kitchen.py") as kitchen:
        print((await kitchen.call_tool("millilitres", {"cups": 2})).text)


asyncio.run(main())
