"""One call by room: which files of ours it runs through, how often, and what share of its time.

A profiler makes functions dearer than what is written in C, so shares are shares of the profiled
time; the numbers of calls are exact.
"""

import ast
import os
import pstats
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from pipes import Pipe
from typing import Any, TypeAlias, cast

import machine
import targets as known
from load import Caller, Wire, first_answer
from questions import QUESTIONS, Question
from runs import Plan, Row, fail, note
from targets import Target

Where: TypeAlias = tuple[str, int, str]
Entry: TypeAlias = tuple[int, int, float, float, dict[Where, tuple[int, int, float, float]]]

PACKAGE = "/interlock/"
ELSEWHERE = "the loop and libraries"
KERNEL = "reading and writing, by the kernel"
SYSTEM_CALLS = ("posix.read", "posix.write", "'recv", "'send", "'writev'")


def profiles(plan: Plan, servers: list[Target]) -> list[Row]:
    """A row a room and path, the dearest rooms first."""
    ours = next(target for target in servers if target.key == "interlock")
    calls = 300 if plan.quick else 2000
    rows: list[Row] = []
    for path, ask in (("HTTP", over_http), ("stdio", over_pipe), ("gateway", through_gateway)):
        with tempfile.TemporaryDirectory() as name:
            try:
                stats = ask(ours, Path(name), calls)
            except (RuntimeError, OSError) as failure:
                fail(plan, {"label": f"profile {path}"}, failure)
                continue
        rows += [row | {"path": path} for row in by_room(stats, calls)]
        note({"label": f"profile {path}"}, f"{sum(row['calls'] for row in rows if row['path'] == path):,.0f} function calls")  # fmt: skip
    return rows


def launcher(ours: Target, folder: Path, *arguments: str) -> list[str]:
    script = str(known.SERVERS / "profiled.py")
    return [ours.command[0], script, str(folder / "profile"), *arguments]


def over_http(ours: Target, folder: Path, calls: int) -> pstats.Stats:
    port = machine.free_port()
    command = launcher(ours, folder, "serve", "--http", str(port))
    core, _ = machine.cores()
    with machine.started(command, core=core, env={}, port=port) as process:
        return by_post(process.pid, port, QUESTIONS["echo"], folder, calls)


def through_gateway(ours: Target, folder: Path, calls: int) -> pstats.Stats:
    port = machine.free_port()
    config = folder / ".mcp.json"
    config.write_text(known.configuration({"bench": ours.pipes()}))
    arguments = ("interlock", "up", "--config", str(config), "--port", str(port))
    core, _ = machine.cores()
    with machine.started(
        launcher(ours, folder, *arguments), core=core, env={}, port=port, folder=folder
    ) as process:
        asked = QUESTIONS["echo"].through("bench")
        return by_post(process.pid, port, asked, folder, calls)


def by_post(pid: int, port: int, asked: Question, folder: Path, calls: int) -> pstats.Stats:
    """Profile *calls* POSTs over one connection, each sent in one piece."""
    caller = Caller(port, asked, "modern")
    first_answer(caller)
    wire = Wire(port, asked, caller)
    try:
        return watched(pid, folder, calls, wire.learn)
    finally:
        wire.socket.close()


def over_pipe(ours: Target, folder: Path, calls: int) -> pstats.Stats:
    core, _ = machine.cores()
    command = launcher(ours, folder, "serve")
    with machine.started(command, core=core, env={}, pipes=True) as process:
        pipe = Pipe(process, QUESTIONS["echo"], "modern")
        pipe.check()

        def once() -> None:
            pipe.ask()
            pipe.line()

        return watched(process.pid, folder, calls, once)


def watched(pid: int, folder: Path, calls: int, once: Callable[[], object]) -> pstats.Stats:
    for _ in range(50):
        once()
    os.kill(pid, signal.SIGUSR1)
    once()  # The handler runs before this is answered.
    for _ in range(calls - 1):
        once()
    os.kill(pid, signal.SIGUSR2)
    done = folder / "profile.done"
    until = time.monotonic() + 10
    while not done.exists():
        if time.monotonic() > until:
            raise RuntimeError("the profile was not written")
        time.sleep(0.01)
    return pstats.Stats(str(folder / "profile"))


def by_room(stats: pstats.Stats, calls: int) -> list[Row]:
    """Function calls and own time by file; a builtin counts where it was called from."""
    entries = cast("dict[Where, Entry]", vars(stats)["stats"])
    number: defaultdict[str, float] = defaultdict(float)
    spent: defaultdict[str, float] = defaultdict(float)
    for (file, _, name), (_, times, own, _, callers) in entries.items():
        if waits(name):
            continue
        if file == "~" and any(each in name for each in SYSTEM_CALLS):
            number[KERNEL] += times
            spent[KERNEL] += own
            continue
        if file != "~" or not callers:
            number[room(file)] += times
            spent[room(file)] += own
            continue
        for (caller, _, _), (called, _, its_own, _) in callers.items():
            number[room(caller)] += called
            spent[room(caller)] += its_own
    whole = sum(spent.values())
    rows: list[Row] = [
        {
            "room": name,
            "opening": opening(name),
            "calls": number[name] / calls,
            "share": spent[name] / whole,
            "us": spent[name] / calls * 1e6,
        }
        for name in number
        if number[name] / calls >= 0.5
    ]
    return sorted(rows, key=lambda row: -row["share"])


def waits(name: str) -> bool:
    """Whether a function is where the loop waits for the next request."""
    return "poll" in name and "select" in name


def room(file: str) -> str:
    _, found, path = file.rpartition(PACKAGE)
    return path if found else ELSEWHERE


def opening(name: str) -> str:
    """What lives in a room, in its own words: the first sentence of its file."""
    path = known.PROJECT / "src/interlock" / name
    if name == ELSEWHERE or not path.exists():
        return ""
    said: Any = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(str(said).split()).partition(". ")[0].rstrip(".")
