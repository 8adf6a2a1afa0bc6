"""The authorization server that the official suite looks at, with one client that it knows.

`python -m tests.conformance.issuer --port N --callback M` serves it on the loopback; the suite waits
for its client's browser at port M. What the person of the box would read off a terminal is SIGN_IN.
"""

from __future__ import annotations

import argparse

from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.issuer import Issuer
from interlock.auth.issuer.people import Person
from interlock.auth.issuer.settings import Resource
from interlock.server.web import run_in_fast_loop

CLIENT = "conformance-client"
SIGN_IN = "conformance-sign-in"
RESOURCE = "http://127.0.0.1:3001/mcp"


def issuer(port: int, callback: int) -> Issuer:
    client = Client(
        id=CLIENT,
        name="The conformance suite",
        redirect_uris=(f"http://127.0.0.1:{callback}/callback",),
    )
    return Issuer(
        f"http://127.0.0.1:{port}",
        resources=(Resource(RESOURCE, {"mcp": "Use the server"}, "The suite's server"),),
        people=(Person("someone", "Someone", SIGN_IN),),
        clients=(client,),
    )


if __name__ == "__main__":
    from tests.behind import SERVERS, serve  # found with -m, and not by who only wants the names

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--callback", type=int, required=True)
    parser.add_argument("--behind", choices=SERVERS, default=SERVERS[0], help="HTTP server")
    options = parser.parse_args()
    app = issuer(options.port, options.callback)
    run_in_fast_loop(serve(app, options.behind, options.port))
