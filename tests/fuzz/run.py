"""Send messages at our server and our client, over stdio and HTTP, in both eras.

    python tests/fuzz/run.py --messages 200000 --requests 1000000 --seed 1

The requests are HTTP that is hardly any, at our own HTTP server: a tenth of them over sockets.
Every side must answer a last ping (in the modern era, discovery), log no error that is no masked
failure of a handler, say nothing that its revision forbids, and leave nothing behind. The seed is
printed, and says everything that was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import sys
import time
from pathlib import Path
from typing import Final

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fuzz import clients, posts, requests, servers
from tests.fuzz.corpus import Corpus, Recording, record
from tests.fuzz.kitchen import quiet
from tests.fuzz.watching import Wrong
from tests.peers import LEGACY, MODERN

SHARES: Final = {
    "pipes": 12,
    "asgi": 12,
    "loopback": 3,
    "socket": 4,
    "sse": 1,
    "client pipes": 9,
    "client http": 9,
}
"""Of a hundred messages in all, half of them in each era, how many go where in one."""


async def fire(name: str, revision: str, seed: str, recording: Recording, count: int) -> str:
    """Send *count* messages at one side; what came of it."""
    corpus = Corpus(revision, f"{seed} {name}", recording)
    match name:
        case "pipes":
            return await servers.over_pipes(corpus, count)
        case "asgi":
            return await posts.over_http(corpus, count, real=False)
        case "loopback":
            return await posts.over_http(corpus, count, real=True)
        case "socket":
            return await servers.over_socket(corpus, count)
        case "sse":
            return await servers.over_sse(corpus, count)
        case "client pipes":
            return await clients.from_pipes(revision, seed, count)
        case _:
            return await clients.from_http(corpus, seed, count)


async def recorded() -> dict[str, Recording]:
    """Valid traffic of every revision that is sent."""
    return {revision: await record(revision) for revision in (*LEGACY[1:], MODERN)}


def sides() -> list[tuple[str, str]]:
    """Every side in both eras. The legacy revisions take turns."""
    names = list(SHARES)
    turns = [(name, LEGACY[1 + at % (len(LEGACY) - 1)]) for at, name in enumerate(names)]
    return [*turns, *((name, MODERN) for name in names)]


async def fire_requests(name: str, seed: str, count: int) -> str:
    """Send *count* mutated HTTP requests; what came of it."""
    at = requests.over_sockets if name == "requests over sockets" else requests.at_protocol
    return await at(seed, count)


async def main(messages: int, seed: str, only: str) -> int:
    recordings = await recorded()
    for name, revision in sides():
        if only not in f"{name} {revision}":
            continue
        began = time.monotonic()
        try:
            count = messages * SHARES[name] // 100
            told = await fire(name, revision, seed, recordings[revision], count)
        except Wrong as wrong:
            print(f"seed {seed}, {name}: {wrong}", file=sys.stderr)
            return 1
        print(f"{told}, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{messages} messages, seed {seed}: all sides answered their last ping")
    return 0


async def also_requests(number: int, seed: str, only: str) -> int:
    """Send *number* requests, a tenth of them over sockets."""
    shares = {
        "requests over sockets": number // 10,
        "requests at the protocol": number - number // 10,
    }
    for name, count in shares.items():
        if not count or only not in name:
            continue
        began = time.monotonic()
        try:
            told = await fire_requests(name, seed, count)
        except Wrong as wrong:
            print(f"seed {seed}, {name}: {wrong}", file=sys.stderr)
            return 1
        print(f"{told}, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{number} requests, seed {seed}: the server answered its last ping")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--only", default="", help="only sides with this in their name")
    given = parser.parse_args()
    quiet()
    logging.basicConfig(handlers=[logging.NullHandler()])  # What is logged is for a Watch to judge.
    print(f"seed {given.seed}", flush=True)
    failed = asyncio.run(main(given.messages, given.seed, given.only))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # The one it is served in.
        failed |= runner.run(also_requests(given.requests, given.seed, given.only))
    sys.exit(failed)
