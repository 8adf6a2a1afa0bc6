"""§5 Streamable HTTP of the legacy era: sessions, streams that are taken up again, arrays."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.peers import LEGACY, Json, ask, hello, reply, say, soon
from tests.spec.kitchen import Kitchen
from tests.spec.marking import HTTP, STDIO, requirement
from tests.spec.scripts import SAID, Asked, Script, meet
from tests.spec.ways import Way

from interlock import Context
from interlock.wire.notices import TOOLS_CHANGED

ECHO: Json = {"name": "echo"}
HOLD: Json = {"name": "hold"}


def ignore(what: str) -> None:
    pass


# The endpoint.


@requirement("HL-01", over=[HTTP])
async def test_one_path_takes_post_and_get(way: Way):
    """One path takes POST and GET.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    async with way.join(Kitchen()) as peer:
        assert (await peer.ask("tools/call", ECHO)).status == 200
        await peer.listen()


@requirement("HL-02", over=[HTTP])
async def test_a_client_accepts_both_on_post_and_streams_on_get(way: Way):
    """A client accepts JSON and event streams on POST, event streams on GET.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """

    async def stand(asked: Asked) -> None:
        await asked.http.stream(b": hi\n\n")
        await asyncio.Event().wait()

    script = Script(way.revision, {"GET": stand})
    async with meet(way, script, on_change=ignore) as client:
        await client.call_tool("tool")
        await script.hears(lambda heard: heard.verb == "GET")
    for heard in script.heard:
        accepted = {kind.strip() for kind in heard.headers.get("accept", "").split(",")}
        if heard.verb == "POST":
            assert {"application/json", "text/event-stream"} <= accepted
        elif heard.verb == "GET":
            assert "text/event-stream" in accepted


@requirement("HL-03", over=[HTTP])
async def test_notifications_and_responses_are_taken_without_a_word(way: Way):
    """A body of responses and notifications is answered with 202 and nothing.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    async with way.join(Kitchen()) as peer:
        for body in (say("notifications/novel"), reply("s99", {}), reply(7, {"roots": []})):
            begun = await peer.begin(body)
            assert await begun.whole() == b""
            assert begun.status == 202


@requirement("HL-04", over=[HTTP])
async def test_a_request_is_answered_with_json_or_a_stream_that_ends_with_the_answer(way: Way):
    """A request is answered with JSON or a stream, which may carry messages of that request first.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    async with way.join(Kitchen()) as peer:
        plain = await peer.ask("tools/call", ECHO)
        assert plain.headers["content-type"] == "application/json"
        begun = await peer.open("tools/call", {"name": "steps"}, progressToken="t")
        answer = await begun.answer()
        assert answer.headers["content-type"] == "text/event-stream"
        assert {said["params"]["progressToken"] for said in answer.before} == {"t"}
        await begun.whole()
        assert begun.heard[-1] == answer.message


@requirement("HL-05", over=[HTTP])
async def test_a_client_that_disconnects_has_cancelled_nothing(way: Way):
    """A client that disconnects has not cancelled its request.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        held = await peer.open("tools/call", HOLD, id="held")
        await soon(kitchen.reached.wait())
        await held.cancel()
        assert (await peer.ask("tools/call", ECHO)).result
        assert not kitchen.cancelled.is_set()
        await peer.tell("notifications/cancelled", {"requestId": "held"})
        await soon(kitchen.cancelled.wait())


@requirement("HL-06", "HL-07", over=[HTTP])
async def test_the_standing_stream_has_no_responses_and_nothing_is_told_twice(way: Way):
    """GET gives a stream or 405; no responses travel on it.
    One message travels on one stream only.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        standing = await peer.listen()
        held = await peer.open("tools/call", HOLD, progressToken=1)
        await soon(kitchen.reached.wait())
        kitchen.changed("tools")
        await standing.until(lambda said: said["method"] == TOOLS_CHANGED)
        kitchen.go.set()
        await held.answer()
        await held.whole()
        assert all("method" in said and "id" not in said for said in standing.heard)
        both = [json.dumps(said) for said in standing.heard + held.heard]
        assert len(set(both)) == len(both)
        assert [said.get("method") for said in held.heard] == ["notifications/progress", None]


# Streams that are taken up again.


