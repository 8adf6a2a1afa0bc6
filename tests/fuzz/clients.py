"""Our client under fire: from a child process over its pipes, from an endpoint over HTTP.

Its calls may fail, in the ways that it promises, and it must still be answered a ping in the end.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.fuzz.corpus import TOOLS, URIS, Corpus
from tests.fuzz.peer import PeerApp
from tests.fuzz.posts import served
from tests.fuzz.servers import ROOT
from tests.fuzz.watching import Weight, Wrong, nothing_left, watching
from tests.peers import MODERN, Json

from interlock import Client
from interlock.client import subscriptions
from interlock.errors import ConnectionLost, InterlockError
from interlock.testing.listening import Ear, TappedChannel
from interlock.transport.channel import Channel
from interlock.transport.process import ProcessChannel
from interlock.wire.content import Text
from interlock.wire.inputs import CreateMessageParams, CreateMessageResult, ElicitParams
from interlock.wire.meta import Params

AT_ONCE: Final = 32
SECONDS: Final = 0.1
"""How long a call waits for a peer that answers it, if at all, at once."""


async def from_pipes(revision: str, seed: str, count: int) -> str:
    """Call a server that is our child until it has sent *count* messages."""
    where = f"client, stdio, {revision}"
    with watching(where) as watch:
        channels: list[_Counting] = []

        async def start() -> Channel:
            child = await ProcessChannel.start(
                sys.executable,
                ["-m", "tests.fuzz.peer", revision, seed],
                cwd=str(ROOT),
                env={"PYTHONPATH": os.environ.get("PYTHONPATH", "")},  # it runs what we run
                name="peer",
            )
            channels.append(_Counting(child, watch.ear("client")))
            return channels[-1]

        client = _client(start, revision)
        told = await _call(client, seed, count, where, lambda: channels[0].received)
        for channel in channels:
            # A peer that fails says so: that would be a fault of its own.
            watch.wrong += [line for line in channel.child.stderr if "Error" in line]
        await nothing_left(where)
    return told


async def from_http(corpus: Corpus, seed: str, count: int) -> str:
    """Call an endpoint on the loopback interface until it has sent *count* messages."""
    where = f"client, HTTP, {corpus.revision}"
    with watching(where):
        app = PeerApp(corpus)
        async with served(app) as url:
            client = _client(url, corpus.revision)
            told = await _call(client, seed, count, where, lambda: app.peer.sent)
        await nothing_left(where)
    return told


async def _call(
    client: Client, seed: str, count: int, where: str, received: Callable[[], int]
) -> str:
    """Make calls until *count* messages were *received*, then one that must succeed."""
    weight = Weight()
    async with _impatient(), client:
        calls = _Calls(client, seed)
        while received() < count:
            await calls.some()
            if received() >= count // 5:
                weight.warm()
        await calls.last()
        grown = weight.judge(where)
    return f"{where}: {received()} received, {calls}, {grown // 1024} KiB grown"


@asynccontextmanager
async def _impatient() -> AsyncGenerator[None]:
    """A peer that does not acknowledge a subscription is not waited for long."""
    usual = subscriptions.ACKNOWLEDGED_WITHIN
    subscriptions.ACKNOWLEDGED_WITHIN = SECONDS  # pyright: ignore[reportConstantRedefinition]
    try:
        yield
    finally:
        subscriptions.ACKNOWLEDGED_WITHIN = usual  # pyright: ignore[reportConstantRedefinition]


class _Counting(TappedChannel):
    """A child's channel that counts what came."""

    def __init__(self, child: ProcessChannel, ear: Ear) -> None:
        super().__init__(child, ear, "client")
        self.child = child
        self.received = 0

    async def receive(self) -> list[bytes]:
        batch = await super().receive()
        self.received += len(batch)
        return batch


def _client(target: Any, revision: str) -> Client:
    async def elicit(asked: ElicitParams) -> Json | None:
        return {"size": 1} if asked.requested_schema else None

    async def sample(asked: CreateMessageParams) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=Text(text="x"), model="m")

    async def visit(asked: ElicitParams) -> bool:
        return False

    def ignore(_: object) -> None:
        pass

    return Client(
        target,
        revision=revision,
        timeout=SECONDS,
        on_elicit=elicit,
        on_elicit_url=visit,
        on_sample=sample,
        roots=["file:///x"],
        on_log=ignore,
        on_change=ignore,
        on_update=ignore,
        on_noise=ignore,
        on_stderr=ignore,
    )


class _Calls:
    """Calls of every kind, a few at once."""

    def __init__(self, client: Client, seed: str) -> None:
        self.made = 0
        self.failed = 0
        self._client = client
        self._chance = random.Random(seed)

    def __str__(self) -> str:
        return f"{self.made} calls of which {self.failed} failed"

    async def some(self) -> None:
        calls = [self._attempt(self._any()) for _ in range(AT_ONCE)]
        await asyncio.gather(*calls)

    async def last(self) -> None:
        """What must succeed."""
        method = "server/discover" if self._client.revision == MODERN else "ping"
        await self._client.request(method, Params(), timeout=30)

    async def _attempt(self, call: Callable[[], Awaitable[object]]) -> None:
        self.made += 1
        try:
            await call()
        except ConnectionLost as error:
            if "ended before" not in str(error) and "broke off" not in str(error):
                raise Wrong(f"the connection was lost: {error}") from error
            self.failed += 1
        except InterlockError:
            self.failed += 1

    def _any(self) -> Callable[[], Awaitable[object]]:
        client, chance = self._client, self._chance
        name, uri = chance.choice(TOOLS), chance.choice(URIS)

        async def listed(listing: Any) -> object:
            return await listing

        return chance.choice(
            (
                lambda: client.call_tool(name, {"text": "x"}, on_progress=lambda _: None),
                lambda: client.call_tool(name),
                lambda: client.read_resource(uri),
                lambda: client.get_prompt(name),
                lambda: client.complete("greet", "name", "x"),
                lambda: listed(client.list_tools()),
                lambda: listed(client.list_resources()),
                lambda: client.subscribe(uri),
                lambda: client.unsubscribe(uri),
            )
        )
