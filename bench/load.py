"""HTTP runs: a closed loop over some connections, one request in flight on each.

A process of its own, so that it has a core of its own: reads what to do from stdin, a JSON object a
line, and writes what it saw to stdout likewise. An answer is checked whole before and after a run;
during it each must be a 200 with the id that was asked and the length that all have.

It waits on sockets itself and reads no heads: so it costs less than any server it asks.
"""

import gc
import http.client
import itertools
import os
import select
import socket
from array import array
from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter, sleep
from typing import Any

import httptools
import machine
import probes
from questions import FIRST_ID, INITIALIZED, WHO, Question, decode, initialize, question

CHUNK, LARGE_CHUNK = 1 << 16, 1 << 18
LARGE = 1 << 20
STALLED = 60.0
TRIES = 200
"""Connections that are made until one comes to a certain worker."""
AT_ONCE = 16
GOOD = b"HTTP/1.1 200"
CHUNKED = b"transfer-encoding: chunked"
LAST_CHUNK = b"\r\n0\r\n\r\n"


class Caller:
    """One careful conversation: handshake, one request, checked, and the session's end."""

    def __init__(self, port: int, question: Question, era: str) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=STALLED)
        self.question = question
        self.era = era
        self.session: str | None = None
        self.version = ""
        if era == "legacy":
            response, data = self.post(initialize())
            self.session = response.getheader("Mcp-Session-Id")
            # A bridge to one server over stdio has one handshake, and refuses the next.
            self.version = decode(data).get("result", {}).get("protocolVersion", "")
            self.post(INITIALIZED)

    def headers(self) -> dict[str, str]:
        return self.question.headers(self.era, self.session, self.version)

    def post(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        self.http.request("POST", "/mcp", body, self.headers())
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


def first_answer(caller: Caller, patience: float = 60) -> str:
    """How the first right answer came; a gateway may need a moment before its servers are up."""
    until = perf_counter() + patience
    while True:
        try:
            return caller.check()
        except RuntimeError:
            if perf_counter() > until:
                raise
            sleep(0.1)


class Wire:
    """One connection, and the request that is sent on it again and again with another id."""

    ids = itertools.count(FIRST_ID + 1)

    def __init__(self, port: int, question: Question, caller: Caller) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=STALLED)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.hurried = False
        self.id = b""
        self.sent = 0.0
        self.pieces: list[bytes] = []
        self.missing = 0
        self.aim(port, question, caller)

    def aim(self, port: int, question: Question, caller: Caller) -> None:
        """Ask this from now on."""
        before, after = question.body(caller.era)
        headers = {
            "Host": f"127.0.0.1:{port}",
            "User-Agent": "bench",
            **question.headers(caller.era, caller.session, caller.version),
            "Content-Length": str(len(before) + len(str(FIRST_ID)) + len(after)),
        }
        if question.heads != 1:
            headers["X-Request-Id"] = "%d"
        lines = ["POST /mcp HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join([*lines, "", ""]).encode()
        escaped = head if question.heads != 1 else head.replace(b"%", b"%%")
        self.template = b"%b%b%%d%b" % (
            escaped,
            before.replace(b"%", b"%%"),
            after.replace(b"%", b"%%"),
        )
        self.heads = question.heads

    def acknowledge(self) -> None:
        """Say at once that a piece came, to a server that waits for this before it sends the next."""
        if self.hurried:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def ask(self, now: float) -> None:
        number = next(Wire.ids)
        self.id = b"%d" % number
        self.sent = now
        if self.heads == 1:
            self.socket.sendall(self.template % number)
        else:
            said = number % self.heads if self.heads else number
            self.socket.sendall(self.template % (said, number))

    def learn(self) -> bytes:
        """Ask once and read the answer as HTTP: all its bytes, head included."""
        done: list[bool] = []

        class Reader:
            def on_message_complete(self) -> None:
                done.append(True)

        parser = httptools.HttpResponseParser(Reader())
        pieces: list[bytes] = []
        self.ask(perf_counter())
        while not done:
            data = self.socket.recv(CHUNK)
            if not data:
                raise RuntimeError("the server closed a connection before it answered")
            parser.feed_data(data)
            pieces.append(data)
            self.acknowledge()
        if parser.get_status_code() != 200:
            raise RuntimeError(f"the server answered with status {parser.get_status_code()}")
        return b"".join(pieces)


class Load:
    """All connections of a run, and what their answers took.

    It asks again when half of the answers are there, or sixteen: with one at a time, whichever of
    the two sides is faster falls asleep between any two, and waking it costs more than answering
    does in the fastest servers; whether it came to that would be chance.

    An answer is whole when it is as long as *length* says; without one, after its last chunk:
    streams of events may number them, and so grow.
    """

    def __init__(self, wires: list[Wire], length: int | None, *, awake: bool) -> None:
        self.length = length
        self.enough = min((len(wires) + 1) // 2, AT_ONCE)
        self.held: list[Wire] = []
        self.times = array("d")
        self.waited = 0.0
        self.awake = awake
        self.epoll = select.epoll(len(wires) + 1)
        self.wires: dict[int, Wire] = {}
        for wire in wires:
            self.wires[wire.socket.fileno()] = wire
            self.epoll.register(wire.socket.fileno(), select.EPOLLIN)
        for wire in wires:
            # With a timeout each send and receive would ask first whether it may: two calls more.
            wire.socket.settimeout(None)
            wire.missing = length or 0
            wire.ask(perf_counter())

    def go(self, seconds: float, *, again: bool = True) -> None:
        """Take answers and ask on for so long; or, not *again*, until none is missing."""
        wires, length, poll, keep = self.wires, self.length, self.epoll.poll, self.times.append
        held = self.held
        # Room for more than comes is made anew with each read, and costs more than the read.
        chunk = LARGE_CHUNK if (length or 0) > LARGE else CHUNK
        until = perf_counter() + seconds
        while perf_counter() < until if again else len(held) < len(wires):
            for descriptor, _ in poll(0) or self.wait():
                wire = wires[descriptor]
                data = wire.socket.recv(chunk)
                if len(data) != length or wire.pieces:
                    data = self.collect(wire, data)
                    if data is None:
                        continue
                if not data.startswith(GOOD) or wire.id not in data:
                    raise RuntimeError(f"a wrong answer came during a run: {data[:300]!r}")
                keep(perf_counter() - wire.sent)
                held.append(wire)
            if again and len(held) >= self.enough:
                for wire in held:
                    wire.ask(perf_counter())
                held.clear()

    def wait(self) -> list[tuple[int, int]]:
        """What comes next; with a core of its own, found without sleep that a server would end."""
        began = perf_counter()
        poll, timeout = self.epoll.poll, 0 if self.awake else STALLED
        while not (events := poll(timeout)):
            if perf_counter() > began + STALLED:
                raise RuntimeError(f"no answer came for {STALLED:g} seconds")
        self.waited += perf_counter() - began
        return events

    def collect(self, wire: Wire, data: bytes) -> bytes | None:
        """The whole answer, if it is here now."""
        if not data:
            raise RuntimeError("the server closed a connection in the middle of a run")
        wire.pieces.append(data)
        wire.acknowledge()
        if self.length is None:
            whole = b"".join(wire.pieces)
            wire.pieces[:] = [] if whole.endswith(LAST_CHUNK) else [whole]
            return None if wire.pieces else whole
        wire.missing -= len(data)
        if wire.missing > 0:
            return None
        if wire.missing < 0:
            raise RuntimeError(f"an answer of another length than {self.length} came during a run")
        wire.missing = self.length
        whole = b"".join(wire.pieces)
        wire.pieces.clear()
        return whole


@contextmanager
def wired(
    port: int,
    asked: Question,
    callers: list[Caller],
    *,
    hurried: bool = False,
    awake: bool = True,
    worker: int | None = None,
) -> Generator[Load]:
    """Connections that ask; with *worker*, those alone that this process of a crew was given."""
    wires: list[Wire] = []
    load = None
    try:
        for caller in callers:
            wires.append(wire := Wire(port, asked, caller))
            if worker is not None:
                meet(wire, worker, port, asked, caller)
        for wire in wires:
            wire.hurried = hurried
        answers = [wires[0].learn() for _ in range(3)]
        lengths = {len(answer) for answer in answers}
        chunked = CHUNKED in answers[0].partition(b"\r\n\r\n")[0].lower()
        if len(lengths) != 1 and not chunked:
            raise RuntimeError(f"answers of different lengths: {sorted(lengths)}")
        load = Load(wires, None if chunked else lengths.pop(), awake=awake)
        yield load
    finally:
        if load is not None:
            load.epoll.close()
        for wire in wires:
            wire.socket.close()


def meet(wire: Wire, worker: int, port: int, asked: Question, caller: Caller) -> None:
    """Connect anew until *worker* is at the other end."""
    for _ in range(TRIES):
        wire.aim(port, WHO, caller)
        if b'"%d"' % worker in wire.learn():
            wire.aim(port, asked, caller)
            return
        wire.socket.close()
        wire.socket = socket.create_connection(("127.0.0.1", port), timeout=STALLED)
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raise RuntimeError(f"of {TRIES} connections none came to the worker with the pid {worker}")


def measure(spec: dict[str, Any], load: Load) -> dict[str, Any]:
    load.go(spec["warm"])
    del load.times[:]
    load.waited = 0.0
    gc.collect()
    gc.freeze()
    gc.disable()
    pid, mine = spec["pid"], os.getpid()
    machine.forget_peak(pid)
    everyone, server, own = machine.everyone(), machine.used(pid), machine.used(mine)
    began = perf_counter()
    load.go(spec["seconds"])
    elapsed, waited = perf_counter() - began, load.waited
    server, own = machine.used(pid) - server, machine.used(mine) - own
    everyone = machine.everyone() - everyone
    times = sorted(load.times)
    memory = machine.resident(pid)
    load.go(STALLED, again=False)
    gc.enable()
    gc.unfreeze()
    if not times:
        raise RuntimeError("no answer came during the run")
    return {
        "rate": len(times) / elapsed,
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[len(times) * 99 // 100] * 1e3,
        "cpu_us": server / len(times) * 1e6,
        "memory_mb": memory,
        "peak_mb": machine.peak(pid),
        "others": max(0.0, (everyone - server - own) / elapsed),
        "load": 1 - waited / elapsed,
        "own": own / elapsed,
    }


def run(spec: dict[str, Any]) -> dict[str, Any]:
    machine.pin(*spec["cores"])
    asked = question(spec)
    count: int = spec["connections"]
    callers = [
        Caller(spec["port"], asked, spec["era"])
        for _ in range(count if spec["era"] == "legacy" else 1)
    ]
    reply = first_answer(callers[-1], spec["patience"])
    newest = [callers[-1 - at % len(callers)] for at in range(count)]
    idle = machine.resident(spec["pid"])
    hurried = spec.get("hurried", False)
    worker = spec.get("worker")
    with wired(
        spec["port"], asked, newest, hurried=hurried, awake=spec["awake"], worker=worker
    ) as load:
        seen = measure(spec, load)
    callers[-1].check()
    for caller in callers:
        caller.leave()
    return {
        **seen,
        "idle_mb": idle,
        "reply": reply,
        "session": callers[-1].session is not None,
    }


if __name__ == "__main__":
    probes.serve(run)