@requirement("HL-08", over=[HTTP])
async def test_events_have_ids_of_their_own_in_a_session(way: Way):
    """A stream is resumed by its last event id, and nothing of other streams is replayed.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    async with way.join(Kitchen()) as peer:
        ids: list[str | None] = []
        for number in range(3):
            begun = await peer.open("tools/call", {"name": "steps"}, progressToken=number)
            await begun.whole()
            ids += [event.id for event in begun.events]
        assert None not in ids
        assert len(set(ids)) == len(ids) >= 12


@requirement("HL-08", over=[HTTP])
async def test_a_stream_is_taken_up_where_it_was_lost_and_tells_nothing_of_others(way: Way):
    """A stream is resumed by its last event id, and nothing of other streams is replayed.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        held = await peer.open("tools/call", HOLD, id="held", progressToken="held")
        await held.until(lambda said: "method" in said)
        last = held.events[-1].id
        await held.cancel()
        other = await peer.open("tools/call", {"name": "steps"}, id="other", progressToken="other")
        await other.whole()
        kitchen.changed("tools")
        resumed = await peer.listen(after=last)
        kitchen.go.set()
        await resumed.until(lambda said: said.get("id") == "held")
        await resumed.whole()
        assert [said.get("id") for said in resumed.heard] == ["held"]
        again = await peer.listen(after=other.events[-2].id)
        assert await again.whole()
        assert [said.get("id") for said in again.heard] == ["other"]


@requirement("HL-08", over=[HTTP])
async def test_what_was_told_in_between_is_told_to_who_comes_back(way: Way):
    """A stream is resumed by its last event id, and nothing of other streams is replayed.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        first = await peer.listen()
        kitchen.changed("tools")
        await first.until(lambda said: said["method"] == TOOLS_CHANGED)
        await first.cancel()
        kitchen.changed("prompts")
        back = await peer.listen(after=first.events[-1].id)
        await back.until(lambda said: said["method"] == "notifications/prompts/list_changed")
        assert TOOLS_CHANGED not in [said["method"] for said in back.heard]


@requirement("HL-09", over=[HTTP])
async def test_a_server_may_close_a_stream_and_be_asked_for_the_rest(way: Way):
    """A server may close a stream that it began with an event id; the client comes back after
    `retry` milliseconds.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    kitchen = Kitchen()

    @kitchen.tool
    async def rest(ctx: Context) -> str:
        ctx.close_stream(0.25)
        await kitchen.go.wait()
        return "rested"

    async with way.join(kitchen) as peer:
        begun = await peer.open("tools/call", {"name": "rest"}, id="rest")
        await begun.whole()
        assert begun.events[0].id
        assert [event.data for event in begun.events] == [b""] * len(begun.events)
        assert begun.events[-1].retry == 250
        kitchen.go.set()
        back = await peer.listen(after=begun.events[-1].id)
        answer = await back.until(lambda said: said.get("id") == "rest")
        assert answer["result"]["content"][0]["text"] == "rested"


@requirement("HL-09", revisions=["2025-03-26", "2025-06-18"], over=[HTTP])
async def test_an_event_without_data_is_sent_only_to_who_knows_what_it_means(way: Way):
    """A server may close a stream that it began with an event id; the client comes back after
    `retry` milliseconds.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    async with way.join(Kitchen()) as peer:
        begun = await peer.open("tools/call", {"name": "steps"}, progressToken=1)
        await begun.whole()
        assert all(json.loads(event.data) for event in begun.events)


@requirement("HL-09", over=[HTTP])
async def test_a_client_comes_back_when_it_was_told_to(way: Way):
    """A server may close a stream that it began with an event id; the client comes back after
    `retry` milliseconds.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    loop = asyncio.get_running_loop()
    closed = 0.0

    async def poll(asked: Asked) -> None:
        nonlocal closed
        await asked.http.stream(b"id: first\ndata:\n\n")
        await asked.http.stream(b"id: second\nretry: 100\ndata:\n\n")
        closed = loop.time()

    async def get(asked: Asked) -> None:
        if asked.heard.headers.get("last-event-id") != "second":
            await asked.http.whole(405)
            return
        assert loop.time() - closed >= 0.09
        call = script.of("tools/call")[0]
        body = {"jsonrpc": "2.0", "id": call.id, "result": SAID}
        await asked.http.stream(b"id: third\ndata: " + json.dumps(body).encode() + b"\n\n")

    script = Script(way.revision, {"tools/call": poll, "GET": get})
    async with meet(way, script) as client:
        assert (await client.call_tool("tool")).text == "said"
    assert len(script.of("tools/call")) == 1


