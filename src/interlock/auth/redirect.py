"""What a browser is sent back with: the query of a redirect, and whether it is of this login.

Whether it also is a good answer is for the conversation to say; here is only decided whether the
person may stop waiting for another.
"""

from __future__ import annotations

import hmac
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from interlock.auth.steps import Visited

LIMIT: Final = 16 * 1024
"""The most characters a query may have."""
PARAMETERS: Final = 32
"""The most parameters it may have."""


def read(query: str) -> Visited | None:
    """The parameters of a redirect, each with all its values; None if that cannot be read."""
    if len(query) > LIMIT or not query.isascii():
        return None
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS)
    except ValueError:
        return None
    parameters: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        parameters[name] = (*parameters.get(name, ()), value)
    return Visited(parameters)


def state_of(url: str) -> str | None:
    """The state that a login was begun with, as its URL says; None if it says none or two."""
    asked = read(urlsplit(url).query)
    states = asked.parameters.get("state", ()) if asked else ()
    return states[0] if len(states) == 1 else None


def refusal(visited: Visited | None, state: str | None) -> str | None:
    """Why what came is not what this login waits for, in half a sentence; None if it is.

    *state* None takes any.
    """
    if visited is None:
        return "it cannot be read"
    if "code" not in visited.parameters and "error" not in visited.parameters:
        return "it brings neither a code nor an error"
    if state is None:
        return None
    came = visited.parameters.get("state", ())
    if len(came) != 1 or not hmac.compare_digest(came[0].encode(), state.encode()):
        return "it comes from another login (its state is not this one's)"
    return None
