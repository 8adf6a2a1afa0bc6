"""What is sent at our two sides: messages made up from the schemas, and real ones that were recorded.

A seed says which, in which order, and what is wrong with each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import Any, Final, TypeAlias, cast

from tests.fuzz.grammar import Grammar
from tests.fuzz.kitchen import kitchen
from tests.fuzz.mangling import bytewise, mangled, structured, written
from tests.official import methods
from tests.peers import MODERN, Json, meta

from interlock import Client
from interlock.errors import InterlockError
from interlock.testing.wiretap import Side
from interlock.transport.channel import Channel
from interlock.transport.duplex import serve
from interlock.transport.memory import MemoryChannel, pair
from interlock.wire.content import Text
from interlock.wire.inputs import CreateMessageParams, CreateMessageResult, ElicitParams
from interlock.wire.meta import CLIENT_CAPABILITIES

Recording: TypeAlias = dict[Side, list[bytes]]

TOOLS: Final = (
    *("echo", "add", "visit", "region", "steps", "fail", "refuse", "wait", "order", "think"),
    *("where", "long", "touch", "nothing"),
)
URIS: Final = ("note://one", "data://bytes", "notes://a?page=2", "notes://nobody", "no://such")
IDS: Final = (*range(400), *(f"id-{number}" for number in range(10)), "", -1)
CAPABLE: Final[Json] = {
    "elicitation": {"form": {}, "url": {}},
    "sampling": {},
    "roots": {"listChanged": True},
    "extensions": {"io.modelcontextprotocol/tasks": {}},
}
HUGE: Final = 100_000
"""How long a text is that is sent now and then; twice as long is over the limit of the pipes."""


class Corpus:
    """Messages of one *revision*, without end. Not to be shared: each message moves the chance on."""

    def __init__(self, revision: str, seed: str, recording: Recording) -> None:
        self.revision = revision
        self.chance = random.Random(f"{seed} {revision}")
        self._recording = recording
        self._grammar = Grammar(revision, self.chance)
        self._modern = revision == MODERN

    def to_server(self) -> bytes:
        """What a client might send, or nearly."""
        value = self._base("client")
        self._aim(value)
        return self._worn(value)

    def to_client(self, asked: Json | None = None) -> bytes:
        """What a server might send, or nearly; mostly under the id of the request *asked*."""
        chance = self.chance
        value = self._base("server")
        if asked is not None and ("result" in value or "error" in value):
            if chance.random() < 0.8:
                value["id"] = asked.get("id")
            if chance.random() < 0.5 and "result" in value:
                value["result"] = self._result(asked["method"])
        return self._worn(value)

    def answer(self, question: Json) -> bytes:
        """What a client might answer a server's question, or nearly."""
        chance = self.chance
        result: Any = self._result(question.get("method", ""))
        if question.get("method") == "elicitation/create" and chance.random() < 0.7:
            result = {"action": "accept", "content": {"size": chance.choice((1, 1.5, "x", None))}}
        return self._worn({"jsonrpc": "2.0", "id": question.get("id"), "result": result}, 0.5)

    def _base(self, side: Side) -> Json:
        chance = self.chance
        roll = chance.random()
        if roll < 0.4:
            return json.loads(chance.choice(self._recording[side]))
        if side == "server" and roll < 0.7:
            method = chance.choice(list(methods(self.revision, "ClientRequest")))
            return {"jsonrpc": "2.0", "id": chance.choice(IDS), "result": self._result(method)}
        if side == "server" and roll < 0.75:
            return {"jsonrpc": "2.0", "id": chance.choice(IDS), "error": self._error()}
        unions = [f"{side.title()}{kind}" for kind in ("Notification", "Request")]
        known = methods(self.revision, unions[roll < 0.95]) or methods(self.revision, unions[0])
        method = chance.choice(list(known))
        # The early schemas leave out what every message has.
        asks = {} if method.startswith("notifications/") else {"id": chance.choice(IDS)}
        return {"jsonrpc": "2.0", **asks, **self._grammar.make(known[method])}

    def _result(self, method: str) -> Json:
        definition = (
            methods(self.revision, "ClientRequest") | methods(self.revision, "ServerRequest")
        ).get(method, "")
        try:
            made: Json = self._grammar.make(definition.replace("Request", "Result"))
        except KeyError:
            made = self._grammar.make("Result")
        if self._modern and self.chance.random() < 0.9:
            made["resultType"] = "complete" if self.chance.random() < 0.9 else "input_required"
        return made

    def _error(self) -> Json:
        codes = (-32700, -32600, -32601, -32602, -32603, -32020, -32022, -32042, -32002, 0, 7)
        error: Json = {"code": self.chance.choice(codes), "message": "x"}
        if self.chance.random() < 0.4:
            error["data"] = self._grammar.make("Result")
        return error

    def _aim(self, value: Json) -> None:
        """Let a request be one that gets somewhere, more often than chance would."""
        chance = self.chance
        if "id" in value:
            value["id"] = chance.choice(IDS)
        params = value.get("params")
        if self._modern and "id" in value and isinstance(params, dict) and chance.random() < 0.9:
            capable = CAPABLE if chance.random() < 0.5 else {}
            cast("Json", params)["_meta"] = {**meta(), CLIENT_CAPABILITIES: capable}
        if not isinstance(params, dict) or chance.random() < 0.2:
            return
        given = cast("Json", params)
        match value.get("method"):
            case "tools/call":
                given["name"] = chance.choice(TOOLS)
                if chance.random() < 0.7:
                    given["arguments"] = self._arguments()
                if chance.random() < 0.8:
                    for state in ("requestState", "inputResponses"):
                        given.pop(state, None)
            case "resources/read" | "resources/subscribe":
                given["uri"] = chance.choice(URIS)
            case "prompts/get":
                given["name"] = "greet"
                given["arguments"] = {"name": "Ada"}
            case _:
                pass

    def _arguments(self) -> Json:
        chance = self.chance
        known: Json = {
            "text": "日本\n",
            "a": chance.choice((1, 2.0, "3", None, 10**20)),
            "place": {"name": "x", "floor": 1},
            "where": "Zürich",
            "count": chance.choice((0, 3, -1, 10**9)),
            "twice": True,
            "asks": True,
        }
        chosen = chance.sample(list(known), chance.randint(0, len(known)))
        return {name: known[name] for name in chosen}

    def _worn(self, value: Json, sound: float = 0.25) -> bytes:
        """The message as it arrives: *sound* is how many do as they were sent."""
        chance = self.chance
        if chance.random() < 0.002:
            value = {**value, "more": "x" * (HUGE * chance.choice((1, 3)))}
        roll = chance.random()
        if roll < sound:
            return written(chance, value)
        inside = [name for name in ("params", "result") if isinstance(value.get(name), dict)]
        if roll < 0.85 and inside:
            # What is wrong in the envelope is found before anything else is looked at.
            fields: Json = dict(value[inside[0]])
            kept = {"_meta": fields.pop("_meta")} if "_meta" in fields and roll < 0.7 else {}
            inner: Any = fields
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                inner = structured(chance, inner)
            if isinstance(inner, dict):
                inner = {**cast("Json", inner), **kept}
            return written(chance, {**value, inside[0]: inner})
        data = written(chance, value)
        if len(data) > HUGE or roll < 0.95:
            return mangled(chance, data, self._recording["client"])
        return bytewise(chance, data, self._recording["server"])


