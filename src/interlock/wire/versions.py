"""The revisions of the protocol and their two eras, as data.

*Legacy* revisions open with a handshake and remember it; *modern* ones carry everything with each
request. What a revision adds or drops is a row in `methods` or an attribute here, never a branch
on a date elsewhere.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Revision(Struct, frozen=True, order=True):
    """One published revision; revisions compare by age."""

    name: str
    modern: bool
    batches: bool = False
    """JSON-RPC arrays are allowed (2025-03-26 alone)."""
    primed_streams: bool = False
    """An SSE stream may open with an event that has an id and no data (SEP-1699)."""

    def __str__(self) -> str:
        return self.name


V2024_11_05: Final = Revision("2024-11-05", modern=False)
V2025_03_26: Final = Revision("2025-03-26", modern=False, batches=True)
V2025_06_18: Final = Revision("2025-06-18", modern=False)
V2025_11_25: Final = Revision("2025-11-25", modern=False, primed_streams=True)
V2026_07_28: Final = Revision("2026-07-28", modern=True)

ALL: Final = (V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28)
BY_NAME: Final = {revision.name: revision for revision in ALL}
LEGACY: Final = {revision.name: revision for revision in ALL if not revision.modern}
MODERN: Final = {revision.name: revision for revision in ALL if revision.modern}
LATEST_LEGACY: Final = V2025_11_25
LATEST_MODERN: Final = V2026_07_28
UNSTATED: Final = V2025_03_26
"""What an HTTP request without a version header is taken for (2025-06-18 § Transports)."""


def settle(requested: str) -> Revision:
    """The legacy revision to answer an `initialize` with: the one asked for, or our latest."""
    return LEGACY.get(requested, LATEST_LEGACY)
