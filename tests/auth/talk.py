"""Conversations of OAuth played to their end with a list of answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from interlock.auth.steps import Answer, Conversation, Fetch, Sent, Step, Visited

T = TypeVar("T")

SERVER = "https://mcp.example/mcp"
ISSUER = "https://as.example"
REDIRECT = "http://127.0.0.1:4711/callback"
NOTHING = Answer(404)
SCOPES = ["files:read", "files:write"]


def said(value: Any, status: int = 200, **headers: str) -> Answer:
    """An answer of JSON."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status, {"content-type": "application/json", **named}, json.dumps(value).encode())


def resource(**more: Any) -> Answer:
    """What the server says of itself."""
    return said({"resource": SERVER, "authorization_servers": [ISSUER], **more})


def described(**more: Any) -> dict[str, Any]:
    """What its authorization server says of itself."""
    return {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "registration_endpoint": f"{ISSUER}/register",
        "revocation_endpoint": f"{ISSUER}/revoke",
        "code_challenge_methods_supported": ["S256"],
        **more,
    }


def server(**more: Any) -> Answer:
    return said(described(**more))


def tokens(**more: Any) -> Answer:
    return said({"access_token": "access-1", "token_type": "Bearer", "expires_in": 3600, **more})


def came(**parameters: str | tuple[str, ...]) -> Visited:
    return Visited(
        {name: (each,) if isinstance(each, str) else each for name, each in parameters.items()}
    )


class Played:
    """A conversation that is sent *answers* in turn; its *steps*, and what it comes to.

    A function among the answers is given the step that it answers.
    """

    def __init__(self, *answers: Sent | Callable[[Any], Sent]) -> None:
        self.answers = list(answers)
        self.steps: list[Step] = []

    def of(self, conversation: Conversation[T]) -> T:
        try:
            step = next(conversation)
            while True:
                self.steps.append(step)
                assert self.answers, f"nothing was to be asked any more, but {step} is"
                answer = self.answers.pop(0)
                sent = answer if isinstance(answer, Answer | Visited) else answer(step)
                step = conversation.send(sent)
        except StopIteration as end:
            assert not self.answers, f"nobody asked for {self.answers}"
            return end.value
        finally:
            conversation.close()

    @property
    def urls(self) -> list[str]:
        return [step.url for step in self.steps]

    @property
    def sent(self) -> str:
        """All that went out, to look for what must not be in it."""
        return "\n".join(
            f"{step.url} {dict(step.headers)} {step.body!r}"
            if isinstance(step, Fetch)
            else step.url
            for step in self.steps
        )
