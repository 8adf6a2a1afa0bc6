"""The floor: a uvicorn app that decodes JSON, looks up an answer, encodes JSON, and checks nothing.

Whatever a server costs above this is what the protocol costs in it. It speaks just enough of both
eras for the bench to ask it the same questions.
"""

import argparse
from typing import Any

import msgspec
import uvicorn

DECODER = msgspec.json.Decoder()
ENCODER = msgspec.json.Encoder()
HEADERS = [(b"content-type", b"application/json")]
SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "count": {"type": "integer", "default": 1}},
    "required": ["text"],
}


def answers(tools: int) -> Any:
    listed = [
        {
            "name": f"extra_{number:03}",
            "description": "Repeat a text. One of many tools that make the list long.",
            "inputSchema": SCHEMA,
        }
        for number in range(tools)
    ]
    # Encoded once, as a server that thinks about it would.
    listing = msgspec.Raw(ENCODER.encode({"tools": listed}))

    def call(params: Any) -> Any:
        arguments = params["arguments"]
        if params["name"] == "add":
            total = {"sum": arguments["a"] + arguments["b"]}
            text = ENCODER.encode(total).decode()
            return {"content": [{"type": "text", "text": text}], "structuredContent": total}
        return {"content": [{"type": "text", "text": arguments["text"]}]}

    def read(params: Any) -> Any:
        uri: str = params["uri"]
        return {"contents": [{"uri": uri, "text": f"Hello, {uri.rpartition('/')[2]}!"}]}

    def get(params: Any) -> Any:
        text = f"Tell me about {params['arguments']['topic']}."
        return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}

    def initialize(params: Any) -> Any:
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "bare", "version": "1.0.0"},
        }

    return {
        "tools/call": call,
        "tools/list": lambda params: listing,
        "resources/read": read,
        "prompts/get": get,
        "initialize": initialize,
    }


def build(tools: int) -> Any:
    table = answers(tools)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        message = DECODER.decode(body)
        if "id" not in message:
            await send({"type": "http.response.start", "status": 202, "headers": HEADERS})
            await send({"type": "http.response.body"})
            return
        result = table[message["method"]](message["params"])
        data = ENCODER.encode({"jsonrpc": "2.0", "id": message["id"], "result": result})
        length = (b"content-length", b"%d" % len(data))
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, length]})
        await send({"type": "http.response.body", "body": data})

    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", type=int, metavar="PORT", required=True)
    parser.add_argument("--tools", type=int, default=2)
    options = parser.parse_args()
    uvicorn.run(
        build(options.tools),
        host="127.0.0.1",
        port=options.http,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )


main()
