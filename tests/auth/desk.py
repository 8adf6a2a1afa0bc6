"""An engine by script: what a server answers, request by request, without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeAlias

from multidict import CIMultiDict

from interlock.transport.http.engine import Request


class Reply:
    """A response that is whole."""

    def __init__(
        self, status: int = 200, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.status = status
        self.headers: Mapping[str, str] = CIMultiDict(headers or {})
        self.body = body
        self.closed = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self.body

    async def read(self, limit: int) -> bytes:
        return self.body

    def close(self) -> None:
        self.closed += 1


def refusal(status: int = 401, **parameters: str) -> Reply:
    """A 401 or 403 with a challenge."""
    shown = ", ".join(f'{name}="{value}"' for name, value in parameters.items())
    return Reply(status, {"www-authenticate": f"Bearer {shown}".strip()})


Answering: TypeAlias = Callable[[Request], Reply | Awaitable[Reply]]


class Desk:
    """Answers each request as *answering* says, and notes it."""

    def __init__(self, answering: Answering | None = None) -> None:
        self.answering: Answering = answering or (lambda request: Reply())
        self.sent: list[Request] = []
        self.replies: list[Reply] = []
        self.closed = False

    async def send(self, request: Request) -> Reply:
        self.sent.append(request)
        reply = self.answering(request)
        found = reply if isinstance(reply, Reply) else await reply
        self.replies.append(found)
        return found

    async def close(self) -> None:
        self.closed = True

    @property
    def shown(self) -> list[str | None]:
        """What each request said who we are."""
        return [request.headers.get("authorization") for request in self.sent]
