"""The floor under uvicorn: an app that decodes JSON, looks up an answer, encodes JSON, checks nothing.

Whatever an ASGI server costs above this is what the protocol costs in it.
"""

import argparse
from typing import Any

import uvicorn
from bare_answers import DECODER, answer, answers

HEADERS = [(b"content-type", b"application/json")]


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
        data = answer(table, message)
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
