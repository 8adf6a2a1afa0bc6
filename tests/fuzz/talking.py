"""A conversation with our server that carries both directions: what is said in it, and when.

Messages fly without waiting for answers. Now and then all that was asked is taken back, and a marker
is sent, which must be answered; so must the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, cast

from tests.fuzz.corpus import CAPABLE, Corpus
from tests.fuzz.watching import Watch, Wrong
from tests.peers import MODERN, Json, hello, modern, say
from tests.peers import ask as request

MARK_EVERY: Final = 250
PATIENCE: Final = 60.0
"""Seconds in which a marker must be answered, on a slow machine; a hang, not a speed limit."""
SHOWN: Final = 3000


def marker(revision: str, id: str) -> bytes:
    """A request that is always answered."""
    return modern("server/discover", id) if revision == MODERN else request("ping", id)


class Talk:
    """What a client says: *put* queues a message, *flush* waits until those have gone.

    What comes back is given to `listen`, as it comes.
    """

    def __init__(
        self,
        corpus: Corpus,
        watch: Watch,
        put: Callable[[bytes], list[bytes]],
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        """*put* gives back what the server will take for messages in what was sent."""
        self.answers = 0
        self._sent: deque[bytes] = deque(maxlen=MARK_EVERY)
        self._corpus = corpus
        self._watch = watch
        self._put_on = put
        self._flush = flush
        self._ear = watch.ear("server")
        self._marks = 0
        self._marked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked: dict[Any, None] = {}
        self._questions: deque[Json] = deque(maxlen=50)

    async def go(self, count: int, warm: Callable[[], None]) -> None:
        """Send *count* messages; *warm* is called once a fifth of them went."""
        await self._begin()
        for number in range(1, count + 1):
            await self._write(self._corpus.to_server())
            if number % MARK_EVERY == 0:
                await self._settle()
            if number >= count // 5:
                warm()
        await self._settle()

    async def listen(self, messages: AsyncIterator[bytes]) -> None:
        """Take what the server sends, until it sends nothing more."""
        try:
            async for message in messages:
                self._hear(message)
        except Exception as error:
            # The top of a task: nobody waits for it, and the next marker would wait in vain.
            self._watch.wrong.append(f"what came cannot be read: {error!r}")
        finally:
            if not self._marked.done():
                self._marked.set_result(False)

    def _hear(self, message: bytes) -> None:
        self._ear.hear("server", message)
        said = json.loads(message)
        for each in cast("list[Any]", said) if isinstance(said, list) else [said]:
            if "method" not in each:
                self.answers += 1
                if each.get("id") == f"mark-{self._marks}" and not self._marked.done():
                    if "result" not in each:
                        self._watch.wrong.append(f"a marker was answered with {each}")
                    self._marked.set_result(True)
            elif "id" in each:
                self._questions.append(each)

    async def _begin(self) -> None:
        if self._corpus.revision != MODERN:
            self._put(hello(self._corpus.revision, capabilities=CAPABLE))
            self._put(say("notifications/initialized"))
        self._asked.clear()  # A handshake is not taken back.
        await self._settle()

    async def _write(self, data: bytes) -> None:
        chance = self._corpus.chance
        if self._questions and chance.random() < 0.5:
            data = self._corpus.answer(self._questions.popleft())
        self._put(data)
        if chance.random() < 0.02:
            await self._flush()
            await asyncio.sleep(0)

    async def _settle(self) -> None:
        """Take back all that was asked, then wait for a marker's answer."""
        for number in self._asked:
            self._put(say("notifications/cancelled", {"requestId": number}))
        self._asked.clear()
        self._questions.clear()
        self._marks += 1
        self._marked = asyncio.get_running_loop().create_future()
        self._put(marker(self._corpus.revision, f"mark-{self._marks}"))
        try:
            async with asyncio.timeout(PATIENCE):
                await self._flush()
                answered = await self._marked
        except TimeoutError:
            raise Wrong(f"no answer to a marker; last sent was\n{self._last()}") from None
        if not answered:
            raise Wrong(f"the server ended: {self._watch.wrong}; last sent was\n{self._last()}")

    def _put(self, data: bytes) -> None:
        self._sent.append(data)
        for message in self._put_on(data):
            self._ear.hear("client", message)
            with contextlib.suppress(ValueError, RecursionError):
                said = json.loads(message)
                for each in cast("list[Any]", said) if isinstance(said, list) else [said]:
                    if isinstance(each, dict) and isinstance(each.get("id"), int | str):  # pyright: ignore[reportUnknownMemberType]
                        self._asked[each["id"]] = None

    def _last(self) -> bytes:
        return b"\n".join(self._sent)[-SHOWN:]
