"""§12 and §13: prompts, and completing their arguments."""

from __future__ import annotations

from collections.abc import Mapping

from tests.peers import Json
from tests.spec.asking import listed, offered, watch
from tests.spec.marking import requirement
from tests.spec.scripts import Script, meet
from tests.spec.ways import Peer, Way

from interlock import Server
from interlock.errors import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND
from interlock.wire.content import (
    Audio,
    EmbeddedResource,
    Image,
    ResourceContents,
    ResourceLink,
    Text,
)
from interlock.wire.inputs import InputRequired
from interlock.wire.notices import PROMPTS_CHANGED
from interlock.wire.prompts import PromptMessage


def writer() -> Server:
    server = Server("writer")

    @server.prompt(title="Review", description="Review a text.")
    def review(text: str, times: int = 1) -> list[PromptMessage]:
        return [
            PromptMessage(role="user", content=Text(text=f"Review {text} {times} times.")),
            PromptMessage(role="assistant", content=Text(text="Gladly.")),
        ]

    return server


async def get(peer: Peer, name: str, **arguments: str) -> Json:
    return (await peer.ask("prompts/get", {"name": name, "arguments": arguments})).result


@requirement("PR-01")
async def test_prompts_are_declared_where_there_are_some_and_their_changes_told(way: Way):
    """A server with prompts declares them.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/prompts.mdx
    """
    server = writer()
    async with way.join(server) as peer:
        assert (await offered(peer))["prompts"] == {"listChanged": True}
        (prompt,) = await listed(peer, "prompts/list")
        assert prompt == {
            "name": "review",
            "title": "Review",
            "description": "Review a text.",
            "arguments": [{"name": "text", "required": True}, {"name": "times"}],
        }
        changes = await watch(peer, lists=True)
        server.remove_prompt("review")
        await changes.until(lambda said: said.get("method") == PROMPTS_CHANGED)
    async with way.join(Server("bare")) as peer:
        assert "prompts" not in await offered(peer)
        assert await listed(peer, "prompts/list") == []


@requirement("PR-02")
async def test_a_prompt_is_messages_of_one_block_each_made_from_strings(way: Way):
    """Arguments are strings; messages have a role and one content block.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/prompts.mdx
    """
    async with way.join(writer()) as peer:
        result = await get(peer, "review", text="it", times="3")
    assert result["description"] == "Review a text."
    assert result["messages"] == [
        {"role": "user", "content": {"type": "text", "text": "Review it 3 times."}},
        {"role": "assistant", "content": {"type": "text", "text": "Gladly."}},
    ]


@requirement("PR-02")
async def test_a_message_holds_what_the_revision_knows(way: Way):
    """Arguments are strings; messages have a role and one content block.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/prompts.mdx
    """
    server = Server("s")

    @server.prompt
    def kinds() -> list[object]:
        return [
            Image.of(b"png", "image/png"),
            EmbeddedResource(resource=ResourceContents.of("a://b", "c")),
            Audio.of(b"wav", "audio/wav"),
            ResourceLink(uri="note://2", name="two"),
        ]

    async with way.join(server) as peer:
        found = [each["content"]["type"] for each in (await get(peer, "kinds"))["messages"]]
    assert found == [
        "image",
        "resource",
        "audio" if way.revision >= "2025-03-26" else "text",
        "resource_link" if way.revision >= "2025-06-18" else "text",
    ]


@requirement("PR-03")
async def test_unknown_prompts_and_arguments_that_do_not_fit_are_invalid(way: Way):
    """An unknown prompt or a missing argument is -32602; arguments are validated.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/prompts.mdx
    """
    async with way.join(writer()) as peer:
        wrong: list[tuple[object, object]] = [
            ("none", {}),
            ("review", {}),
            ("review", {"text": "a", "times": "often"}),
            ("review", {"text": "a", "other": "b"}),
            ("review", {"text": 1}),
            ("review", []),
            (1, {}),
        ]
        for name, arguments in wrong:
            answer = await peer.ask("prompts/get", {"name": name, "arguments": arguments})
            assert answer.code == INVALID_PARAMS


@requirement("PR-03")
async def test_a_prompt_that_fails_is_an_internal_error_without_its_insides(way: Way):
    """An unknown prompt or a missing argument is -32602; arguments are validated.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/prompts.mdx
    """
    server = Server("s")

    @server.prompt
    def fail() -> str:
        raise LookupError("hunter2")

    async with way.join(server) as peer:
        error = (await peer.ask("prompts/get", {"name": "fail"})).error
    assert error["code"] == INTERNAL_ERROR
    assert "hunter2" not in str(error)


