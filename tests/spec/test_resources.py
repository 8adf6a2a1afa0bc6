"""§11 Resources: listed, found by template, read, watched."""

from __future__ import annotations

from itertools import product

import pytest
from tests.peers import Json
from tests.spec.asking import listed, offered, read, watch
from tests.spec.marking import requirement
from tests.spec.scripts import Refusal, Script, meet
from tests.spec.ways import Way

from interlock import Server
from interlock.errors import (
    INVALID_PARAMS,
    LEGACY_RESOURCE_NOT_FOUND,
    RegistrationError,
    ResourceNotFound,
)
from interlock.wire.content import ResourceContents
from interlock.wire.inputs import InputRequired
from interlock.wire.meta import Annotations
from interlock.wire.notices import RESOURCE_UPDATED, RESOURCES_CHANGED

OUTSIDE = [
    "../etc/passwd",
    "a/../../etc/passwd",
    "..",
    "a/%2e%2e/b",
    "%2E%2E%2Fetc",
    "..%2f..%2fetc",
    "a/..%5c..%5cb",
    "a%00.txt",
    "a\\..\\b",
]


def library() -> Server:
    server = Server("library")

    @server.resource("book://list", mime_type="text/plain")
    def titles() -> str:
        return "all"

    @server.resource("book://{title}")
    def book(title: str) -> str | None:
        return f"the book {title}" if title != "lost" else None

    return server


@requirement("RS-01")
async def test_resources_are_declared_with_what_is_told_of_them(way: Way):
    """A server with resources declares them, `subscribe` and `listChanged` each for itself.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    server = library()
    async with way.join(server) as peer:
        declared = (await offered(peer))["resources"]
        assert declared == {"subscribe": True, "listChanged": True}
        changes = await watch(peer, "book://list", lists=True)
        server.updated("book://list")
        await changes.until(lambda said: said.get("method") == RESOURCE_UPDATED)
        server.remove_resource("book://list")
        await changes.until(lambda said: said.get("method") == RESOURCES_CHANGED)
    async with way.join(Server("bare")) as peer:
        assert "resources" not in await offered(peer)


@requirement("RS-02")
async def test_resources_and_templates_are_listed_with_all_that_was_said_of_them(way: Way):
    """A resource has a URI and a name, a template a URI template and a name.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/schema/2026-07-28/schema.json
    """
    server = Server("s")
    said: Json = {"title": "T", "description": "D", "mime_type": "text/x", "meta": {"a.b/c": 1}}
    server.resource("a://b", name="one", size=3, **said)(lambda: "abc")

    @server.resource("a://{x}/c", name="many", **said)
    def of(x: str) -> str:
        return x

    common = {"title": "T", "description": "D", "mimeType": "text/x", "_meta": {"a.b/c": 1}}
    async with way.join(server) as peer:
        resource = {"uri": "a://b", "name": "one", "size": 3, **common}
        assert await listed(peer, "resources/list") == [resource]
        (template,) = await listed(peer, "resources/templates/list")
    assert template == {"uriTemplate": "a://{x}/c", "name": "many", **common}


@requirement("RS-03")
async def test_contents_are_text_or_base64_each_with_its_uri(way: Way):
    """A read gives contents with URI and text or Base64, perhaps several.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    server = Server("s")
    server.resource("a://text", mime_type="text/html")(lambda: "<p>")
    server.resource("a://blob")(lambda: b"\x00\xff")

    @server.resource("a://folder")
    def folder() -> list[ResourceContents]:
        return [ResourceContents.of("a://folder/1", "1"), ResourceContents.of("a://folder/2", b"2")]

    async with way.join(server) as peer:
        text = {"uri": "a://text", "mimeType": "text/html", "text": "<p>"}
        assert await read(peer, "a://text") == [text]
        (blob,) = await read(peer, "a://blob")
        assert (blob["uri"], blob["blob"]) == ("a://blob", "AP8=")
        assert "text" not in blob
        one, two = await read(peer, "a://folder")
        assert (one["uri"], one["text"]) == ("a://folder/1", "1")
        assert (two["uri"], two["blob"]) == ("a://folder/2", "Mg==")


@requirement("RS-04")
async def test_a_missing_resource_has_the_code_of_its_era(way: Way):
    """A resource that is not there is -32602 in the modern era, -32002 before.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    async with way.join(library()) as peer:
        for uri in ("book://lost", "other://x", "book://a/b"):
            error = (await peer.ask("resources/read", {"uri": uri})).error
            assert error["code"] == (INVALID_PARAMS if way.modern else LEGACY_RESOURCE_NOT_FOUND)
            assert error["data"] == {"uri": uri}


@requirement("RS-04")
async def test_a_client_takes_either_code_for_a_missing_resource(way: Way):
    """A resource that is not there is -32602 in the modern era, -32002 before.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    script = Script(way.revision)
    async with meet(way, script) as client:
        for code in (INVALID_PARAMS, LEGACY_RESOURCE_NOT_FOUND):
            script.answers["resources/read"] = Refusal(code, "gone", {"uri": "a://b"})
            with pytest.raises(ResourceNotFound):
                await client.read_resource("a://b")
        script.answers["resources/read"] = Refusal(LEGACY_RESOURCE_NOT_FOUND, "gone")
        with pytest.raises(ResourceNotFound):
            await client.read_resource("a://b")


