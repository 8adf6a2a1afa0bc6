"""What the three bare servers answer: decoded, looked up, encoded, and nothing checked.

They speak just enough of both eras for the bench, and for a gateway, to ask them.
"""

from typing import Any

import msgspec

DECODER = msgspec.json.Decoder()
ENCODER = msgspec.json.Encoder()
SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "count": {"type": "integer", "default": 1}},
    "required": ["text"],
}
INFO = {"name": "bare", "version": "1.0.0"}
CAPABILITIES = {"tools": {}, "resources": {}, "prompts": {}}


def answers(tools: int) -> Any:
    names = ["echo", "add", *(f"extra_{number:03}" for number in range(tools - 2))]
    listed = [
        {
            "name": name,
            "description": "Repeat a text. One of many tools that make the list long.",
            "inputSchema": SCHEMA,
        }
        for name in names[:tools]
    ]
    # Encoded once, as a server that thinks about it would.
    whole = {"resultType": "complete", "tools": listed, "ttlMs": 60_000, "cacheScope": "public"}
    listing = msgspec.Raw(ENCODER.encode(whole))

    def call(params: Any) -> Any:
        arguments = params["arguments"]
        if params["name"] == "add":
            total = {"sum": arguments["a"] + arguments["b"]}
            text = ENCODER.encode(total).decode()
            return {
                "resultType": "complete",
                "content": [{"type": "text", "text": text}],
                "structuredContent": total,
            }
        return {
            "resultType": "complete",
            "content": [{"type": "text", "text": arguments["text"]}],
        }

    def read(params: Any) -> Any:
        uri: str = params["uri"]
        return {
            "resultType": "complete",
            "contents": [{"uri": uri, "text": f"Hello, {uri.rpartition('/')[2]}!"}],
            "ttlMs": 0,
            "cacheScope": "private",
        }

    def get(params: Any) -> Any:
        text = f"Tell me about {params['arguments']['topic']}."
        return {
            "resultType": "complete",
            "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
        }

    def initialize(params: Any) -> Any:
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": CAPABILITIES,
            "serverInfo": INFO,
        }

    def discover(params: Any) -> Any:
        return {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": CAPABILITIES,
            "ttlMs": 60_000,
            "cacheScope": "public",
            "_meta": {"io.modelcontextprotocol/serverInfo": INFO},
        }

    return {
        "tools/call": call,
        "tools/list": lambda params: listing,
        "resources/read": read,
        "prompts/get": get,
        "initialize": initialize,
        "server/discover": discover,
    }


def answer(table: Any, message: Any) -> bytes:
    """The bytes of one answer; what is not known gets an error."""
    found = table.get(message["method"])
    if found is None:
        error = {"code": -32601, "message": f"Unknown method: {message['method']}"}
        return ENCODER.encode({"jsonrpc": "2.0", "id": message["id"], "error": error})
    result = found(message.get("params"))
    return ENCODER.encode({"jsonrpc": "2.0", "id": message["id"], "result": result})