async def record(revision: str) -> Recording:
    """What our client and our server say to each other when all goes well."""
    recording: Recording = {"client": [], "server": []}
    server = kitchen()
    serving: list[asyncio.Task[None]] = []

    async def join() -> Channel:
        await server.start()
        ours, theirs = pair()
        serving.append(asyncio.create_task(serve(server, theirs)))
        return _Recorder(ours, recording)

    async def elicit(asked: ElicitParams) -> Json:
        return {"size": 1}

    async def sample(asked: CreateMessageParams) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=Text(text="x"), model="m")

    client = Client(
        join,
        revision=revision,
        on_elicit=elicit,
        on_sample=sample,
        roots=["file:///x"],
        on_change=lambda kind: None,
        on_log=lambda notice: None,
    )
    async with client:
        for name in TOOLS:
            arguments: Json = {"add": {"a": 1}, "visit": {"place": {"name": "x"}}}.get(name, {})
            with contextlib.suppress(InterlockError):
                await client.call_tool(name, arguments, timeout=0.2)
        for uri in URIS:
            with contextlib.suppress(InterlockError):
                await client.read_resource(uri)
        await client.subscribe("note://one")
        await client.get_prompt("greet", {"name": "x"})
        for listing in (client.list_tools(), client.list_resources(), client.list_prompts()):
            await listing
        await client.complete("greet", "name", "x")
    await asyncio.wait(serving)
    await server.stop()
    return recording


class _Recorder:
    """A client's end of a channel; what goes by is kept."""

    def __init__(self, channel: MemoryChannel, recording: Recording) -> None:
        self._channel = channel
        self._recording = recording
        self.drain = channel.drain
        self.close = channel.close
        self.failure = channel.failure

    @property
    def backlog(self) -> int:
        return self._channel.backlog

    async def receive(self) -> list[bytes]:
        batch = await self._channel.receive()
        self._recording["server"] += batch
        return batch

    def send(self, message: bytes) -> None:
        self._recording["client"].append(message)
        self._channel.send(message)
