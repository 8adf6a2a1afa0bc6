"""`WWW-Authenticate`: written by who wants to know who is calling, read by who is asked (RFC 9110
§ 11.6.1, RFC 6750 § 3, RFC 9449 § 7.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from msgspec import Struct

LIMIT: Final = 8 * 1024
"""Characters of a header that are read."""
CHALLENGES: Final = 32
"""Challenges that are looked at, and headers that they may come in."""

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SCHEME: Final = re.compile(rf"({_TOKEN})(?=[ \t,]|$)")
# A value without quotes has to be a token; some write a URL so all the same.
_PARAMETER: Final = re.compile(
    rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}[^\x00-\x20",\\\x7f]*))'
)
_TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_UNSAFE: Final = re.compile(r"[^\x20-\x7e]")


class Challenge(Struct, frozen=True):
    """One way to say who one is: a scheme in lower case, and parameters by lower-case name."""

    scheme: str
    parameters: Mapping[str, str]

    @property
    def scopes(self) -> tuple[str, ...]:
        return tuple(self.parameters.get("scope", "").split())


def parse(values: Iterable[str]) -> list[Challenge]:
    """The challenges of all `WWW-Authenticate` headers, in order; what cannot be read is left out.

    Several may stand in one header, separated by the commas that separate parameters too.
    """
    found: list[Challenge] = []
    for value in islice(values, CHALLENGES):
        found += _parse(value[:LIMIT])
    return found[:CHALLENGES]


def _parse(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    parameters: dict[str, str] | None = None
    place = 0
    while place < len(text):
        if text[place] in " \t,":
            place += 1
        elif parameters is not None and (match := _PARAMETER.match(text, place)):
            name, quoted, plain = match.groups()
            value = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
            # The first of a name counts: a second was perhaps put in by somebody else.
            parameters.setdefault(name.lower(), value)
            place = match.end()
        elif match := _SCHEME.match(text, place):
            parameters = {}
            found.append(Challenge(match[1].lower(), parameters))
            place = match.end()
            while place < len(text) and text[place] in " \t":
                place += 1
            if not _PARAMETER.match(text, place) and (blob := _TOKEN68.match(text, place)):
                place = blob.end()  # As `Negotiate` and `Basic` have: nothing to us.
        else:
            # Not to be read: go on behind the next comma.
            comma = text.find(",", place)
            place = len(text) if comma < 0 else comma + 1
            parameters = None
    return found


def written(scheme: str, parameters: Mapping[str, str | None]) -> str:
    """A challenge as a header's value; parameters that are None are left out."""
    shown = ", ".join(
        f'{name}="{_quotable(value)}"' for name, value in parameters.items() if value is not None
    )
    return f"{scheme} {shown}" if shown else scheme


def _quotable(value: str) -> str:
    return _UNSAFE.sub("?", value).replace("\\", "\\\\").replace('"', '\\"')
