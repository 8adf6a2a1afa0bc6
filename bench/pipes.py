"""stdio runs: requests down a server's stdin, answers up its stdout, or the time to the first.

A process of its own, pinned like `load.py`, with the same contract. Servers stay open between runs,
so that all of them can be asked in turn. Answers are checked whole before and after a run; during it
their number is, and that each is as long as the first.
"""

import os
import subprocess
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

import machine
import probes
from questions import FIRST_ID, INITIALIZED, Question, decode, initialize, question

CHUNK = 1 << 18
IN_FLIGHT = 32


class Pipe:
    """A server at the other end of two pipes, and how to ask it."""

    def __init__(self, process: subprocess.Popen[bytes], question: Question, era: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self.down = process.stdin.fileno()
        self.up = process.stdout.fileno()
        self.id = FIRST_ID
        self.use(question, era)
        if era == "legacy":
            self.write(initialize() + b"\n")
            self.line()
            self.write(INITIALIZED + b"\n")

    def use(self, question: Question, era: str) -> None:
        self.question = question
        self.before, after = question.body(era)
        self.after = after + b"\n"

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.down, view) :]

    def read(self) -> bytes:
        data = os.read(self.up, CHUNK)
        if not data:
            raise RuntimeError("the server closed its stdout in the middle of a run")
        return data

    def line(self) -> bytes:
        pieces = [self.read()]
        while not pieces[-1].endswith(b"\n"):
            pieces.append(self.read())
        return b"".join(pieces)

    def ask(self, count: int = 1) -> None:
        first = self.id + 1
        self.id += count
        before, after = self.before, self.after
        ids = range(first, self.id + 1)
        self.write(b"".join([b"%b%d%b" % (before, each, after) for each in ids]))

    def check(self) -> int:
        """Ask once and hold the answer against what is right; how long it was."""
        self.ask()
        data = self.line()
        answer = decode(data)
        result = answer.get("result")
        if answer.get("id") != self.id or result is None or not self.question.right(result):
            raise RuntimeError(f"wrong answer to {self.question.name}: {data[:300]!r}")
        return len(data)


def one_by_one(pipe: Pipe, seconds: float, length: int) -> list[float]:
    times: list[float] = []
    now = perf_counter()
    until = now + seconds
    while now < until:
        pipe.ask()
        if len(pipe.line()) != length:
            raise RuntimeError(f"an answer of another length than {length} came during a run")
        then, now = now, perf_counter()
        times.append(now - then)
    return times


def in_flight(pipe: Pipe, seconds: float, length: int) -> int:
    """Keep a fixed number in flight: each answer read sends one more request."""
    answered = taken = 0
    pipe.ask(IN_FLIGHT)
    until = perf_counter() + seconds
    while perf_counter() < until:
        data = pipe.read()
        came = data.count(b"\n")
        taken += len(data)
        if came:
            answered += came
            pipe.ask(came)
    left = IN_FLIGHT
    while left:
        data = pipe.read()
        taken += len(data)
        left -= data.count(b"\n")
    answered += IN_FLIGHT
    if taken != answered * length:
        raise RuntimeError(f"answers of other lengths than {length} came during a run")
    return answered


class Open:
    """The servers that are open, by the number they were given."""

    def __init__(self) -> None:
        self.pipes: dict[int, tuple[Pipe, AbstractContextManager[Any]]] = {}

    def do(self, spec: dict[str, Any]) -> dict[str, Any]:
        machine.pin(*spec["cores"])
        return {
            "open": self.open,
            "many": self.many,
            "one": self.one,
            "sizes": self.sizes,
            "cold": self.cold,
            "close": self.close,
        }[spec["do"]](spec)

    def open(self, spec: dict[str, Any]) -> dict[str, Any]:
        start = machine.started(
            spec["command"], core=spec["server_core"], env=spec["env"], pipes=True
        )
        pipe = Pipe(start.__enter__(), question(spec), spec["era"])
        self.pipes[spec["number"]] = pipe, start
        pipe.check()
        return {"idle_mb": machine.resident(pipe.pid)}

    def close(self, spec: dict[str, Any]) -> dict[str, Any]:
        _, start = self.pipes.pop(spec["number"])
        start.__exit__(None, None, None)
        return {}

    def many(self, spec: dict[str, Any]) -> dict[str, Any]:
        """So many in flight for a while."""
        pipe, _ = self.pipes[spec["number"]]
        in_flight(pipe, spec["warm"], pipe.check())
        watched = Watched(pipe.pid)
        count = in_flight(pipe, spec["seconds"], pipe.check())
        seen = watched.done()
        pipe.check()
        return {
            "rate": count / seen["elapsed"],
            "cpu_us": seen["server"] / count * 1e6,
            "memory_mb": machine.resident(pipe.pid),
            "others": seen["others"],
            "load": seen["load"],
        }

    def one(self, spec: dict[str, Any]) -> dict[str, Any]:
        """One at a time for a while."""
        pipe, _ = self.pipes[spec["number"]]
        one_by_one(pipe, spec["warm"], pipe.check())
        watched = Watched(pipe.pid)
        times = sorted(one_by_one(pipe, spec["seconds"], pipe.check()))
        seen = watched.done()
        pipe.check()
        return {
            "rate": len(times) / sum(times),
            "p50_us": times[len(times) // 2] * 1e6,
            "p99_us": times[len(times) * 99 // 100] * 1e6,
            "cpu_us": seen["server"] / len(times) * 1e6,
            "others": seen["others"],
            "load": seen["load"],
        }

    def sizes(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Some calls of one size, one at a time, and the most memory they took."""
        pipe, _ = self.pipes[spec["number"]]
        pipe.use(question(spec), spec["era"])
        pipe.check()
        machine.forget_peak(pipe.pid)
        watched = Watched(pipe.pid)
        times: list[float] = []
        for _ in range(spec["count"]):
            began = perf_counter()
            pipe.ask()
            pipe.line()
            times.append(perf_counter() - began)
        seen = watched.done()
        times.sort()
        return {
            "p50_ms": times[len(times) // 2] * 1e3,
            "cpu_us": seen["server"] / len(times) * 1e6,
            "peak_mb": machine.peak(pipe.pid),
            "others": seen["others"],
        }

    def cold(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Start a server and wait for its first answer, once."""
        began, everyone = perf_counter(), machine.everyone()
        mine = machine.used(os.getpid())
        with machine.started(
            spec["command"], core=spec["server_core"], env=spec["env"], pipes=True
        ) as process:
            Pipe(process, question(spec), spec["era"]).check()
            took = perf_counter() - began
            # The server is a child of this process.
            others = machine.everyone() - everyone - (machine.used(os.getpid()) - mine)
        return {"ms": took * 1e3, "others": max(0.0, others / took)}


class Watched:
    """What a stretch of time costs the server, this process, and everybody else."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.before = self.now()

    def now(self) -> tuple[float, float, float, float]:
        mine = machine.alone(os.getpid())
        return machine.everyone(), machine.used(self.pid), mine, perf_counter()

    def done(self) -> dict[str, float]:
        everyone, server, mine, elapsed = (
            after - before for after, before in zip(self.now(), self.before, strict=True)
        )
        return {
            "elapsed": elapsed,
            "server": server,
            "load": mine / elapsed,
            "others": max(0.0, (everyone - server - mine) / elapsed),
        }


if __name__ == "__main__":
    probes.serve(Open().do)
