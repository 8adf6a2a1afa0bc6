"""Where a peer's word may lead us: to public addresses over https, and to what a person or an
operator named besides. Nothing is looked up here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, TypeAlias

from msgspec import Struct

from interlock.errors import ConfigError, UnsafeUrl

LIMIT: Final = 8 * 1024
"""The longest URL that is read, in characters."""

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# RFC 3986 § 2: everything else is percent-encoded, or was put there to be read in two ways.
_WRITTEN: Final = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]*")
_URL: Final = re.compile(
    r"(https?)://(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::([0-9]{0,5}))?(?:[/?#].*)?", re.IGNORECASE
)
_NAME: Final = re.compile(r"(?:[0-9a-z_-]{1,63}\.)*[0-9a-z_-]{1,63}")
_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
"""Hosts that some resolvers read as an address (WHATWG URL § 3.5, ends in a number)."""
_NAME_LENGTH: Final = 253
_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}

# The registries of IANA change, and `ipaddress` with them: what it calls global in one release it
# does not in another. What matters stands here too, so that the judgement is the same everywhere.
_SPECIAL: Final = tuple(
    map(
        ip_network,
        (
            "100.64.0.0/10",  # carriers' own; clouds keep metadata services in it too
            "168.63.129.16/32",  # Azure's host, from within: public as written, not as routed
            "192.0.0.0/24",  # protocol assignments
            "192.88.99.0/24",  # 6to4 relays
            "198.18.0.0/15",  # benchmarks
            "2001::/23",  # protocol assignments, with Teredo: it ends at an address within
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: it ends at an address within
            "3fff::/20",  # documentation
        ),
    )
)
_UNICAST: Final = IPv6Network("2000::/3")
"""All of IPv6 that is given out; what is local, compatible or reserved lies outside."""
_NAT64: Final = IPv6Network("64:ff9b::/96")


class Place(Struct, frozen=True):
    """What a URL says about where it leads: scheme, host, port."""

    scheme: str
    host: str
    """In lower case, without brackets, without a dot at its end."""
    port: int
    address: Address | None = None
    """The host, if it is written as an address."""

    @property
    def is_loopback(self) -> bool:
        """Whether the host says of itself that it is this machine (RFC 6761 § 6.3)."""
        if self.address is not None:
            return plain(self.address).is_loopback
        return self.host == "localhost" or self.host.endswith(".localhost")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


class Reach:
    """How far a peer's word may lead.

    *near* is the URL that a person typed: its host may have any address, and if it says that it is
    this machine, other services of this machine may be gone to as well. *allowed* are hosts and
    networks ("10.0.0.0/8") that an operator permits besides.

    Plain http is for this machine only, and for the host of *near* if it was typed so and is not
    a public one.
    """

    def __init__(self, near: str | None = None, allowed: Sequence[str] = ()) -> None:
        typed = None if near is None else _typed(near)
        self._near = None if typed is None else typed.host
        self._plain_near = typed is not None and typed.scheme in ("http", "ws")
        self._loopback = typed is not None and typed.is_loopback
        self._hosts: set[str] = set()
        self._networks: list[Network] = []
        for entry in allowed:
            found = _allowed(entry)
            if isinstance(found, str):
                self._hosts.add(found)
            else:
                self._networks.append(found)
                self._loopback |= any(address in found for address in _LOOPBACKS)

    def place(self, url: str) -> Place:
        """Where *url* leads, if nothing that it says forbids to go there; else raises `UnsafeUrl`.

        A host that is a name is yet to be looked up, and `judge` to be asked about its addresses.
        """
        place = read(url)
        if place.address is not None:
            self.judge(place, [place.address])
        elif place.is_loopback and not (self._loopback or self._owns(place)):
            raise UnsafeUrl(f"{place} is this machine, where a peer leads nobody")
        elif place.scheme == "http" and not self._may_be_plain(place):
            raise UnsafeUrl(f"{place} is not gone to without encryption: https is expected")
        return place

    def judge(self, place: Place, addresses: Iterable[Address]) -> None:
        """Raises `UnsafeUrl` unless each of the *addresses* of a place may be gone to.

        The text does not name them: who asks may be after what our resolver knows.
        """
        for each in addresses:
            address = plain(each)
            public = is_public(address)
            if not (public or self._permits(place, address)):
                raise UnsafeUrl(
                    f"{place} has an address that is not public; whoever operates this may allow "
                    "its host or network"
                )
            if place.scheme == "http" and not address.is_loopback:
                typed = self._plain_near and place.host == self._near
                if public or not typed:
                    raise UnsafeUrl(f"{place} is not gone to without encryption: https is expected")

    def _permits(self, place: Place, address: Address) -> bool:
        return (
            self._owns(place)
            or (self._loopback and address.is_loopback)
            or any(address in network for network in self._networks)
        )

    def _owns(self, place: Place) -> bool:
        return place.host == self._near or place.host in self._hosts

    def _may_be_plain(self, place: Place) -> bool:
        if place.is_loopback or place.host in self._hosts:
            return True
        return self._plain_near and place.host == self._near


def unsafe(url: str, *, near: str | None = None, allowed: Sequence[str] = ()) -> str | None:
    """Why *url*, which a peer named, is not to be fetched nor opened for a person; None if nothing
    speaks against it as it is written. *near* and *allowed* are as in `Reach`.
    """
    try:
        Reach(near, allowed).place(url)
    except UnsafeUrl as error:
        return str(error)
    return None


def read(url: str) -> Place:
    """Where *url* leads; raises `UnsafeUrl` if that can be read in more ways than one, or not."""
    if len(url) > LIMIT:
        raise UnsafeUrl(f"A URL of {len(url)} characters is not read: at most {LIMIT} are")
    if not is_written(url):
        raise UnsafeUrl(
            "A URL holds spaces, controls, backslashes or other characters that none may have; "
            "they must be percent-encoded, and a host in other letters be written as xn--"
        )
    match = _URL.fullmatch(url)
    if match is None:
        raise UnsafeUrl(_fault(url))
    scheme, host, digits = match[1].lower(), match[2].lower(), match[3]
    port = int(digits) if digits else _PORTS[scheme]
    if not 0 < port < 0x10000:
        raise UnsafeUrl(f"{scheme}://{host} has no port {port}")
    if host.startswith("["):
        address = _parsed(host[1:-1])
        if address is None:
            raise UnsafeUrl(f"{host} is no address")
        return Place(scheme, str(address), port, address)
    if _NUMBER.fullmatch(host.rstrip(".")):
        address = _parsed(host)
        if address is None:
            raise UnsafeUrl(
                f"{host[:100]} is an address in disguise: four decimal numbers are expected"
            )
        return Place(scheme, host, port, address)
    name = host.removesuffix(".")
    if len(name) > _NAME_LENGTH or not _NAME.fullmatch(name):
        raise UnsafeUrl(f"{host[:100]} is no name of a host")
    return Place(scheme, name, port)


def is_written(text: str) -> bool:
    """Whether *text* is of the characters that URLs are written in, and of no others."""
    return _WRITTEN.fullmatch(text) is not None


def is_public(address: Address) -> bool:
    """Whether *address* is one machine on the Internet, to whoever asks from wherever."""
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    address = plain(address)
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    if address.is_multicast or not address.is_global:
        return False
    return not any(address in network for network in _SPECIAL)


def plain(address: Address) -> Address:
    """An IPv4 address that is written as one of IPv6 (::ffff:127.0.0.1), as what it is."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


