"""The floor of HTTP in Python: an asyncio protocol with httptools and uvloop that checks nothing.

It decodes the request, looks up an answer and writes it: what is above this is what a server does.
"""

import argparse
import asyncio
from typing import Any

import httptools
import uvloop
from bare_answers import DECODER, answer, answers

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"


class Bare(asyncio.Protocol):
    def __init__(self, table: Any) -> None:
        self.table = table
        self.body: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.write = transport.write
        self.feed = httptools.HttpRequestParser(self).feed_data

    def data_received(self, data: bytes) -> None:
        self.feed(data)

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        body = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        self.body.clear()
        if not body:
            self.write(ACCEPTED)
            return
        message = DECODER.decode(body)
        if "id" not in message:
            self.write(ACCEPTED)
            return
        data = answer(self.table, message)
        self.write(ANSWER % (len(data), data))


async def serve(port: int, tools: int) -> None:
    table = answers(tools)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Bare(table), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", type=int, metavar="PORT", required=True)
    parser.add_argument("--tools", type=int, default=2)
    options = parser.parse_args()
    uvloop.run(serve(options.http, options.tools))


main()
