"""FastMCP's proxy over HTTP before one stdio server, as its documentation makes one.

JSON answers, uvicorn with uvloop and httptools, warnings only.
"""

import argparse
import logging

import uvicorn
from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", type=int, metavar="PORT", required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    program, *arguments = options.command
    proxy = create_proxy(StdioTransport(program, arguments, keep_alive=True), name="bench")
    uvicorn.run(
        proxy.http_app(path="/mcp", json_response=True),
        host="127.0.0.1",
        port=options.http,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )


main()