_LOOPBACKS: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


def _fault(url: str) -> str:
    scheme, colon, rest = url.partition(":")
    if not colon or scheme.lower() not in ("http", "https"):
        return f"A URL that begins with {scheme[:20]!r} is not gone to: https:// is expected"
    authority = re.split("[/?#]", rest.removeprefix("//"), maxsplit=1)[0]
    if "@" in authority:
        return "A URL with a user in it is not gone to: it shows one host and means another"
    return f"A URL has no host that can be read: {scheme}://host/path is expected"


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _typed(url: str) -> Place:
    # The person's own: a password may stand in it, and WebSockets are spoken to as well.
    scheme, _, rest = url.partition("://")
    end = re.search("[/?#]", rest)
    authority = rest[: end.start()] if end else rest
    web = {"ws": "http", "wss": "https"}.get(scheme.lower(), scheme)
    try:
        return read(f"{web}://{authority.rpartition('@')[2]}")
    except UnsafeUrl as error:
        raise ConfigError(f"The server's URL cannot be used: {error}") from None


def _allowed(entry: str) -> str | Network:
    try:
        return ip_network(entry.strip("[]"))
    except ValueError:
        pass
    host = entry.lower().removesuffix(".")
    if _NAME.fullmatch(host) and not _NUMBER.fullmatch(host):
        return host
    raise ConfigError(
        f"{entry!r} cannot be allowed: a host or a network such as '10.0.0.0/8' is expected"
    )
