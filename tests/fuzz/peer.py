"""A server that answers anything with anything, but greets, and answers ping, as it should.

Run as a program, with a revision and a seed, it serves its pipes; as an ASGI application, HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from typing import Any, Final

from tests.fuzz.corpus import Corpus, Recording, record
from tests.fuzz.kitchen import quiet
from tests.peers import MODERN, Json

from interlock.wire import sse
from interlock.wire.jsonrpc import UNREADABLE
from interlock.wire.meta import SERVER_INFO

INFO: Final[Json] = {"name": "peer", "version": "1"}
MOST: Final = 6
"""Messages beside the answer to one request, at most."""


class Peer:
    """What such a server sends for each message it gets. *sent* counts."""

    def __init__(self, corpus: Corpus) -> None:
        self.sent = 0
        self._corpus = corpus

    def answer(self, message: Json) -> list[bytes]:
        """What goes out for one message, an answer among it or not."""
        if "method" not in message or "id" not in message:
            return []
        kept = self._sober(message)
        chance = self._corpus.chance
        noise = [
            self._corpus.to_client(None if kept else message)
            for _ in range(chance.randint(1, MOST))
        ]
        if kept is not None:
            # Nothing else under the id of what must be answered.
            noise = [each for each in noise if not _mentions(each, message["id"])]
            noise.append(json.dumps(kept).encode())
        self.sent += len(noise)
        return noise

    def _sober(self, message: Json) -> Json | None:
        capabilities: Json = {
            "tools": {"listChanged": True},
            "resources": {"subscribe": True, "listChanged": True},
            "prompts": {},
            "logging": {},
        }
        result: Json
        match message["method"]:
            case "initialize" if self._corpus.revision != MODERN:
                version = self._corpus.revision
                result = {"protocolVersion": version, "serverInfo": INFO}
                result["capabilities"] = capabilities
            case "server/discover" if self._corpus.revision == MODERN:
                result = {
                    "supportedVersions": [MODERN],
                    "capabilities": capabilities,
                    "resultType": "complete",
                    "ttlMs": 0,
                    "cacheScope": "private",
                    "_meta": {SERVER_INFO: INFO},
                }
            case "ping":
                result = {}
            case _:
                return None
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}


class PeerApp:
    """The same over HTTP: JSON or a stream, with any status; sometimes it breaks off."""

    def __init__(self, corpus: Corpus) -> None:
        self.peer = Peer(corpus)
        self._corpus = corpus

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        message: Any = json.loads(body) if body else None
        if scope["method"] != "POST":
            await _respond(send, 405, b"text/plain", b"no")
        elif not isinstance(message, dict) or "id" not in message or "method" not in message:
            await _respond(send, 202, b"application/json", b"")
        else:
            await self._answer(message, send)  # pyright: ignore[reportUnknownArgumentType]

    async def _answer(self, message: Json, send: Any) -> None:
        chance = self._corpus.chance
        said = self.peer.answer(message)
        sober = message["method"] in ("ping", "initialize", "server/discover")
        if sober and chance.random() < 0.5:
            await _respond(send, 200, b"application/json", said[-1])
        elif sober or chance.random() < 0.7:
            await self._stream(said, send, sober=sober)
        else:
            status = chance.choice((200, 200, 200, 400, 404, 500, 302))
            kind = chance.choice((b"application/json", b"application/json", b"text/plain"))
            await _respond(send, status, kind, said[0])

    async def _stream(self, said: list[bytes], send: Any, *, sober: bool) -> None:
        chance = self._corpus.chance
        chunk = b"".join(sse.event(each) for each in said)
        if not sober and chance.random() < 0.3:
            chunk = chunk[: chance.randint(0, len(chunk))]
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while chunk:
            at = chance.choice((1, 7, 1000, len(chunk)))
            await send({"type": "http.response.body", "body": chunk[:at], "more_body": True})
            chunk = chunk[at:]
        await send({"type": "http.response.body", "body": b""})


async def _respond(send: Any, status: int, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _mentions(said: bytes, id: Any) -> bool:
    """Whether a message, however it is read, could be an answer to this request."""
    return (b'"id"' in said and json.dumps(id).encode() in said) or b'"error"' in said


async def serve_pipes(revision: str, seed: str) -> None:
    """Answer what comes on stdin until it ends."""
    recording: Recording = await record(revision)
    peer = Peer(Corpus(revision, seed, recording))
    for line in sys.stdin.buffer:
        with contextlib.suppress(*UNREADABLE, ValueError):
            message = json.loads(line)
            for each in peer.answer(message):
                sys.stdout.buffer.write(each + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    quiet()
    logging.basicConfig(handlers=[logging.NullHandler()])
    asyncio.run(serve_pipes(sys.argv[1], sys.argv[2]))
