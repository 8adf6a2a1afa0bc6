"""Everything that travels through the gateway, for each pair of eras and over each transport.

The caller speaks one era and the server another; the caller stands in this process or behind HTTP,
the server behind pipes or HTTP. Each server lives as long as this module: what a test leaves behind
in it bears a name of the test's own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import pytest_asyncio
from aiohttp import ClientResponse, ClientSession
from msgspec import Raw
from tests.doors import ERAS, ROOT, gateway_over, over_http
from tests.gateway.servers import full
from tests.gateway.servers.full import a_full_server
from tests.peers import ask, hello, soon

from interlock import Client, RpcError
from interlock.client.answers import AnswerDesk, Answers
from interlock.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY_RESOURCE_NOT_FOUND,
    MISSING_CAPABILITY,
    ResourceNotFound,
)
from interlock.gateway.gateway import Gateway
from interlock.protocol.call import Call
from interlock.wire import sse
from interlock.wire.content import Text, ToolOutcome, ToolUse
from interlock.wire.inputs import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
)
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import CLIENT_INFO, ClientCapabilities, Implementation, Wire, members
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import MESSAGE, LogNotice, ProgressNotice
from interlock.wire.tools import CallToolParams

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAM = str(Path(full.__file__))
_names = itertools.count()


def fresh(stem: str) -> str:
    """A name that nothing in a server has yet."""
    return f"{stem}{next(_names)}"


class Way(NamedTuple):
    """The caller's era and the server's, and what lies outside and inside of the gateway."""

    era: str
    theirs: str
    outside: str
    inside: str

    def __str__(self) -> str:
        return "-".join(self)


WAYS = [
    *(
        Way(*parts)
        for parts in itertools.product(ERAS, ERAS, ("memory", "http"), ("pipes", "http"))
    ),
    # What is left of 2024, and what is outside the specification, both as good as pipes.
    *(Way(era, "legacy", "memory", "sse") for era in ERAS),
    *(Way(era, theirs, "memory", "ws") for era, theirs in zip(ERAS, ERAS, strict=True)),
]


class House:
    """The gateways of this module, each started when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.stack = AsyncExitStack()
        self._folder = folder
        self._gateways: dict[tuple[str, str], Gateway] = {}
        self._urls: dict[tuple[str, str], str] = {}

    async def gateway(self, theirs: str, inside: str) -> Gateway:
        if (theirs, inside) not in self._gateways:
            folder = self._folder / f"{theirs}-{inside}"
            folder.mkdir()
            upstream = await an_upstream(self.stack, theirs, inside)
            gateway = await self.stack.enter_async_context(gateway_over(folder, {"k": upstream}))
            self._gateways[theirs, inside] = gateway
        return self._gateways[theirs, inside]

    async def door(self, way: Way) -> Any:
        """Where a caller connects."""
        gateway = await self.gateway(way.theirs, way.inside)
        if way.outside == "memory":
            return gateway
        key = way.theirs, way.inside
        if key not in self._urls:
            self._urls[key] = await self.stack.enter_async_context(over_http(gateway))
        return self._urls[key]


