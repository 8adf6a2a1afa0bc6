"""§23 Gateways: whatever the two sides of one speak, each hears its own language."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.peers import MODERN, Json, soon
from tests.spec.asking import LISTS, call, listed, offered, server_info, talk, watch
from tests.spec.fronting import front
from tests.spec.marking import HTTP, STDIO, requirement
from tests.spec.scripts import LISTED, SAID, Asked, Refusal, Script
from tests.spec.ways import Peer, Way

from interlock.errors import HEADER_MISMATCH, INVALID_PARAMS, LEGACY_RESOURCE_NOT_FOUND
from interlock.wire.meta import CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL
from interlock.wire.notices import CANCELLED, MESSAGE, PROGRESS, TOOLS_CHANGED

UPSTREAM = ["2025-06-18", "2025-11-25", MODERN]
ALL: Json = {
    "tools": {"listChanged": True},
    "resources": {"listChanged": True},
    "prompts": {},
    "logging": {},
}
FORM: Json = {"type": "object", "properties": {"name": {"type": "string"}}}
ASKS: Json = {
    "method": "elicitation/create",
    "params": {"message": "Who are you?", "requestedSchema": FORM},
}

upstream = pytest.mark.parametrize("behind", UPSTREAM)


def said(text: str) -> Json:
    return {"content": [{"type": "text", "text": text}]}


def asking(script: Script) -> None:
    """Let the tool of *script* ask who is there, as its era does, and greet them."""

    async def answer(asked: Asked) -> None:
        if script.revision != MODERN:
            await asked.ask("question", ASKS["method"], ASKS["params"])
            heard = await script.hears(lambda heard: heard.id == "question")
            reply = heard.message.get("result", {})
        elif "inputResponses" not in asked.params:
            wanted: Json = {"resultType": "input_required", "inputRequests": {"who": ASKS}}
            await asked.result({**wanted, "requestState": "of upstream"})
            return
        else:
            assert asked.params["requestState"] == "of upstream"
            reply = asked.params["inputResponses"]["who"]
        await asked.result(said(f"hello {reply.get('content')}"))

    script.answers["tools/call"] = answer


@requirement("TL-04", over=[STDIO])
async def test_tools_are_told_apart_by_names_that_the_operator_gave(way: Way, tmp_path: Path):
    """Tools of several servers are told apart by names that the operator gave, not by what servers
    call themselves.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    one, two = (Script(way.revision, {"tools/call": said(name)}) for name in ("first", "second"))
    async with front(tmp_path, one=one, two=two) as gateway, way.join(gateway) as peer:
        names = [tool["name"] for tool in await listed(peer)]
        assert names == ["one__tool", "two__tool"]
        assert await call(peer, "two__tool") != await call(peer, "one__tool")
    # Both call themselves the same; nothing is named after that.
    assert (one.of("tools/call")[0].params["name"], len(two.of("tools/call"))) == ("tool", 1)


@upstream
@requirement("GW-01")
async def test_a_question_reaches_the_caller_in_its_own_era(way: Way, behind: str, tmp_path: Path):
    """Each side of a gateway has its own era, and everything is translated.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    script = Script(behind)
    asking(script)
    async with front(tmp_path, up=script) as gateway:
        async with way.join(gateway, capabilities={"elicitation": {}}) as peer:
            if way.revision < "2025-06-18":
                assert (await peer.ask("tools/call", {"name": "up__tool"})).message
                return  # It has no words for a form.
            answer = {"action": "accept", "content": {"name": "Ada"}}
            talked = await talk(peer, "up__tool", answer)
        assert "Ada" in talked.answer.result["content"][0]["text"]
        (question,) = talked.questions
        assert question["params"]["requestedSchema"] == FORM


@upstream
@requirement("GW-01")
async def test_a_missing_resource_has_the_callers_code(way: Way, behind: str, tmp_path: Path):
    """Each side of a gateway has its own era, and everything is translated.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    code = INVALID_PARAMS if behind == MODERN else LEGACY_RESOURCE_NOT_FOUND
    missing = Refusal(code, "Resource not found", {"uri": "a://b"})
    script = Script(behind, {"resources/read": missing}, capabilities=ALL)
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        error = (await peer.ask("resources/read", {"uri": "up+a://b"})).error
    assert error["code"] == (INVALID_PARAMS if way.modern else LEGACY_RESOURCE_NOT_FOUND)
    assert error["data"] == {"uri": "up+a://b"}