# Sessions.


@requirement("HL-10", over=[HTTP])
async def test_the_id_of_a_session_is_visible_ascii_and_like_no_other(way: Way):
    """A session id is visible ASCII and cannot be guessed.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    async with way.serve(Kitchen()) as join:
        ids: set[str] = set()
        for _ in range(20):
            async with join(greet=False) as peer:
                answer = await (await peer.begin(hello(way.revision))).answer()
                ids.add(answer.headers["mcp-session-id"])
    assert len(ids) == 20
    for name in ids:
        assert len(name) >= 32
        assert all("\x21" <= letter <= "\x7e" for letter in name)


@requirement("HL-11", over=[HTTP])
async def test_a_session_is_named_with_every_request_until_it_ends(way: Way):
    """The client sends the session id from then on; without it 400, after its end 404, and then it
    begins anew.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    async with way.join(Kitchen()) as peer:
        missing = await peer.ask("tools/list", headers={"mcp-session-id": None})
        assert missing.status == 400
        status, _ = await peer.bare("DELETE")
        assert status < 300
        for body in (ask("tools/list"), say("notifications/novel")):
            begun = await peer.begin(body)
            await begun.whole()
            assert begun.status == 404


@requirement("HL-11", over=[HTTP])
async def test_a_client_names_its_session_and_ends_it(way: Way):
    """The client sends the session id from then on; without it 400, after its end 404, and then it
    begins anew.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    script = Script(way.revision, {"DELETE": gone})
    async with meet(way, script) as client:
        await client.call_tool("tool")
    first, *later = script.heard
    assert "mcp-session-id" not in first.headers
    assert {heard.headers.get("mcp-session-id") for heard in later} == {script.session}
    assert later[-1].verb == "DELETE"


async def gone(asked: Asked) -> None:
    await asked.http.whole(200)


@requirement("HL-11", over=[HTTP])
async def test_a_client_whose_session_is_gone_begins_anew(way: Way):
    """The client sends the session id from then on; without it 400, after its end 404, and then it
    begins anew.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """

    async def forgetful(asked: Asked) -> None:
        if asked.heard.headers["mcp-session-id"] == "session-1":
            script.session = "session-2"
            await asked.http.whole(404)
        else:
            await asked.result(SAID)

    script = Script(way.revision, {"tools/call": forgetful})
    async with meet(way, script) as client:
        assert (await client.call_tool("tool")).text == "said"
    first, second = script.of("initialize")
    assert "mcp-session-id" not in second.headers
    assert first.params == second.params
    assert script.of("tools/call")[-1].headers["mcp-session-id"] == "session-2"


@requirement("HL-12", over=[HTTP])
async def test_a_client_says_what_was_negotiated_with_every_later_request(way: Way):
    """The negotiated version comes as a header with every later request; an unsupported one is
    refused with 400.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-06-18/basic/transports.mdx
    """

    async def stand(asked: Asked) -> None:
        await asked.http.stream(b": hi\n\n")
        await asyncio.Event().wait()

    script = Script(way.revision, {"GET": stand, "DELETE": gone})
    async with meet(way, script, on_change=ignore) as client:
        await client.call_tool("tool")
        await script.hears(lambda heard: heard.verb == "GET")
    later = [heard for heard in script.heard if heard.method != "initialize"]
    assert {heard.verb for heard in later} == {"POST", "GET", "DELETE"}
    assert {heard.headers["mcp-protocol-version"] for heard in later} == {way.revision}


@requirement("HL-12", over=[HTTP])
async def test_a_version_that_is_not_supported_is_refused_and_none_is_no_mistake(way: Way):
    """The negotiated version comes as a header with every later request; an unsupported one is
    refused with 400.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-06-18/basic/transports.mdx
    """
    async with way.join(Kitchen()) as peer:
        for wrong in ("1999-01-01", "latest", ""):
            headers = {"mcp-protocol-version": wrong}
            assert (await peer.ask("tools/list", headers=headers)).status == 400
            for verb in ("GET", "DELETE"):
                assert (await peer.bare(verb, headers))[0] == 400
        assert (await peer.ask("tools/list", headers={"mcp-protocol-version": None})).status == 200


@requirement("HL-13", over=[HTTP])
async def test_a_strange_origin_is_refused_on_every_verb(way: Way):
    """An Origin that is not allowed is refused.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    async with way.join(Kitchen()) as peer:
        evil = {"origin": "https://evil.example.com"}
        assert (await peer.ask("tools/list", headers=evil)).status == 403
        for verb in ("GET", "DELETE"):
            assert (await peer.bare(verb, evil))[0] == 403
        assert (await peer.ask("tools/list")).status == 200


