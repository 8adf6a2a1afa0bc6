"""A server by script at the other end of a channel: method by method, what it answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tests.peers import MODERN, Json

from interlock.transport.channel import Channel
from interlock.transport.memory import MemoryChannel, pair

Answer: TypeAlias = Json | int | None
"""A result; a number for an error with that code; None for silence."""

INFO = {"name": "peer", "version": "1"}


def greeting(version: str = "2025-11-25") -> Json:
    return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": INFO}


def discovery(*versions: str) -> Json:
    return {
        "supportedVersions": list(versions or [MODERN]),
        "capabilities": {"tools": {}},
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
    }


class Peer:
    """A server by script, at the other end of a channel: method by method, what it answers."""

    def __init__(self, **answers: Answer | Callable[[Peer, Json], Awaitable[None]]) -> None:
        self.answers = {name.replace("_", "/"): answer for name, answer in answers.items()}
        self.heard: list[str] = []
        self.opened = 0
        self.running: set[asyncio.Task[None]] = set()
        self.channel: MemoryChannel | None = None

    async def open(self) -> Channel:
        self.opened += 1
        ours, self.channel = pair()
        self.running.add(asyncio.create_task(self._serve(self.channel)))
        return ours

    async def _serve(self, channel: MemoryChannel) -> None:
        while batch := await channel.receive():
            for data in batch:
                message = json.loads(data)
                self.heard.append(message["method"])
                answer = self.answers.get(message["method"])
                if callable(answer):
                    await answer(self, message)
                elif "id" in message:
                    self.reply(message, answer)

    def reply(self, message: Json, answer: Answer) -> None:
        assert self.channel is not None
        body: Json = {"jsonrpc": "2.0", "id": message["id"]}
        if answer is None:
            return
        if isinstance(answer, int):
            body["error"] = {"code": answer, "message": "no"}
        else:
            body["result"] = answer
        self.channel.send(json.dumps(body).encode())