@upstream
@requirement("GW-01")
async def test_log_lines_come_from_the_level_that_the_caller_wants(
    way: Way, behind: str, tmp_path: Path
):
    """Each side of a gateway has its own era, and everything is translated.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """

    async def answer(asked: Asked) -> None:
        for level in ("debug", "warning", "error"):
            await asked.say(MESSAGE, {"level": level, "data": level})
        await asked.result(SAID)

    script = Script(behind, {"tools/call": answer, "logging/setLevel": {}}, capabilities=ALL)
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        params: Json = {"name": "up__tool", "arguments": {}}
        if way.modern:
            params["_meta"] = {LOG_LEVEL: "warning"}
        else:
            await peer.ask("logging/setLevel", {"level": "warning"})
        heard = (await peer.ask("tools/call", params)).before
    assert [each["params"]["level"] for each in heard] == ["warning", "error"]


@upstream
@requirement("GW-01")
async def test_a_list_that_changed_upstream_is_told_downstream(
    way: Way, behind: str, tmp_path: Path
):
    """Each side of a gateway has its own era, and everything is translated.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    changed = asyncio.Event()

    async def stand(asked: Asked) -> None:
        if behind == MODERN:
            meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": asked.id}}
            acknowledged = {"notifications": asked.params["notifications"], **meta}
            await asked.say("notifications/subscriptions/acknowledged", acknowledged)
            await changed.wait()
            await asked.say(TOOLS_CHANGED, meta)
        else:
            await changed.wait()
            await asked.say(TOOLS_CHANGED)
        await asyncio.Event().wait()

    answers: Json = {"subscriptions/listen" if behind == MODERN else "GET": stand}
    script = Script(behind, answers, capabilities=ALL)
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        changes = await watch(peer, lists=True)
        script.answers["tools/list"] = {"tools": [LISTED, {**LISTED, "name": "more"}]}
        if behind == MODERN:
            script.answers["tools/list"] |= {"ttlMs": 0, "cacheScope": "private"}
        changed.set()
        await changes.until(lambda message: message.get("method") == TOOLS_CHANGED)
        assert [tool["name"] for tool in await listed(peer)] == ["up__tool", "up__more"]


@upstream
@requirement("GW-01", over=[STDIO])
async def test_results_carry_the_stamps_of_the_callers_era_only(
    way: Way, behind: str, tmp_path: Path
):
    """Each side of a gateway has its own era, and everything is translated.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    async with front(tmp_path, up=Script(behind)) as gateway, way.join(gateway) as peer:
        result = await call(peer, "up__tool")
        tools = (await peer.ask("tools/list", {})).result
    assert ("resultType" in result) == way.modern
    assert ("ttlMs" in tools) == way.modern


@requirement("GW-02", over=[HTTP])
async def test_an_upstream_hears_what_the_caller_can_do(way: Way, tmp_path: Path):
    """Upstream sees what the caller declared; the caller sees what upstreams offer.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    script = Script(MODERN)
    declared: list[Json] = [{}, {"elicitation": {"form": {}}}]
    for capabilities in declared:
        async with (
            front(tmp_path, up=script) as gateway,
            way.join(gateway, capabilities=capabilities) as peer,
        ):
            await call(peer, "up__tool")
        meta = script.of("tools/call")[-1].meta
        if way.modern:
            assert meta[CLIENT_CAPABILITIES] == capabilities
        assert meta[CLIENT_INFO]["name"] == "interlock-gateway"


@upstream
@requirement("GW-02", over=[STDIO])
async def test_a_caller_is_not_asked_what_it_did_not_declare(way: Way, behind: str, tmp_path: Path):
    """Upstream sees what the caller declared; the caller sees what upstreams offer.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    script = Script(behind)
    asking(script)
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        talked = await talk(peer, "up__tool", {"action": "cancel"})
    assert talked.questions == []