@requirement("PR-04")
async def test_a_prompt_may_ask_first(way: Way):
    """A prompt may be answered with `input_required`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/prompts.mdx
    """
    server = Server("s")

    @server.prompt
    def ask() -> InputRequired:
        return InputRequired(input_requests={"where": {"method": "roots/list", "params": {}}})

    async with way.join(server, capabilities={"roots": {}}) as peer:
        result = (await peer.ask("prompts/get", {"name": "ask"})).result
    assert result["resultType"] == "input_required"
    assert "messages" not in result


# Completion.


def completing() -> Server:
    server = writer()

    @server.resource("book://{author}/{title}")
    def book(author: str, title: str) -> str:
        return ""

    @server.completer("review", "text")
    def texts(typed: str) -> list[str]:
        return [f"{typed}{number}" for number in range(250)]

    @server.completer("book://{author}/{title}", "title")
    def titles(typed: str, known: Mapping[str, str]) -> list[str]:
        return [f"{typed} by {known.get('author', 'nobody')}"]

    return server


def about(reference: str, argument: str, value: str, **more: object) -> Json:
    uri = "{" in reference
    ref = (
        {"type": "ref/resource", "uri": reference}
        if uri
        else {"type": "ref/prompt", "name": reference}
    )
    return {"ref": ref, "argument": {"name": argument, "value": value}, **more}


@requirement("CM-01")
async def test_completion_is_declared_or_not_found(way: Way):
    """A server that completes declares it; else -32601.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/completion.mdx
    """
    async with way.join(completing()) as peer:
        assert (await offered(peer))["completions"] == {}
        answer = await peer.ask("completion/complete", about("review", "text", "a"))
        assert answer.result["completion"]["values"][0] == "a0"
    async with way.join(writer()) as peer:
        assert "completions" not in await offered(peer)
        answer = await peer.ask("completion/complete", about("review", "text", "a"))
        assert answer.code == METHOD_NOT_FOUND


@requirement("CM-02")
async def test_arguments_of_prompts_and_templates_are_completed_given_the_others(way: Way):
    """What is completed is an argument of a prompt or of a template, given the others.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/completion.mdx
    """
    template = "book://{author}/{title}"
    async with way.join(completing()) as peer:
        alone = await peer.ask("completion/complete", about(template, "title", "Em"))
        assert alone.result["completion"]["values"] == ["Em by nobody"]
        context = {"arguments": {"author": "Austen"}}
        given = await peer.ask(
            "completion/complete", about(template, "title", "Em", context=context)
        )
        assert given.result["completion"]["values"] == ["Em by Austen"]


@requirement("CM-03")
async def test_at_most_a_hundred_values_are_given_in_their_order(way: Way):
    """At most a hundred values, best first; bad references are -32602.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/completion.mdx
    """
    async with way.join(completing()) as peer:
        answer = await peer.ask("completion/complete", about("review", "text", "a"))
    assert answer.result["completion"] == {
        "values": [f"a{number}" for number in range(100)],
        "total": 250,
        "hasMore": True,
    }


@requirement("CM-03")
async def test_a_reference_to_nothing_is_invalid(way: Way):
    """At most a hundred values, best first; bad references are -32602.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/completion.mdx
    """
    text = {"name": "text", "value": ""}
    async with way.join(completing()) as peer:
        for params in (
            about("none", "text", ""),
            about("review", "none", ""),
            about("book://{none}", "none", ""),
            {"ref": {"type": "ref/other", "name": "review"}, "argument": text},
            {"ref": {"type": "ref/prompt", "name": "review"}},
            {"argument": text},
        ):
            assert (await peer.ask("completion/complete", params)).code == INVALID_PARAMS


@requirement("CM-02")
async def test_a_client_says_what_it_completes_and_what_is_known(way: Way):
    """What is completed is an argument of a prompt or of a template, given the others.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/completion.mdx
    """
    script = Script(way.revision, {"completion/complete": {"completion": {"values": ["Emma"]}}})
    async with meet(way, script) as client:
        found = await client.complete("book://{author}", "title", "E", context={"author": "A"})
    assert found.values == ["Emma"]
    sent = {
        name: value
        for name, value in script.of("completion/complete")[0].params.items()
        if name != "_meta"
    }
    assert sent == {
        "ref": {"type": "ref/resource", "uri": "book://{author}"},
        "argument": {"name": "title", "value": "E"},
        "context": {"arguments": {"author": "A"}},
    }