async def an_upstream(stack: AsyncExitStack, theirs: str, inside: str) -> dict[str, Any]:
    """The entry of a full server in a configuration."""
    legacy = theirs == "legacy"
    if inside != "pipes":
        server = a_full_server(legacy=legacy)
        options = {"http": {}, "sse": {"sse_path": "/sse"}, "ws": {"websocket": True}}[inside]
        url = await stack.enter_async_context(over_http(server, **options))
        place = {"sse": url.replace("/mcp", "/sse"), "ws": url.replace("http", "ws")}
        return {"type": inside, "url": place.get(inside, url)}
    args = [PROGRAM, *(["legacy"] if legacy else [])]
    return {"command": sys.executable, "args": args, "env": {"PYTHONPATH": ROOT}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    async with house.stack:
        yield house


def over(wanted: Callable[[Way], bool] = lambda way: True) -> pytest.MarkDecorator:
    """Run a test over each way that is *wanted*."""
    return pytest.mark.parametrize("way", list(filter(wanted, WAYS)), ids=str)


@pytest_asyncio.fixture(loop_scope="module")
async def door(house: House, way: Way) -> Any:
    # Not with the module's other fixtures: what is connected in a test is listened to.
    return await house.door(way)


class Person:
    """Someone at a client, who answers what was agreed and remembers what was asked."""

    def __init__(self, *answers: dict[str, Any] | ElicitResult | None) -> None:
        self.asked: list[ElicitParams] = []
        self.sampled: list[CreateMessageParams] = []
        self.visited: asyncio.Queue[str] = asyncio.Queue()
        self.hesitates = asyncio.Event()
        self.hesitates.set()
        self.was_asked = asyncio.Event()
        self.was_spared = asyncio.Event()
        """A question was taken back."""
        self._answers = iter(answers)

    async def elicit(self, params: ElicitParams) -> dict[str, Any] | ElicitResult | None:
        self.asked.append(params)
        self.was_asked.set()
        try:
            await self.hesitates.wait()
        except asyncio.CancelledError:
            self.was_spared.set()
            raise
        return next(self._answers)

    async def visit(self, params: ElicitParams) -> bool:
        self.asked.append(params)
        return next(self._answers) is not None

    async def sample(self, params: CreateMessageParams) -> CreateMessageResult:
        self.sampled.append(params)
        if len(self.sampled) == 1:
            use = ToolUse(id="use-1", name="weather", input={"where": "Oslo"})
            return CreateMessageResult(
                role="assistant", content=use, model="m", stop_reason="toolUse"
            )
        return CreateMessageResult(role="assistant", content=Text(text="Sunny."), model="m")

    def client(self, door: Any, era: str, **options: Any) -> Client:
        options.setdefault("on_elicit", self.elicit)
        return Client(
            door,
            revision=era,
            on_elicit_url=self.visit,
            roots=["file:///here"],
            on_visited=self.visited.put_nowait,
            timeout=20,
            **options,
        )

    def sampling_client(self, door: Any, era: str) -> Client:
        """One that declares sampling with tools, which callbacks alone do not."""
        desk = AnswerDesk(Implementation(name="person", version="1"), Answers(sample=self.sample))
        desk.capabilities = ClientCapabilities(sampling={"tools": {}})
        return Client(door, revision=era, desk=desk, timeout=20)


async def structured(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(f"k__{tool}", arguments)
    assert not result.is_error, result.text
    return result.structured


# Questions.


@over()
async def test_a_form_is_accepted_declined_and_cancelled(door: Any, way: Way) -> None:
    person = Person({"name": "Ada", "age": 36}, None, ElicitResult(action="cancel"))
    async with person.client(door, way.era) as client:
        got = [await structured(client, "form") for _ in range(3)]
    assert got == [
        {"action": "accept", "content": {"name": "Ada", "age": 36}},
        {"action": "decline", "content": None},
        {"action": "cancel", "content": None},
    ]
    assert [asked.message for asked in person.asked] == ["[k] Who?"] * 3
    assert person.asked[0].requested_schema == full.FORM


@over()
async def test_a_person_is_sent_to_a_url(door: Any, way: Way) -> None:
    person = Person({}, None)
    async with person.client(door, way.era) as client:
        for page, agreed in (("x", True), ("y", False)):
            got = await structured(client, "visit", url=f"https://login.example/{page}")
            assert got == {"result": agreed}
        asked = person.asked
        assert [each.url for each in asked] == [f"https://login.example/{page}" for page in "xy"]
        assert asked[0].message == "[k] Log in"
        # Of a visit's end only servers of 2025-11-25 tell, and only clients of it hear.
        assert all((each.elicitation_id is None) == (way.era == "modern") for each in asked)
        if way.era == way.theirs == "legacy":
            assert await soon(person.visited.get()) == asked[0].elicitation_id
        assert person.visited.empty()


# Modern servers may not refuse this way.
@over(lambda way: way.theirs == "legacy")
async def test_a_visit_that_has_to_come_first_is_asked_for(door: Any, way: Way) -> None:
    """2025-11-25 § Elicitation, URL Elicitation Required; later revisions ask in their own way."""
    person, name = Person({}), fresh("visit")
    async with person.client(door, way.era) as client:
        if way.era == "modern":
            assert (await client.call_tool("k__visit_first", {"name": name})).text == "welcome"
            assert [each.url for each in person.asked] == [f"https://login.example/{name}"]
            return
        with pytest.raises(RpcError) as refusal:
            await client.call_tool("k__visit_first", {"name": name})
        assert refusal.value.code == -32042
        assert refusal.value.data["elicitations"][0]["elicitationId"] == name
        assert (await client.call_tool("k__visit_first", {"name": name})).text == "welcome"


@over()
async def test_a_model_is_sampled_with_tools_and_their_results(door: Any, way: Way) -> None:
    person = Person()
    async with person.sampling_client(door, way.era) as client:
        said = await client.call_tool("k__think", {"question": "How is the weather?"})
    assert said.text == "weather {'where': 'Oslo'} Sunny."
    first, second = person.sampled
    assert [tool["name"] for tool in first.tools or []] == ["weather"]
    assert first.tool_choice == {"mode": "auto"}
    outcome = second.messages[-1].content
    assert isinstance(outcome, list)
    assert isinstance(outcome[0], ToolOutcome)
    assert outcome[0].tool_use_id == "use-1"


@over()
async def test_roots_are_told(door: Any, way: Way) -> None:
    async with Person().client(door, way.era) as client:
        assert await structured(client, "places") == {"result": ["file:///here"]}


@over()
async def test_several_questions_are_asked_at_once(door: Any, way: Way) -> None:
    person = Person()

    async def echo(params: ElicitParams) -> dict[str, Any]:
        person.asked.append(params)
        return {"name": params.message}

    async with person.client(door, way.era, on_elicit=echo) as client:
        got = await structured(client, "everything")
    assert got == {"result": ["[k] First?", "[k] Second?", "file:///here"]}
    assert len(person.asked) == 2


@over()
async def test_a_question_that_is_taken_back_needs_no_answer(door: Any, way: Way) -> None:
    """It is taken back from a legacy caller; any other has had it, and answers to no effect."""
    person, name = Person({"name": "Ada"}), fresh("impatient")
    person.hesitates.clear()
    async with person.client(door, way.era) as client, Client(door, timeout=20) as other:
        call = asyncio.create_task(client.call_tool("k__impatient", {"name": name}))
        await soon(person.was_asked.wait())
        await other.call_tool("k__let", {"what": name})
        if way.era == way.theirs == "legacy":
            await soon(person.was_spared.wait())
        else:
            person.hesitates.set()
        assert (await soon(call)).text == "taken back"


@over()
async def test_a_state_comes_back_as_it_was_given(door: Any, way: Way) -> None:
    """2026-07-28 § MRTR: byte for byte."""
    state = 'ü\n{"a":\u2028"\\u0000"}\t' + "x" * 5000
    async with Person({"name": "Ada"}).client(door, way.era) as client:
        assert (await client.call_tool("k__keep", {"state": state})).text == state


# What is said beside an answer.


@over()
async def test_progress_comes_with_messages_and_totals(door: Any, way: Way) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    def hear(notice: ProgressNotice) -> None:
        heard.append((notice.progress, notice.total, notice.message))

    async with Person().client(door, way.era) as client:
        result = await client.call_tool("k__steps", {"count": 3}, on_progress=hear)
    assert result.text == "done"
    assert heard == [(step, 3, f"step {step}") for step in (1, 2, 3)]


@over()
async def test_log_lines_come_at_the_callers_level_on_its_own_call(door: Any, way: Way) -> None:
    """Over pipes nothing says which call a line belongs to: there it comes to all that run."""
    quiet, loud = fresh("quiet"), fresh("loud")
    lines: dict[str, list[tuple[str, str]]] = {quiet: [], loud: []}

    def ear(name: str) -> Callable[[LogNotice], None]:
        return lambda notice: lines[name].append((notice.data["by"], notice.data["level"]))

    person = Person()
    async with (
        person.client(door, way.era, on_log=ear(quiet), log_level="warning") as first,
        person.client(door, way.era, on_log=ear(loud), log_level="debug") as second,
    ):
        await asyncio.gather(
            first.call_tool("k__talk", {"name": quiet, "company": [loud]}),
            second.call_tool("k__talk", {"name": loud, "company": [quiet]}),
        )
    own = {
        quiet: [(quiet, "warning")],
        loud: [(loud, level) for level in ("debug", "info", "warning")],
    }
    for name, heard in lines.items():
        assert [line for line in heard if line[0] == name] == own[name]
    assert {level for _, level in lines[quiet]} == {"warning"}
    if way.inside == "http":
        assert lines == own


@over()
async def test_who_asks_for_no_log_lines_hears_what_its_era_sends_unasked(
    door: Any, way: Way
) -> None:
    """2026-07-28 § Logging: none; before it, what the server chooses, which is "info"."""
    lines: list[str] = []

    def hear(notice: LogNotice) -> None:
        lines.append(notice.data["level"])

    async with Person().client(door, way.era, on_log=hear) as client:
        # As it goes out when nobody has ears: our client would ask for "info".
        call = a_call(client, "talk", name=fresh("one"), company=[])
        call.outlet = Ear(hear)
        await client.link.handle(call)
    assert lines == ([] if way.era == "modern" else ["info", "warning"])


# Time.


@over()
async def test_a_cancelled_call_is_cancelled_at_its_server(door: Any, way: Way) -> None:
    """2026-07-28: by closing the stream over HTTP; else by a notification."""
    name, waits = fresh("hang"), asyncio.Event()
    async with Person().client(door, way.era) as client:
        call = asyncio.create_task(
            client.call_tool("k__hang", {"name": name}, on_progress=lambda _: waits.set())
        )
        await soon(waits.wait())
        call.cancel()
        await soon(client.call_tool("k__until", {"what": f"cancelled {name}"}))


@over(lambda way: way.era == "legacy" and way.outside == "http")
async def test_a_lost_stream_cancels_nothing_in_the_legacy_era(door: str, way: Way) -> None:
    """2025-11-25 § Transports: a disconnect is no cancellation; the answer can be fetched later."""
    name = fresh("hang")
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    async with ClientSession(headers=headers) as web, Person().client(door, way.era) as other:
        async with web.post(door, data=hello()) as greeting:
            web.headers["mcp-session-id"] = greeting.headers["mcp-session-id"]
        params = {"name": "k__hang", "arguments": {"name": name}, "_meta": {"progressToken": 1}}
        async with web.post(door, data=ask("tools/call", 2, params)) as stream:
            said = await soon(next_event(stream))
            assert json.loads(said.data)["method"] == "notifications/progress"
            assert said.id
        async with web.get(door, headers={"last-event-id": said.id}) as resumed:
            await soon(other.call_tool("k__let", {"what": name}))
            answer = json.loads((await soon(next_event(resumed))).data)
    assert answer["result"]["content"][0]["text"] == f"let {name}"


# Changes.


@over()
@pytest.mark.parametrize("kind", ["tools", "prompts"])
async def test_a_list_that_changes_is_heard_of(door: Any, way: Way, kind: str) -> None:
    """2025-11-25: `notifications/*/list_changed`; 2026-07-28: on `subscriptions/listen`."""
    name = fresh(way.era)
    changed: asyncio.Queue[str] = asyncio.Queue()
    async with Person().client(door, way.era, on_change=changed.put_nowait) as client:

        async def names() -> list[str]:
            listed = client.list_tools() if kind == "tools" else client.list_prompts()
            return [each.name for each in await listed]

        await client.call_tool("k__grow", {"kind": kind, "name": name})
        while f"k__{name}" not in await names():
            await soon(changed.get())
        await client.call_tool("k__shrink", {"kind": kind, "name": name})
        while f"k__{name}" in await names():
            await soon(changed.get())


@over()
async def test_a_watched_resource_that_changes_is_heard_of(door: Any, way: Way) -> None:
    """However many watch it, the server is asked once; and told when nobody does any more."""
    uri = f"note://{fresh('watched')}"
    first: asyncio.Queue[str] = asyncio.Queue()
    second: asyncio.Queue[str] = asyncio.Queue()
    async with Person().client(door, way.era, on_update=first.put_nowait) as one:
        async with Person().client(door, way.era, on_update=second.put_nowait) as two:
            for client in (one, two):
                await client.subscribe(f"k+{uri}")
                await client.call_tool("k__until", {"what": f"watched {uri}"})
            await one.call_tool("k__touch", {"uri": uri})
            assert await soon(first.get()) == f"k+{uri}"
            assert await soon(second.get()) == f"k+{uri}"
            await one.unsubscribe(f"k+{uri}")
            await one.call_tool("k__touch", {"uri": uri})
            assert await soon(second.get()) == f"k+{uri}"
        await one.call_tool("k__until", {"what": f"left {uri}"})
        assert await structured(one, "watched", uri=uri) == {"result": [True, False]}
    assert first.empty()


# Errors, and what a caller cannot do.


@over()
async def test_an_error_of_the_server_comes_as_the_callers_era_has_it(door: Any, way: Way) -> None:
    async with Person().client(door, way.era) as client:

        async def code_of(code: int) -> int:
            data = {"why": ["x", {"y": None}]}
            arguments = {"code": code, "message": "No, ü", "data": data}
            with pytest.raises(RpcError, match="No, ü") as error:
                await client.call_tool("k__fail", arguments)
            assert error.value.data == data
            return error.value.code

        assert await code_of(4711) == 4711
        old = way.era == way.theirs == "legacy"
        assert await code_of(LEGACY_RESOURCE_NOT_FOUND) == (
            LEGACY_RESOURCE_NOT_FOUND if old else INVALID_PARAMS
        )
        new = way.era == way.theirs == "modern"
        assert await code_of(MISSING_CAPABILITY) == (MISSING_CAPABILITY if new else INVALID_REQUEST)
        with pytest.raises(ResourceNotFound) as missing:
            await client.read_resource("k+other://x")
        assert missing.value.uri == "k+other://x"


@over()
async def test_what_a_caller_did_not_declare_it_is_not_asked(door: Any, way: Way) -> None:
    """2026-07-28 § MRTR: a modern server knows, and says what is missing; a legacy one is refused."""
    async with Client(door, revision=way.era, timeout=20) as client:
        with pytest.raises(RpcError) as refusal:
            await client.call_tool("k__form")
    if way.theirs == "legacy":
        assert refusal.value.code == INVALID_PARAMS
        assert "answers no elicitation/create" in refusal.value.message
    else:
        code = MISSING_CAPABILITY if way.era == "modern" else INVALID_REQUEST
        assert refusal.value.code == code
        assert refusal.value.data == {"requiredCapabilities": {"elicitation": {"form": {}}}}


@over()
async def test_a_server_that_asks_all_the_same_asks_nobody(door: Any, way: Way) -> None:
    question = {
        "method": "sampling/createMessage",
        "params": {
            "messages": [],
            "maxTokens": 1,
            "tools": [{"name": "t", "inputSchema": {"type": "object"}}],
        },
    }
    person = Person()
    async with person.client(door, way.era, on_sample=person.sample) as client:
        call = client.call_tool("k__intrude", {"question": question})
        if way.theirs == "legacy":
            assert (await call).text.startswith(str(INVALID_PARAMS))
        else:
            with pytest.raises(RpcError) as refusal:
                await call
            code = MISSING_CAPABILITY if way.era == "modern" else INVALID_REQUEST
            assert refusal.value.code == code
            assert refusal.value.data == {"requiredCapabilities": {"sampling": {"tools": {}}}}
    assert not person.sampled


# Over a pipe a legacy server's question belongs to no call; two callers at once share it there.
@over(lambda way: way.inside == "http" or way.theirs == "modern")
async def test_of_two_callers_each_is_asked_what_its_own_call_asks(door: Any, way: Way) -> None:
    people = {name: Person({"name": name}) for name in (fresh("ada"), fresh("bob"))}
    for person in people.values():
        person.hesitates.clear()
    async with AsyncExitStack() as stack:
        calls: dict[str, asyncio.Task[Any]] = {}
        for name, person in people.items():
            client = await stack.enter_async_context(person.client(door, way.era))
            calls[name] = asyncio.create_task(structured(client, "form", message=name))
        for person in people.values():
            await soon(person.was_asked.wait())
        for name, person in reversed(people.items()):
            person.hesitates.set()
            assert (await soon(calls[name]))["content"] == {"name": name}
            assert [asked.message for asked in person.asked] == [f"[k] {name}"]


# What is neither's.


@over()
async def test_meta_that_is_not_of_one_hop_reaches_the_server_and_back(door: Any, way: Way) -> None:
    """Checklist GW-08."""
    given = {
        "example.com/there": {"a": [1, None, "ü"]},
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    async with Person().client(door, way.era) as client:
        result = await client.call_tool("k__meta", meta=given)
    came = json.loads(result.text)
    assert {key: came[key] for key in given} == given
    if way.theirs == "modern":
        assert came[CLIENT_INFO]["name"] == "interlock-gateway"
    assert result.meta is not None
    assert result.meta["example.com/back"] == [1, {"a": None}]


@over(lambda way: way.era == way.theirs == "modern")
async def test_a_state_that_was_changed_is_refused_and_logged(
    door: Any, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    """2026-07-28 § MRTR: a state is attacker-controlled; it is good for the call it came with."""
    async with Person().client(door, way.era) as client:

        async def again(state: str, given: str = "secret") -> Any:
            call = a_call(client, "keep", state=given)
            answer = {"go on": {"action": "accept", "content": {"name": "Ada"}}}
            fields = {"inputResponses": Raw(encode(answer)), "requestState": Raw(encode(state))}
            call.fields = {**members(encode(call.params)), **fields}
            return members((await client.link.handle(call)).body)

        asked = await client.link.handle(a_call(client, "keep", state="secret"))
        assert asked.kind == "input_required"
        state: str = msgspec.json.decode(members(asked.body)["requestState"])
        assert "secret" not in state
        middle = len(state) // 2
        changed = state[:middle] + ("A" if state[middle] != "A" else "B") + state[middle + 1 :]
        for wrong in (changed, "secret", state.partition(".")[2], ""):
            with pytest.raises(RpcError) as refusal:
                await again(wrong)
            assert refusal.value.code == INVALID_PARAMS
        with pytest.raises(RpcError):
            await again(state, given="other")
        assert caplog.text.count("came with a requestState that is refused") == 5
        assert b"secret" in bytes((await again(state))["content"])


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("theirs", ERAS)
async def test_a_gateway_before_a_gateway_hands_on_what_that_one_does(
    house: House, tmp_path: Path, era: str, theirs: str
) -> None:
    near = await house.door(Way("modern", theirs, "http", "pipes"))
    uri = f"note://{fresh('far')}"
    heard: list[float] = []
    updates: asyncio.Queue[str] = asyncio.Queue()
    person = Person({"name": "Ada"})
    async with (
        gateway_over(tmp_path, {"far": {"type": "http", "url": near}}) as gateway,
        person.client(gateway, era, on_update=updates.put_nowait) as client,
    ):
        got = await client.call_tool("far__k__form")
        assert got.structured == {"action": "accept", "content": {"name": "Ada"}}
        assert [asked.message for asked in person.asked] == ["[far] [k] Who?"]
        steps = {"count": 2}
        await client.call_tool(
            "far__k__steps", steps, on_progress=lambda n: heard.append(n.progress)
        )
        assert heard == [1, 2]
        await client.subscribe(f"far+k+{uri}")
        await client.call_tool("far__k__until", {"what": f"watched {uri}"})
        await client.call_tool("far__k__touch", {"uri": uri})
        assert await soon(updates.get()) == f"far+k+{uri}"


class Ear:
    """An outlet that hands on the log lines it is told."""

    def __init__(self, on_log: Callable[[LogNotice], None]) -> None:
        self._on_log = on_log

    def notify(self, method: str, params: Wire | Raw) -> None:
        if method == MESSAGE and isinstance(params, Raw):
            self._on_log(msgspec.json.decode(params, type=LogNotice))

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        raise AssertionError(method)

    def close_stream(self, retry: float) -> None:
        pass


def a_call(client: Client, tool: str, **arguments: Any) -> Call:
    """A call as it goes out, that nobody answers questions of."""
    params = CallToolParams(name=f"k__{tool}", arguments=Raw(encode(arguments)))
    return Call(BY_NAME["tools/call"], params, client.link.envelope)


async def next_event(stream: ClientResponse) -> sse.Event:
    """The first event that has data."""
    reader = sse.Reader()
    async for piece in stream.content.iter_any():
        for event in reader.feed(piece):
            if event.data:
                return event
    raise AssertionError("the stream ended")