@requirement("RS-05")
async def test_a_missing_resource_is_no_empty_list(way: Way):
    """A missing resource is no empty list.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    async with way.join(library()) as peer:
        answer = await peer.ask("resources/read", {"uri": "book://lost"})
    assert "result" not in answer.message


@requirement("RS-06")
async def test_a_read_may_ask_first(way: Way):
    """A read may be answered with `input_required`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    server = Server("s")

    @server.resource("a://b")
    def ask() -> InputRequired:
        return InputRequired(input_requests={"where": {"method": "roots/list", "params": {}}})

    async with way.join(server, capabilities={"roots": {}}) as peer:
        result = (await peer.ask("resources/read", {"uri": "a://b"})).result
    assert result["resultType"] == "input_required"
    assert result["inputRequests"]["where"]["method"] == "roots/list"
    assert "contents" not in result


@requirement("RS-07")
async def test_annotations_are_listed_as_they_were_given(way: Way):
    """Annotations say for whom, how important, and since when.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    server = Server("s")
    annotations = Annotations(
        audience=["user", "assistant"], priority=0.5, last_modified="2025-01-12T15:00:58Z"
    )
    server.resource("a://b", annotations=annotations)(lambda: "")
    async with way.join(server) as peer:
        (resource,) = await listed(peer, "resources/list")
    assert resource["annotations"] == {
        "audience": ["user", "assistant"],
        "priority": 0.5,
        "lastModified": "2025-01-12T15:00:58Z",
    }


@requirement("RS-08")
@pytest.mark.parametrize(
    "uri", ["", "note", "1a://b", "a b://c", "a://b c", "a://b\n", "a://é", "a:"]
)
def test_what_is_no_uri_cannot_be_registered(uri: str):
    """URIs of one's own scheme follow RFC 3986.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    with pytest.raises(RegistrationError):
        Server("s").resource(uri)(lambda: "")


@requirement("RS-09")
async def test_no_uri_leads_out_of_a_folder(way: Way):
    """URIs are validated, no path escapes its folder, and binary data is encoded.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    server = Server("s")
    reached: list[str] = []

    @server.resource("file:///srv/{+path}")
    def deep(path: str) -> str:
        reached.append(path)
        return ""

    @server.resource("flat:///srv/{path}")
    def flat(path: str) -> str:
        reached.append(path)
        return ""

    async with way.join(server) as peer:
        for scheme, path in product(("file", "flat"), OUTSIDE):
            answer = await peer.ask("resources/read", {"uri": f"{scheme}:///srv/{path}"})
            assert "error" in answer.message
        assert reached == []
        await read(peer, "file:///srv/a/b..c/d.txt")
        assert reached == ["a/b..c/d.txt"]


@requirement("RS-10")
async def test_plain_resources_come_before_templates_and_variables_are_decoded(way: Way):
    """Templates match after plain resources, and decode what they match.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    async with way.join(library()) as peer:
        assert [each["text"] for each in await read(peer, "book://list")] == ["all"]
        (found,) = await read(peer, "book://caf%C3%A9%20noir")
        assert found["text"] == "the book café noir"
        assert found["uri"] == "book://caf%C3%A9%20noir"


@requirement("RS-11")
async def test_updates_reach_who_subscribed_whether_listed_or_not(way: Way):
    """A client hears of updates of what it subscribed to, listed or not.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    server = library()
    async with way.join(server) as peer:
        changes = await watch(peer, "book://emma")
        server.updated("book://persuasion")
        server.updated("book://emma")
        told = await changes.until(lambda said: said.get("method") == RESOURCE_UPDATED)
        assert told["params"]["uri"] == "book://emma"


@requirement("RS-11", revisions=["2024-11-05", "2025-06-18", "2025-11-25"])
async def test_a_legacy_client_can_unsubscribe(way: Way):
    """A client hears of updates of what it subscribed to, listed or not.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/resources.mdx
    """
    server = library()
    async with way.join(server) as peer:
        changes = await watch(peer, "book://emma", "book://persuasion")
        assert (await peer.ask("resources/unsubscribe", {"uri": "book://emma"})).result == {}
        server.updated("book://emma")
        server.updated("book://persuasion")
        told = await changes.until(lambda said: said.get("method") == RESOURCE_UPDATED)
        assert told["params"]["uri"] == "book://persuasion"
