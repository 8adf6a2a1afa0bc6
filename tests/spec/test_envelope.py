"""Section 1: the envelope, `_meta`, error codes and trace context."""

from __future__ import annotations

from tests.spec.marking import requirement
from tests.spec.scripts import Script, meet
from tests.spec.ways import Way

from interlock import Server


def kitchen() -> Server:
    server = Server("kitchen", version="1")

    @server.tool
    async def echo(text: str = "") -> str:
        return text

    return server


@requirement("RPC-04")
async def test_a_response_repeats_the_id_with_its_type(way: Way):
    """A response repeats the id with its type and has either a result or an error; only where the
    id was illegible may an error lack it.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(kitchen()) as peer:
        for number in (1, "1", 0, "", -5, 2**53, "näme"):
            answer = await peer.ask("tools/list", id=number)
            assert answer.message["id"] == number
            assert type(answer.message["id"]) is type(number)
            assert ("result" in answer.message) != ("error" in answer.message)


@requirement("META-05")
async def test_every_request_of_a_client_says_version_capabilities_and_who_asks(way: Way):
    """Every request of a client carries its protocol version and its capabilities, and should say
    who it is.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    script = Script(way.revision)
    async with meet(way, script) as client:
        await client.call_tool("tool")
        await client.list_tools()
    for heard in script.heard:
        assert heard.meta["io.modelcontextprotocol/protocolVersion"] == way.revision
        assert isinstance(heard.meta["io.modelcontextprotocol/clientCapabilities"], dict)
        assert heard.meta["io.modelcontextprotocol/clientInfo"]["name"] == "interlock"
