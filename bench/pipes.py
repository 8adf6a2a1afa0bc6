"""One stdio run: requests down a server's stdin, answers up its stdout, or the time to the first.

A process of its own, pinned like `load.py`, with the same contract: a JSON object in, one out.
"""

import json
import os
import subprocess
import sys
from time import perf_counter
from typing import Any

import machine
from questions import FIRST_ID, INITIALIZED, QUESTIONS, Question, decode, initialize

CHUNK = 1 << 18
IN_FLIGHT = 32


class Pipe:
    """A server at the other end of two pipes, and how to ask it."""

    def __init__(self, process: subprocess.Popen[bytes], question: Question, era: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.down = process.stdin.fileno()
        self.up = process.stdout.fileno()
        self.question = question
        self.before, after = question.body(era)
        self.after = after + b"\n"
        self.id = FIRST_ID
        if era == "legacy":
            self.write(initialize() + b"\n")
            self.line()
            self.write(INITIALIZED + b"\n")

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
        data = self.read()
        while not data.endswith(b"\n"):
            data += self.read()
        return data

    def ask(self, count: int = 1) -> None:
        first = self.id + 1
        self.id += count
        before, after = self.before, self.after
        ids = range(first, self.id + 1)
        self.write(b"".join(b"%b%d%b" % (before, each, after) for each in ids))

    def check(self) -> None:
        self.ask()
        data = self.line()
        answer = decode(data)
        result = answer.get("result")
        if answer.get("id") != self.id or result is None or not self.question.right(result):
            raise RuntimeError(f"wrong answer to {self.question.name}: {data[:300]!r}")


def sequential(pipe: Pipe, warm: float, seconds: float, times: list[float]) -> None:
    begin = perf_counter() + warm
    while perf_counter() < begin:
        pipe.ask()
        pipe.line()
    until = begin + seconds
    now = perf_counter()
    while now < until:
        pipe.ask()
        pipe.line()
        then, now = now, perf_counter()
        times.append(now - then)


def pipelined(pipe: Pipe, seconds: float) -> int:
    """Keep a fixed number in flight: each answer read sends one more request."""
    answered = 0
    pipe.ask(IN_FLIGHT)
    until = perf_counter() + seconds
    while perf_counter() < until:
        came = pipe.read().count(b"\n")
        if came:
            answered += came
            pipe.ask(came)
    left = IN_FLIGHT
    while left:
        left -= pipe.read().count(b"\n")
    return answered + IN_FLIGHT


def throughput(spec: dict[str, Any]) -> dict[str, Any]:
    question = QUESTIONS[spec["question"]]
    with machine.started(
        spec["command"], core=spec["server_core"], env=spec["env"], pipes=True
    ) as process:
        pipe = Pipe(process, question, spec["era"])
        pipe.check()
        idle = machine.resident(process.pid)
        everyone, mine = machine.busy(), machine.used(os.getpid())
        began = perf_counter()
        times: list[float] = []
        sequential(pipe, spec["warm"], spec["seconds"], times)
        pipelined(pipe, spec["warm"])
        server = machine.used(process.pid)
        start = perf_counter()
        count = pipelined(pipe, spec["seconds"])
        elapsed = perf_counter() - start
        cpu = (machine.used(process.pid) - server) / count
        whole = perf_counter() - began
        # Everything this process and the server, its child, used is in `mine`.
        others = (machine.busy() - everyone) - (machine.used(os.getpid()) - mine)
        pipe.check()
        times.sort()
        return {
            "rate": count / elapsed,
            "rate_one": len(times) / sum(times),
            "p50_us": times[len(times) // 2] * 1e6,
            "p99_us": times[len(times) * 99 // 100] * 1e6,
            "cpu_us": cpu * 1e6,
            "idle_mb": idle,
            "memory_mb": machine.resident(process.pid),
            "others": max(0.0, others / whole),
        }


def cold(spec: dict[str, Any]) -> dict[str, Any]:
    question = QUESTIONS[spec["question"]]
    times: list[float] = []
    for _ in range(spec["rounds"]):
        began = perf_counter()
        with machine.started(
            spec["command"], core=spec["server_core"], env=spec["env"], pipes=True
        ) as process:
            Pipe(process, question, spec["era"]).check()
            times.append((perf_counter() - began) * 1e3)
    times.sort()
    return {"median_ms": times[len(times) // 2], "best_ms": times[0], "worst_ms": times[-1]}


def main() -> None:
    spec = json.load(sys.stdin)
    machine.pin(spec["core"])
    json.dump({"throughput": throughput, "cold": cold}[spec["what"]](spec), sys.stdout)


main()
