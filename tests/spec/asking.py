"""What a client asks most, in a word, whatever its revision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Struct
from tests.peers import MODERN, Json
from tests.spec.ways import Answer, Open, Peer

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


class Talked(Struct):
    """What came of a call, and what was asked before."""

    answer: Answer
    questions: list[Json]
    """Method and params of each."""


Respond: TypeAlias = Callable[[Json], Json]
"""From a question to the result that answers it."""


async def talk(peer: Peer, name: str, respond: Json | Respond, **arguments: Any) -> Talked:
    """Call a tool and answer all it asks: on the stream in the legacy era, by calling again since."""
    answers: Respond = respond if callable(respond) else lambda _: respond
    params: Json = {"name": name, "arguments": arguments}
    questions: list[Json] = []
    while peer.revision == MODERN:
        answer = await peer.ask("tools/call", params)
        result = answer.message.get("result", {})
        if result.get("resultType") != "input_required":
            return Talked(answer, questions)
        asked: Json = result.get("inputRequests", {})
        questions += asked.values()
        params["inputResponses"] = {key: answers(question) for key, question in asked.items()}
        params["requestState"] = result["requestState"]
    begun = await peer.open("tools/call", params)
    while True:
        message = await begun.until(lambda said: "id" in said)
        if "method" not in message:
            return Talked(Answer(message, []), questions)
        questions.append({"method": message["method"], "params": message.get("params", {})})
        await peer.reply(message, answers(questions[-1]))