@requirement("GW-02", over=[STDIO])
async def test_a_caller_is_offered_what_any_upstream_offers(way: Way, tmp_path: Path):
    """Upstream sees what the caller declared; the caller sees what upstreams offer.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    prompts = {"prompts/list": {"prompts": [{"name": "p"}]}}
    one = Script(MODERN, capabilities={"tools": {}})
    two = Script("2025-11-25", prompts, capabilities={"prompts": {}})
    async with front(tmp_path, one=one, two=two) as gateway, way.join(gateway) as peer:
        can = await offered(peer)
        assert {"tools", "prompts"} <= set(can)
        assert [prompt["name"] for prompt in await listed(peer, "prompts/list")] == ["two__p"]


@upstream
@requirement("GW-03", "PGS-03")
async def test_ids_and_tokens_of_two_callers_are_kept_apart(way: Way, behind: str, tmp_path: Path):
    """Ids, tokens, cursors, URIs and state are mapped and lead back to their upstream.
    A gateway maps tokens.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/progress.mdx
    """
    both = asyncio.Barrier(2)

    async def answer(asked: Asked) -> None:
        name = asked.params["arguments"]["name"]
        token = asked.meta["progressToken"]
        await both.wait()
        await asked.say(PROGRESS, {"progressToken": token, "progress": 1, "message": name})
        await both.wait()
        await asked.result(said(name))

    async def ask(peer: Peer, name: str) -> list[Json]:
        meta = {"_meta": {"progressToken": "mine"}}
        params = {"name": "up__tool", "arguments": {"name": name}, **meta}
        answer = await peer.ask("tools/call", params, id=7)
        assert answer.result["content"][0]["text"] == name
        return [each["params"] for each in answer.before if each["method"] == PROGRESS]

    script = Script(behind, {"tools/call": answer})
    async with (
        front(tmp_path, up=script) as gateway,
        way.serve(gateway) as join,
        join() as one,
        join() as two,
    ):
        heard = await asyncio.gather(ask(one, "one"), ask(two, "two"))
    assert heard == [
        [{"progressToken": "mine", "progress": 1, "message": name}] for name in ("one", "two")
    ]
    tokens = {each.meta["progressToken"] for each in script.of("tools/call")}
    assert len(tokens) == 2


@requirement("GW-03", over=[STDIO])
async def test_uris_lead_back_to_the_upstream_that_they_came_from(way: Way, tmp_path: Path):
    """Ids, tokens, cursors, URIs and state are mapped and lead back to their upstream.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """

    def library(name: str) -> Script:
        resources = {"resources": [{"uri": "a://b", "name": "b"}]}
        contents = {"contents": [{"uri": "a://b", "text": name}]}
        answers = {"resources/list": resources, "resources/read": contents}
        return Script("2025-11-25", answers, capabilities={"resources": {}})

    one, two = library("one"), library("two")
    async with front(tmp_path, one=one, two=two) as gateway, way.join(gateway) as peer:
        uris = [resource["uri"] for resource in await listed(peer, "resources/list")]
        assert len(set(uris)) == 2
        for uri, name in zip(uris, ("one", "two"), strict=True):
            (contents,) = (await peer.ask("resources/read", {"uri": uri})).result["contents"]
            assert contents == {"uri": uri, "text": name}
    assert one.of("resources/read")[0].params["uri"] == "a://b"


@requirement("GW-04", over=[HTTP])
async def test_headers_are_checked_on_the_way_in_and_written_anew_on_the_way_out(
    way: Way, tmp_path: Path
):
    """Mirrored headers are checked on the way in and written anew on the way out.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    script = Script(way.revision)
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        wrong = {"mcp-name": "tool"}
        answer = await peer.ask("tools/call", {"name": "up__tool"}, headers=wrong)
        assert answer.code == HEADER_MISMATCH
        assert script.of("tools/call") == []
        await call(peer, "up__tool")
    (heard,) = script.of("tools/call")
    assert heard.headers["mcp-name"] == "tool"
    assert heard.headers["mcp-method"] == "tools/call"


@requirement("GW-05", over=[HTTP])
async def test_what_is_private_is_read_anew_for_each_caller(way: Way, tmp_path: Path):
    """Only public results are shared between users.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/caching.mdx
    """
    reads = 0

    async def read(asked: Asked) -> None:
        nonlocal reads
        reads += 1
        contents = [{"uri": "a://b", "text": str(reads)}]
        await asked.result({"contents": contents, "ttlMs": 60_000, "cacheScope": "private"})

    script = Script(MODERN, {"resources/read": read}, capabilities=ALL)
    async with (
        front(tmp_path, up=script) as gateway,
        way.serve(gateway) as join,
        join() as one,
        join() as two,
    ):
        answers = [await peer.ask("resources/read", {"uri": "up+a://b"}) for peer in (one, two)]
    assert [answer.result["contents"][0]["text"] for answer in answers] == ["1", "2"]
    assert {answer.result["cacheScope"] for answer in answers} == {"private"}


