"""What every HTTP answer of ours says to browsers that come upon it: do nothing with this."""

from __future__ import annotations

from typing import Final

SAFE: Final[list[tuple[bytes, bytes]]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
"""Joined beforehand: they cost nothing with each answer."""
UNKEPT: Final = (b"cache-control", b"no-store")
"""Of whatever says nothing else about being kept."""
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")


def hardened(resource: str) -> list[tuple[bytes, bytes]]:
    """The headers of answers at *resource*, a URL; "" if it is not known."""
    return [*SAFE, _HSTS] if resource.startswith("https:") else SAFE
