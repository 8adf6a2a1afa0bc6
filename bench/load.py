"""One HTTP run: a closed loop over some connections, one request in flight on each.

A process of its own, so that it has a core of its own: reads what to do from stdin as JSON, writes
what it saw to stdout as JSON. Answers are checked whole before and after the run; during it their
number, status and length are.
"""

import asyncio
import gc
import http.client
import json
import os
import sys
from array import array
from time import perf_counter, sleep
from typing import Any

import httptools
import machine
import uvloop
from questions import FIRST_ID, INITIALIZED, QUESTIONS, Question, decode, initialize


class Run:
    """What all connections share: the clock, the counters, the next id."""

    def __init__(self) -> None:
        self.id = FIRST_ID + 1
        self.measuring = False
        self.over = False
        self.latencies = array("d")
        self.lengths: set[int] = set()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        if not self.failure.done():
            self.failure.set_exception(RuntimeError(reason))


class Connection(asyncio.Protocol):
    """Ask, wait for the whole answer, ask again."""

    def __init__(self, run: Run, before: bytes, after: bytes) -> None:
        self.run = run
        self.before = before
        self.after = after
        self.length = 0
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.feed = self.parser.feed_data
        self.ask()

    def ask(self) -> None:
        run = self.run
        run.id += 1
        self.sent = perf_counter()
        self.transport.write(b"%b%d%b" % (self.before, run.id, self.after))

    def data_received(self, data: bytes) -> None:
        self.feed(data)

    def on_body(self, data: bytes) -> None:
        self.length += len(data)

    def on_message_complete(self) -> None:
        run = self.run
        if run.measuring:
            run.latencies.append(perf_counter() - self.sent)
            run.lengths.add(self.length)
        self.length = 0
        if self.parser.get_status_code() != 200:
            run.fail(f"the server answered with status {self.parser.get_status_code()}")
        elif not run.over:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.run.over:
            self.run.fail(f"the server closed a connection in the middle of a run: {exc}")


class Caller:
    """One careful conversation: handshake, one request, checked, and the session's end."""

    def __init__(self, port: int, question: Question, era: str) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.question = question
        self.era = era
        self.session: str | None = None
        if era == "legacy":
            response, _ = self.post(initialize())
            self.session = response.getheader("Mcp-Session-Id")
            self.post(INITIALIZED)

    def post(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        self.http.request("POST", "/mcp", body, self.question.headers(self.era, self.session))
        response = self.http.getresponse()
        data = response.read()
        # Servers close connections that idle through a run; the next request opens one anew.
        self.http.close()
        if response.status not in {200, 202}:
            raise RuntimeError(f"status {response.status} to {body[:200]!r}: {data[:300]!r}")
        return response, data

    def check(self) -> str:
        """Ask once and hold the answer against what is right; says how it came."""
        before, after = self.question.body(self.era)
        response, data = self.post(b"%b%d%b" % (before, FIRST_ID, after))
        answer = decode(data)
        result = answer.get("result")
        if answer.get("id") != FIRST_ID or result is None or not self.question.right(result):
            raise RuntimeError(f"wrong answer to {self.question.name}: {data[:300]!r}")
        return "SSE" if "event-stream" in (response.getheader("Content-Type") or "") else "JSON"

    def leave(self) -> None:
        if self.session is not None:
            self.http.request("DELETE", "/mcp", headers={"Mcp-Session-Id": self.session})
            self.http.getresponse().read()
            self.http.close()


def first_answer(caller: Caller) -> str:
    """How the first right answer came; a gateway may need a moment before its servers are up."""
    until = perf_counter() + 20
    while True:
        try:
            return caller.check()
        except RuntimeError:
            if perf_counter() > until:
                raise
            sleep(0.1)


def raw(port: int, question: Question, era: str, session: str | None) -> tuple[bytes, bytes]:
    """A whole HTTP request around the id."""
    before, after = question.body(era)
    length = len(before) + len(str(FIRST_ID)) + len(after)
    headers = {
        "Host": f"127.0.0.1:{port}",
        **question.headers(era, session),
        "Content-Length": str(length),
    }
    lines = ["POST /mcp HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + before, after


async def measure(
    spec: dict[str, Any], question: Question, sessions: list[str | None]
) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    run = Run()
    transports: list[asyncio.BaseTransport] = []
    for session in sessions:
        before, after = raw(spec["port"], question, spec["era"], session)
        transport, _ = await loop.create_connection(
            lambda before=before, after=after: Connection(run, before, after),
            "127.0.0.1",
            spec["port"],
        )
        transports.append(transport)

    async def hold(seconds: float) -> None:
        await asyncio.wait([run.failure], timeout=seconds)
        if run.failure.done():
            run.failure.result()

    await hold(spec["warm"])
    gc.collect()
    gc.freeze()
    gc.disable()
    everyone, server, load = machine.busy(), machine.used(spec["pid"]), machine.used(spec["self"])
    began = perf_counter()
    run.measuring = True
    await hold(spec["seconds"])
    run.measuring = False
    elapsed = perf_counter() - began
    everyone = machine.busy() - everyone
    server = machine.used(spec["pid"]) - server
    load = machine.used(spec["self"]) - load
    run.over = True
    for transport in transports:
        transport.close()

    times = sorted(run.latencies)
    if not times:
        raise RuntimeError("no answer came during the run")
    if len(run.lengths) != 1:
        raise RuntimeError(f"answers of different lengths: {sorted(run.lengths)}")
    return {
        "rate": len(times) / elapsed,
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[len(times) * 99 // 100] * 1e3,
        "cpu_us": server / len(times) * 1e6,
        "memory_mb": machine.resident(spec["pid"]),
        "others": max(0.0, (everyone - server - load) / elapsed),
        "load": load / elapsed,
    }


def main() -> None:
    spec = json.load(sys.stdin)
    spec["self"] = os.getpid()
    machine.pin(spec["core"])
    question = QUESTIONS[spec["question"]]
    if spec["through"] is not None:
        question = question.through(spec["through"])
    callers = [
        Caller(spec["port"], question, spec["era"])
        for _ in range(spec["connections"] if spec["era"] == "legacy" else 1)
    ]
    reply = callers[0].check() if spec["through"] is None else first_answer(callers[0])
    sessions = [callers[at % len(callers)].session for at in range(spec["connections"])]
    seen = uvloop.run(measure(spec, question, sessions))
    callers[0].check()
    for caller in callers:
        caller.leave()
    kept = callers[0].session is not None
    json.dump({**seen, "reply": reply, "session": kept}, sys.stdout)


main()