@upstream
@requirement("GW-06")
async def test_a_call_that_is_cancelled_is_cancelled_upstream(
    way: Way, behind: str, tmp_path: Path
):
    """Cancellation is handed on both ways.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """

    async def never(asked: Asked) -> None:
        await asyncio.Event().wait()

    script = Script(behind, {"tools/call": never})
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        begun = await peer.open("tools/call", {"name": "up__tool"})
        asked = await script.hears("tools/call")
        if way.modern:
            await begun.cancel()
        else:
            await peer.tell(CANCELLED, {"requestId": begun.id})
        if behind == MODERN:
            await soon(script.left.wait())
        else:
            assert (await script.hears(CANCELLED)).params["requestId"] == asked.id


@requirement("GW-06", over=[HTTP], revisions=["2025-06-18", "2025-11-25"])
async def test_a_legacy_caller_that_only_lost_its_stream_cancels_nothing(way: Way, tmp_path: Path):
    """Cancellation is handed on both ways.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """
    go = asyncio.Event()

    async def answer(asked: Asked) -> None:
        await go.wait()
        await asked.result(SAID)

    script = Script("2025-11-25", {"tools/call": answer})
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        begun = await peer.open("tools/call", {"name": "up__tool"})
        await script.hears("tools/call")
        await begun.cancel()
        go.set()
        await call(peer, "up__tool")
    assert CANCELLED not in script.methods


@requirement("GW-07", over=[STDIO])
async def test_an_upstream_that_fails_takes_nothing_with_it(way: Way, tmp_path: Path):
    """One upstream that fails does not fail the others.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """

    async def broken(asked: Asked) -> None:
        await asked.refuse(Refusal(-32603, "out of order"))

    well = Script("2025-11-25")
    ill = Script("2025-11-25", {"initialize": broken, "tools/list": broken})
    async with front(tmp_path, ill=ill, well=well) as gateway, way.join(gateway) as peer:
        assert [tool["name"] for tool in await listed(peer)] == ["well__tool"]
        for method in LISTS:
            assert "result" in (await peer.ask(method, {})).message
        assert (await call(peer, "well__tool"))["content"] == SAID["content"]
        error = (await peer.ask("tools/call", {"name": "ill__tool"})).error
        assert "ill" in error["message"]


@requirement("GW-08", over=[STDIO])
async def test_a_gateway_says_who_it_is_itself_and_what_its_servers_say_of_themselves(
    way: Way, tmp_path: Path
):
    """A gateway is its own server; what belongs to one hop is written anew, the rest of `_meta`
    handed on.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    scripts = {name: Script("2025-11-25") for name in ("one", "two")}
    for name, script in scripts.items():
        greeting: Any = script.answers["initialize"]
        greeting["instructions"] = f"I am {name}." + "!" * 10_000
    async with front(tmp_path, **scripts) as gateway, way.join(gateway) as peer:
        assert (await server_info(peer))["name"] == "interlock"
        greeting = peer.greeting or (await peer.ask("server/discover")).result
    assert "I am one." in greeting["instructions"]
    assert "I am two." in greeting["instructions"]
    assert len(greeting["instructions"]) < 10_000


@upstream
@requirement("GW-08", over=[STDIO])
async def test_meta_is_handed_on_but_for_what_belongs_to_one_hop(
    way: Way, behind: str, tmp_path: Path
):
    """A gateway is its own server; what belongs to one hop is written anew, the rest of `_meta`
    handed on.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    answer = {**SAID, "_meta": {"example.com/cost": 3}}
    script = Script(behind, {"tools/call": answer})
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        meta = {"example.com/trace": "abc", "progressToken": "mine"}
        params = {"name": "up__tool", "arguments": {}, "_meta": meta}
        result = (await peer.ask("tools/call", params)).result
    assert result["_meta"]["example.com/cost"] == 3
    heard = script.of("tools/call")[0].meta
    assert heard["example.com/trace"] == "abc"
    assert heard["progressToken"] != "mine"
    info = "io.modelcontextprotocol/serverInfo"
    assert result["_meta"].get(info, {}).get("name") == ("interlock" if way.modern else None)


@upstream
@requirement("GW-09", over=[STDIO], revisions=["2025-06-18", "2025-11-25", MODERN])
async def test_a_person_is_told_which_server_asks(way: Way, behind: str, tmp_path: Path):
    """A question shows which server asks.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/sampling.mdx
    """
    script = Script(behind)
    asking(script)
    async with (
        front(tmp_path, payroll=script) as gateway,
        way.join(gateway, capabilities={"elicitation": {}}) as peer,
    ):
        talked = await talk(peer, "payroll__tool", {"action": "cancel"})
    (question,) = talked.questions
    assert "payroll" in question["params"]["message"]
    assert "Who are you?" in question["params"]["message"]
