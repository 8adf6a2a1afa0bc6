"""What a client asks most, in a word, whatever its revision."""

from __future__ import annotations

from typing import Any

from tests.peers import MODERN, Json
from tests.spec.ways import Open, Peer

from interlock.wire.meta import SERVER_INFO, SUBSCRIPTION_ID

LISTS = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
"""The list requests, and where their results hold the list."""


async def offered(peer: Peer) -> Json:
    """What the server says it can do."""
    return (await _greeting(peer))["capabilities"]


async def server_info(peer: Peer) -> Json:
    greeting = await _greeting(peer)
    return greeting["_meta"][SERVER_INFO] if peer.revision == MODERN else greeting["serverInfo"]


async def listed(peer: Peer, method: str = "tools/list", **params: Any) -> list[Json]:
    return (await peer.ask(method, params)).result[LISTS[method]]


async def call(peer: Peer, name: str, **arguments: Any) -> Json:
    """The result of a tool."""
    return (await peer.ask("tools/call", {"name": name, "arguments": arguments})).result


async def read(peer: Peer, uri: str) -> list[Json]:
    """The contents of a resource."""
    return (await peer.ask("resources/read", {"uri": uri})).result["contents"]


async def watch(peer: Peer, *uris: str, lists: bool = False) -> Open:
    """Where changes of *uris*, and of all lists, arrive from now on."""
    if peer.revision != MODERN:
        standing = await peer.listen()
        for uri in uris:
            assert (await peer.ask("resources/subscribe", {"uri": uri})).result == {}
        return standing
    wanted: Json = {"resourceSubscriptions": list(uris)} if uris else {}
    if lists:
        wanted |= dict.fromkeys(
            ("toolsListChanged", "promptsListChanged", "resourcesListChanged"), True
        )
    listening = await peer.open("subscriptions/listen", {"notifications": wanted})
    said = await listening.until(lambda message: "method" in message)
    assert said["method"] == "notifications/subscriptions/acknowledged"
    assert said["params"]["_meta"][SUBSCRIPTION_ID] == listening.id
    return listening


async def _greeting(peer: Peer) -> Json:
    return peer.greeting or (await peer.ask("server/discover")).result
