"""How a figure grows: over connections, tools, the size of a message, sessions, upstreams.

Each curve is a list of rows; `at` is where on the curve a row lies.
"""

import http.client
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import machine
from probes import Probe
from questions import INITIALIZED, blob, initialize
from runs import Once, Plan, Row, fail, note, rounds
from sections import Way, cell, listening, probe, told, way
from targets import Target

CONNECTIONS = (1, 4, 16, 64, 250, 1000)
TOOLS = (1, 10, 100, 1000, 5000)
SIZES = (100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 40_000_000)
SESSIONS = (1, 100, 1000, 10_000, 20_000)
PEER_TOOLS = 1000
"""What takes a second or more a list at a peer is left out."""
PEER_SESSIONS = 1000
KEPT_SESSIONS = 10_000
"""As many a server of ours keeps: of more, nothing can be said of one."""
IN_TURN = 32


def points(plan: Plan, all_of_them: Sequence[int]) -> Sequence[int]:
    """Where a curve is measured: a quick look takes every other point, the last included."""
    return all_of_them[::-2][::-1] if plan.quick else all_of_them


def of_keys(servers: list[Target], *keys: str) -> list[Target]:
    return [target for target in servers if target.key in keys]


def connections(plan: Plan, servers: list[Target]) -> list[Row]:
    """Echo calls a second over ever more connections, one in flight on each."""
    ways = [
        way(each, 2) for each in of_keys(servers, "interlock", "mcp", "mcp-go", "bare-protocol")
    ]
    rows: list[Row] = []
    with probe("load.py") as load, listening(plan, ways) as pids:
        for number in points(plan, CONNECTIONS):
            cells = [
                cell(plan, load, each, pid, question="echo", connections=number, era=each.eras[0])
                for each, pid in pids.items()
            ]
            # Sessions are a curve of their own.
            rows += [row | {"at": number} for row in told(rounds(plan, cells))]
    return rows


def tools(plan: Plan, servers: list[Target]) -> list[Row]:
    """The list of ever more tools, and one call beside them."""
    rows: list[Row] = []
    for number in points(plan, TOOLS):
        ways = [
            way(each, number)
            for each in of_keys(servers, "interlock", "mcp")
            if each.key == "interlock" or number <= (100 if plan.quick else PEER_TOOLS)
        ]
        with probe("load.py") as load, listening(plan, ways) as pids:
            cells = [
                cell(plan, load, each, pid, question=question, connections=1, era="modern")
                for each, pid in pids.items()
                for question in (f"list {number}", "echo")
            ]
            for row in told(rounds(plan, cells)):
                what = "echo" if row["question"] == "echo" else "list"
                rows.append(row | {"at": number, "what": what})
    return rows


def sizes(plan: Plan, servers: list[Target]) -> list[Row]:
    """One call with ever more bytes: answers over HTTP, both ways over stdio."""
    chosen = of_keys(servers, "interlock", "mcp")
    numbers = count()
    rows: list[Row] = []
    _, load_core = machine.cores()
    ways = [
        Way(each, each.label, [*each.http(port, 2), "--blobs"], port)
        for each in chosen
        for port in (machine.free_port(),)
    ]
    with probe("load.py") as load, probe("pipes.py") as pipes, listening(plan, ways) as pids:
        opened: dict[int, Target] = {}
        for each in chosen:
            number = next(numbers)
            spec = {
                "do": "open",
                "number": number,
                "key": each.key,
                "question": "echo",
                "era": "modern",
                "cores": (load_core,),
                "command": each.pipes(),
                "env": each.environment(),
                "server_core": machine.cores()[0],
            }
            try:
                pipes.ask(spec)
            except RuntimeError as failure:
                fail(plan, {"label": each.label}, failure)
            else:
                opened[number] = each
        for size in points(plan, SIZES):
            cells: list[tuple[Row, Once]] = [
                cell(plan, load, each, pid, question=f"blob {size}", connections=1, era="modern")
                for each, pid in pids.items()
            ]
            for row, _ in cells:
                row["what"] = "HTTP"
            for number, each in opened.items():
                spec = {
                    "do": "sizes",
                    "number": number,
                    "key": each.key,
                    "question": f"text {size}",
                    "era": "modern",
                    "cores": (load_core,),
                    "count": max(2, min(50, 4_000_000 // size)),
                }
                row = {"key": each.key, "label": each.label, "what": "stdio", "era": "modern"}
                cells.append((row, lambda spec=spec: pipes.ask(spec)))
            for row in rounds(plan, cells):
                note(row, f"{row['p50_ms']:,.2f} ms for {size:,} bytes over {row['what']}")
                rows.append(row | {"at": size, "mb_s": size / row["p50_ms"] / 1e3})
        for number in opened:
            pipes.ask({"do": "close", "number": number, "cores": (load_core,)})
    return rows


def sessions(plan: Plan, servers: list[Target]) -> list[Row]:
    """Ever more legacy sessions that are open: an echo in the newest, and what they all hold."""
    rows: list[Row] = []
    ways = [way(each, 2) for each in of_keys(servers, "interlock", "mcp")]
    with probe("load.py") as load, listening(plan, ways) as pids:
        for each, pid in pids.items():
            opened = 0
            empty = machine.resident(pid)
            for number in points(plan, SESSIONS):
                if each.target.key != "interlock" and number > PEER_SESSIONS:
                    break
                try:
                    begin_sessions(each.port, max(0, number - opened - IN_TURN))
                    before = machine.resident(pid)
                    rows += session_row(plan, load, each, pid, number)
                except (RuntimeError, OSError) as failure:
                    fail(plan, {"label": each.label, "question": f"{number} sessions"}, failure)
                    break
                opened = number
                if number <= KEPT_SESSIONS:
                    rows[-1]["kb"] = (max(before, rows[-1]["memory_mb"]) - empty) * 1e3 / number
    return rows


def session_row(plan: Plan, load: Probe, each: Way, pid: int, number: int) -> list[Row]:
    row, once = cell(plan, load, each, pid, question="echo", connections=min(number, IN_TURN), era="legacy")  # fmt: skip
    found = told(rounds(plan, [(row | {"question": f"{number} sessions"}, once)]))
    if not found:
        raise RuntimeError("nothing was measured")
    return [found[0] | {"at": number}]


def begin_sessions(port: int, number: int) -> None:
    """Open so many sessions, and leave them open."""
    _, load_core = machine.cores()
    before = os.sched_getaffinity(0)
    machine.pin(load_core)
    wire = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    asked = blob(1)
    try:
        for _ in range(number):
            session = None
            for body in (initialize(), INITIALIZED):
                wire.request("POST", "/mcp", body, asked.headers("legacy", session))
                response = wire.getresponse()
                response.read()
                if response.status not in {200, 202}:
                    raise RuntimeError(f"a handshake was answered with status {response.status}")
                session = response.getheader("Mcp-Session-Id") or session
    finally:
        wire.close()
        os.sched_setaffinity(0, before)


def curves(plan: Plan, servers: list[Target]) -> dict[str, list[Row]]:
    makers = (connections, tools, sizes, sessions)
    brief = replace(plan, short=True)
    return {make.__name__: make(brief, servers) for make in makers}