@requirement("HL-15", over=[HTTP])
async def test_a_second_handshake_is_400_and_a_strange_session_404(way: Way):
    """A second `initialize` in a session is 400, an unknown session 404.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    async with way.join(Kitchen()) as peer:
        again = await (await peer.begin(hello(way.revision))).answer()
        assert (again.code, again.status) == (-32600, 400)
        other = next(version for version in LEGACY if version != way.revision)
        wrong = await peer.ask("tools/list", headers={"mcp-protocol-version": other})
        assert wrong.status == 400
        lost = await peer.ask("tools/list", headers={"mcp-session-id": "nobody"})
        assert lost.status == 404


# Questions.


@requirement("HL-16", "HL-17", "HL-07", over=[HTTP])
async def test_a_question_goes_out_on_the_stream_of_the_call_that_asks(way: Way):
    """What a handler asks its client travels on the stream of that call.
    A server asks only during a request of the client.
    One message travels on one stream only.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/issues/2260
    """
    async with way.join(Kitchen(), capabilities={"roots": {}}) as peer:
        standing = await peer.listen()
        begun = await peer.open("tools/call", {"name": "where"})
        question = await begun.until(lambda said: said.get("method") == "roots/list")
        await peer.reply(question, {"roots": [{"uri": "file:///here"}]})
        assert (await begun.answer()).result["content"][0]["text"] == "file:///here"
        assert standing.heard == []


@requirement("HL-16", over=[HTTP])
async def test_a_client_that_takes_no_stream_is_not_waited_for(way: Way):
    """What a handler asks its client travels on the stream of that call.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    async with way.join(Kitchen(), capabilities={"roots": {}}) as peer:
        only_json = {"accept": "application/json"}
        answer = await peer.ask("tools/call", {"name": "where"}, headers=only_json)
        assert answer.message.get("error") or answer.result["isError"]


# Arrays of messages.


def array(*messages: bytes) -> bytes:
    return b"[" + b",".join(messages) + b"]"


@requirement("RPC-07", "HL-03", revisions=["2025-03-26"])
async def test_an_array_of_messages_is_taken_and_answered(way: Way):
    """Batches are taken in 2025-03-26, `initialize` in none of them; from 2025-06-18 on an array
    is an invalid request.
    A body of responses and notifications is answered with 202 and nothing.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-03-26/basic/index.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    """
    async with way.join(Kitchen()) as peer:
        mixed = array(
            ask("tools/list", 1), say("notifications/novel"), ask("ping", "two"), reply("s9", {})
        )
        begun = await peer.begin(mixed)
        answers: Any = await begun.until(lambda said: isinstance(said, list))
        assert {answer["id"] for answer in answers} == {1, "two"}
        assert await peer.send(array(say("notifications/novel"), reply("s9", {}))) == []
        (refusal,) = await peer.send(b"[]")
        assert refusal["error"]["code"] == -32600


@requirement("RPC-07", revisions=["2025-03-26"])
async def test_the_handshake_is_in_no_array(way: Way):
    """Batches are taken in 2025-03-26, `initialize` in none of them; from 2025-06-18 on an array
    is an invalid request.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-03-26/basic/index.mdx
    """
    async with way.join(Kitchen(), greet=False) as peer:
        begun = await peer.begin(array(hello(way.revision)))
        if way.transport == STDIO:
            refusal = await begun.until(lambda said: "id" not in said or "error" in said)
            assert refusal["error"]["code"] == -32600
        else:
            await begun.whole()
            assert begun.status == 400
