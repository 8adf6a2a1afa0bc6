"""What a server may ask of the client in the middle of a call: elicitation, sampling, roots.

Legacy revisions send these as requests of the server's own; modern ones carry them inside an
`InputRequired` result that the client answers by calling again (SEP-2322).
"""

from __future__ import annotations

from typing import Any, Final, Literal

from interlock.wire.content import SamplingBlock
from interlock.wire.meta import Params, Result, Role, Wire


class ElicitParams(Params):
    """A form to fill in (*requested_schema*), or with mode "url" a page to visit (*url*)."""

    message: str
    requested_schema: dict[str, Any] | None = None
    mode: Literal["form", "url"] | None = None
    url: str | None = None
    elicitation_id: str | None = None


class ElicitResult(Result):
    """*content* comes with "accept" of a form only."""

    action: Literal["accept", "decline", "cancel"]
    content: dict[str, Any] | None = None


class SamplingMessage(Wire):
    role: Role
    content: SamplingBlock | list[SamplingBlock]


class CreateMessageParams(Params):
    messages: list[SamplingMessage]
    max_tokens: int
    system_prompt: str | None = None
    model_preferences: dict[str, Any] | None = None
    include_context: str | None = None
    temperature: float | None = None
    stop_sequences: list[str] | None = None
    metadata: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: dict[str, Any] | None = None


class CreateMessageResult(Result):
    role: Role
    content: SamplingBlock | list[SamplingBlock]
    model: str
    stop_reason: str | None = None


class Root(Wire):
    """A place the client works in; *uri* is a file URI. Advice, not a fence."""

    uri: str
    name: str | None = None


class ListRootsParams(Params):
    pass


class ListRootsResult(Result):
    roots: list[Root]


class InputRequired(Result):
    """The low-level way to ask: return it instead of a result, answer when the client retries.

    *input_requests* maps keys of the handler's choice to questions; *request_state* comes back
    byte for byte. It is the client's to tamper with: seal whatever matters. Modern era only.
    """

    input_requests: dict[str, dict[str, Any]] | None = None
    request_state: str | None = None


ELICIT: Final = "elicitation/create"
SAMPLE: Final = "sampling/createMessage"
ROOTS: Final = "roots/list"

ASKED: Final[dict[str, type[Result]]] = {
    ELICIT: ElicitResult,
    SAMPLE: CreateMessageResult,
    ROOTS: ListRootsResult,
}
"""All that a server may ask, and what the answer is."""
