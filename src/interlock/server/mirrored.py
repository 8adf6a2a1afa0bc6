"""Arguments that HTTP repeats in headers: found when a tool is offered, held when it is called."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final

from msgspec import Raw

from interlock.errors import HEADER_MISMATCH, RegistrationError, RpcError
from interlock.protocol.call import Call
from interlock.wire.decoding import pattern
from interlock.wire.meta import members
from interlock.wire.parameters import BadAnnotation, Mirrored, disagreement, mirrored
from interlock.wire.tools import CallToolParams, Tool

_WORDS: Final = pattern(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_SECRETS: Final = pattern(
    r"\b(?:password|passwd|passphrase|secret|token|credentials?|authorization|cookie|ssn"
    r"|api ?key|private ?key)\b"
)
"""What arguments that nobody should mirror are called (2026-07-28 § Tools, x-mcp-header)."""


def promised(listed: Tool) -> tuple[Mirrored, ...]:
    """What a tool's schema wants mirrored; mostly nothing.

    Raises `RegistrationError` where no client could do it, and warns of what looks like a secret.
    """
    try:
        found = mirrored(listed.input_schema)
    except BadAnnotation as error:
        raise RegistrationError(f"{listed.name}: {error}") from None
    for one in found:
        words = _WORDS.findall(f"{one.header} {one.argument}")
        if _SECRETS.search(" ".join(words).lower()):
            warnings.warn(
                f"{listed.name}: {one.argument} looks like a secret, and as {one.header} it will "
                "stand in the logs of every proxy on the way; do not mirror it",
                stacklevel=5,  # where the tool is registered
            )
    return found


def hold(call: Call, parameters: Sequence[Mirrored]) -> None:
    """Refuse a call whose headers say anything else than its arguments (-32020).

    The arguments as they came: what a middleware made of them no header knows of.
    """
    mirror, params = call.mirror, call.params
    if mirror is None or not parameters:
        return  # It came by a pipe or from a legacy client, or there is nothing to compare.
    assert isinstance(params, CallToolParams)
    arguments = params.arguments
    if call.fields is not None:
        arguments = members(call.raw).get("arguments", Raw())
    if (said := disagreement(parameters, arguments, mirror.headers)) is not None:
        raise RpcError(HEADER_MISMATCH, f"Header mismatch: {said}")
