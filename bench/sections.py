"""The sections of the bench: what each asks of whom. Each gives rows, one a server and question."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import machine
import targets as known
from probes import HERE, Probe
from questions import QUESTIONS
from runs import QUIET, Once, Plan, Row, fail, median, note, rounds
from targets import Target

RELAYED = ("echo", "echo 16 kB")
UPSTREAM_TOOLS = 50
NUMBERS = count()


@dataclass(frozen=True, eq=False)
class Way:
    """A server to ask over HTTP, and how it is reached."""

    target: Target
    label: str
    command: list[str]
    port: int
    through: str | None = None
    folder: Path | None = None
    eras: tuple[str, ...] = ("modern",)
    core: int | tuple[int, ...] | None = None


def way(target: Target, tools: int, *, core: int | tuple[int, ...] | None = None) -> Way:
    port = machine.free_port()
    command = target.http(port, tools)
    return Way(target, target.label, command, port, eras=target.eras, core=core)


@contextmanager
def listening(plan: Plan, ways: list[Way]) -> Generator[dict[Way, int]]:
    """All of them started, by their process; what does not start is said and left out."""
    server_core, _ = machine.cores()
    with ExitStack() as stack:
        pids: dict[Way, int] = {}
        for each in ways:
            start = machine.started(
                each.command,
                core=server_core if each.core is None else each.core,
                env=each.target.environment(each.port),
                port=each.port,
                folder=each.folder,
            )
            try:
                pids[each] = stack.enter_context(start).pid
            except (RuntimeError, OSError) as failure:
                fail(plan, {"label": each.label}, failure)
        yield pids


def cell(
    plan: Plan,
    load: Probe,
    each: Way,
    pid: int,
    *,
    question: str,
    connections: int,
    era: str,
    cores: tuple[int, ...] | None = None,
    **more: Any,
) -> tuple[Row, Once]:
    """A row to be filled, and one run of it."""
    spec = {
        "key": each.target.key,
        "port": each.port,
        "era": era,
        "question": question,
        "connections": connections,
        "through": each.through,
        "warm": plan.warm,
        "seconds": plan.seconds,
        "patience": 60 if each.folder is not None or each.through is not None else 1,
        "pid": pid,
        "awake": cores is None and len(set(machine.cores())) > 1,
        "cores": cores or (machine.cores()[1],),
        **more,
    }
    row: Row = {
        "key": each.target.key,
        "label": each.label,
        "era": era,
        "question": question,
        "connections": connections,
    }
    return row, lambda: load.ask(spec)


@contextmanager
def probe(program: str) -> Generator[Probe]:
    found = Probe(program)
    try:
        yield found
    finally:
        found.close()


def told(rows: list[Row]) -> list[Row]:
    for row in rows:
        note(row, f"{row['rate']:,.0f} a second")
    return rows


def http(plan: Plan, servers: list[Target]) -> list[Row]:
    """Every question at one and at many connections; the echo in the legacy era besides."""
    rows: list[Row] = []
    for tools in sorted({QUESTIONS[name].tools for name in plan.questions}):
        names = [name for name in plan.questions if QUESTIONS[name].tools == tools]
        ways = [
            way(target, tools)
            for target in servers
            if target.web is not None and not (target.own and tools > 2)
        ]
        with probe("load.py") as load, listening(plan, ways) as pids:
            for name in names:
                few = plan.quick and name != "echo"
                for connections in [c for c in plan.connections if not (few and c == 1)]:
                    rows += told(rounds(plan, http_cells(plan, load, pids, name, connections)))
    return rows


def http_cells(
    plan: Plan, load: Probe, pids: dict[Way, int], name: str, connections: int
) -> list[tuple[Row, Once]]:
    cells: list[tuple[Row, Once]] = []
    for each, pid in pids.items():
        if each.target.own and not name.startswith("echo, ") and name != "echo":
            continue
        eras = [era for era in each.eras if era in plan.eras]
        if name != "echo" or connections == 1:
            eras = eras[:1]
        cells += [
            cell(plan, load, each, pid, question=name, connections=connections, era=era)
            for era in eras
        ]
        if each.target.key == "rmcp":
            # It sends an answer in pieces and waits for one to be acknowledged before the next,
            # which kernels put off: asked once more so that what it can do is seen too.
            row, once = cell(
                plan,
                load,
                each,
                pid,
                question=name,
                connections=connections,
                era=eras[0],
                hurried=True,
            )
            cells.append(
                (row | {"key": "rmcp-hurried", "label": f"{each.label}, acks at once"}, once)
            )
    return cells


def stdio(plan: Plan, servers: list[Target]) -> list[Row]:
    """An echo with many in flight, and one at a time; both in one row a server."""
    _, load_core = machine.cores()
    numbers: dict[int, Row] = {}
    with probe("pipes.py") as pipes:

        def ask(do: str, number: int, row: Row, **more: Any) -> dict[str, Any]:
            spec = {
                "do": do,
                "number": number,
                "key": row["key"],
                "question": "echo",
                "era": row["era"],
                "cores": (load_core,),
                "warm": plan.warm,
                "seconds": plan.seconds,
            }
            return pipes.ask(spec | more)

        for target, row in piped(plan, servers):
            number = next(NUMBERS)
            try:
                idle = ask("open", number, row, **start_of(target))
            except RuntimeError as failure:
                fail(plan, row, failure)
            else:
                numbers[number] = row | idle

        def cells(do: str) -> list[tuple[Row, Once]]:
            return [
                (row | {"number": number}, lambda do=do, n=number, row=row: ask(do, n, row))
                for number, row in numbers.items()
            ]

        many = told(rounds(plan, cells("many")))
        one = {row["number"]: row for row in told(rounds(plan, cells("one")))}
        for number, row in numbers.items():
            ask("close", number, row)
    return [
        row | {f"{key}_one": one[row["number"]].get(key) for key in ("rate", "cpu_us", "others")}
        | {key: one[row["number"]][key] for key in ("p50_us", "p99_us")}
        for row in many
        if row["number"] in one
    ]  # fmt: skip


def cold(plan: Plan, servers: list[Target]) -> list[Row]:
    """From the start of a process to its first answer over stdio."""
    _, load_core = machine.cores()
    with probe("pipes.py") as pipes:

        def once(target: Target, row: Row) -> dict[str, Any]:
            spec = {"do": "cold", "key": row["key"], "question": "echo", "era": row["era"]}
            return pipes.ask(spec | {"cores": (load_core,)} | start_of(target))

        cells: list[tuple[Row, Once]] = [
            (row, lambda target=target, row=row: once(target, row))
            for target, row in piped(plan, servers)
        ]
        rows = rounds(plan, cells)
    for row in rows:
        note(row, f"{row['ms']:,.0f} ms to the first answer")
    return rows


def piped(plan: Plan, servers: list[Target]) -> Iterator[tuple[Target, Row]]:
    """The servers that speak stdio, in each of their eras that is asked for, and their rows."""
    for target in servers:
        if target.stdio is not None:
            for era in target.eras:
                if era in plan.eras or len(target.eras) == 1:
                    row = {"key": target.key, "label": target.label, "era": era}
                    yield target, row | {"question": "echo"}


def start_of(target: Target) -> dict[str, Any]:
    return {
        "command": target.pipes(),
        "env": target.environment(),
        "server_core": machine.cores()[0],
    }


def clients(plan: Plan, servers: list[Target]) -> list[Row]:
    """Each client against one same server, which is ours, and against one in its own process."""
    ours = next(target for target in servers if target.key == "interlock")
    programs = {
        "interlock": (ours.command[0], "client_ours.py"),
        "mcp": (known.python("mcp2"), "client_mcp.py"),
        "fastmcp": (known.python("fastmcp"), "client_fastmcp.py"),
    }
    labels = {target.key: target.label for target in servers}
    rows: list[Row] = []
    with listening(plan, [way(ours, 2)]) as pids:
        for each, pid in pids.items():
            url = f"http://127.0.0.1:{each.port}/mcp"
            for where, flight in (("HTTP", 32), ("HTTP", 1), ("in process", 32), ("in process", 1)):
                for key, (program, script) in programs.items():
                    if key not in labels:
                        continue
                    row: Row = {"key": key, "label": labels[key], "where": where, "flight": flight}
                    command = [program, str(HERE / "clients" / script), "--flight", str(flight)]
                    command += ["--url", url] if where == "HTTP" else []
                    command += ["--warm", str(plan.warm * 2), "--seconds", str(plan.seconds)]
                    command += ["--runs", str(plan.rounds)]
                    try:
                        row |= client(plan, command, pid)
                    except RuntimeError as failure:
                        fail(plan, row, failure)
                    else:
                        note(row, f"{row['rate']:,.0f} calls a second {where}, {flight} in flight")
                        rows.append(row)
    return rows


def client(plan: Plan, command: list[str], pid: int) -> dict[str, Any]:
    """The runs of one client; all of them once more while others disturb them too much."""
    _, load_core = machine.cores()
    seen: list[dict[str, Any]] = []
    while True:
        everyone, mine = machine.everyone(), machine.used(os.getpid(), pid)
        began = time.perf_counter()
        with machine.started(
            command, core=load_core, env={"PYTHONWARNINGS": "ignore"}, pipes=True
        ) as process:
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
            process.wait()
        elapsed = time.perf_counter() - began
        everyone = machine.everyone() - everyone
        mine = machine.used(os.getpid(), pid) - mine
        runs = [json.loads(line) for line in lines if line.startswith(b"{")]
        if not runs:
            raise RuntimeError(f"the client ended with {process.returncode} and measured nothing")
        others = max(0.0, (everyone - mine) / elapsed)
        seen.append(median([{"others": others, **run} for run in runs], len(runs)))
        if others <= QUIET or len(seen) > plan.again:
            return min(seen, key=lambda row: row["others"])


def gateway(plan: Plan, servers: list[Target], home: Path) -> list[Row]:
    """Our server asked directly, and behind our gateway, FastMCP's proxy and a compiled bridge."""
    ours = next(target for target in servers if target.key == "interlock")
    questions = [name for name in plan.questions if name in RELAYED]
    upstream = ours.pipes()
    with tempfile.TemporaryDirectory() as name:
        # A folder of its own: a gateway leaves its address in the one it serves.
        folder = Path(name)
        config = folder / ".mcp.json"
        config.write_text(known.configuration({"bench": upstream}))
        ports = [machine.free_port() for _ in range(3)]
        ours_label = "Interlock's gateway"
        command = known.gateway(ours, config, ports[0])
        ways = [
            way(ours, 2),
            Way(ours, ours_label, command, ports[0], through="bench", folder=folder),
        ]
        fast = next((target for target in servers if target.key == "fastmcp"), None)
        if fast is not None:
            command = known.fastmcp_proxy(upstream, ports[1])
            ways.append(Way(fast, f"{fast.label} proxy", command, ports[1], folder=folder))
        bridge = known.translate()
        if bridge is not None:
            target = Target(
                "translate", "dcc-mcp-server translate (Rust)", (), {"HOME": str(home), "RUST_LOG": "warn"}
            )  # fmt: skip
            command = known.translated(bridge, upstream, ports[2], home)
            ways.append(Way(target, target.label, command, ports[2], eras=("legacy",)))
        rows: list[Row] = []
        with probe("load.py") as load, listening(plan, ways) as pids:
            for question in questions:
                for connections in plan.connections:
                    cells = [
                        cell(plan, load, each, pid, question=question, connections=connections, era=each.eras[0])
                        for each, pid in pids.items()
                    ]  # fmt: skip
                    rows += told(rounds(plan, cells))
        for row in rows:
            if row["label"] == ours.label:
                row["label"] = "no gateway: the server over HTTP"
            elif row["label"] == ours_label:
                row["key"] = "gateway"
        return rows


def upstreams(plan: Plan, servers: list[Target], numbers: tuple[int, ...]) -> list[Row]:
    """Gateways over ever more bare stdio servers of fifty tools: the whole list, and one call."""
    ours = next(target for target in servers if target.key == "interlock")
    bare = [ours.command[0], str(known.SERVERS / "bare_pipe.py"), "--tools", str(UPSTREAM_TOOLS)]
    rows: list[Row] = []
    for number in numbers:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            config = folder / ".mcp.json"
            config.write_text(known.configuration({f"s{each:03}": bare for each in range(number)}))
            port = machine.free_port()
            label = f"{number} upstream{'s' if number > 1 else ''}"
            command = known.gateway(ours, config, port)
            whole = Way(ours, label, command, port, folder=folder)
            # The list under its own name, a call under that of the upstream in the middle.
            one = Way(ours, label, command, port, through=f"s{number // 2:03}")
            with probe("load.py") as load, listening(plan, [whole]) as pids:
                for pid in pids.values():
                    listed = cell(plan, load, whole, pid, question=f"list {number * UPSTREAM_TOOLS}", connections=1, era="modern")  # fmt: skip
                    calls = [
                        cell(plan, load, one, pid, question="echo", connections=connections, era="modern")
                        for connections in (1, 32)
                    ]  # fmt: skip
                    found = told(rounds(plan, [listed, *calls]))
                    rows.extend(row | {"upstreams": number} for row in found)
    return rows


def workers(plan: Plan, servers: list[Target]) -> list[Row]:
    """One worker that shares one core with a load, and two that share two cores with two loads.

    Each load keeps to the worker on its own core; once more it does not.
    """
    ours = next(target for target in servers if target.key == "interlock")
    if not known.knows(ours.command[0], "workers"):
        print("workers: left out, as `run` has no such option yet", file=sys.stderr, flush=True)
        return []
    cores = sorted(set(machine.cores()))
    if len(cores) < 2:
        print("workers: left out, as there is one core", file=sys.stderr, flush=True)
        return []
    ways: dict[Way, tuple[int, ...]] = {}
    for number in (1, 2):
        port = machine.free_port()
        command = [*ours.http(port, 2), "--workers", str(number)]
        label = f"{number} worker{'s' if number > 1 else ''}"
        on = tuple(cores[:number])
        ways[Way(ours, label, command, port, eras=ours.eras, core=on)] = on
    with probe("load.py") as load, probe("load.py") as more, listening(plan, [*ways]) as pids:
        cells: list[tuple[Row, Once]] = []
        for each, pid in pids.items():
            members = machine.crew(pid, len(ways[each]))
            for member, core in zip(members, ways[each], strict=True):
                os.sched_setaffinity(member, {core})
            for apart in (True, False) if len(members) > 1 else (True,):
                runs: list[Once] = []
                row: Row = {}
                for one, core, member in zip((load, more), ways[each], members, strict=False):
                    row, once = cell(
                        plan,
                        one,
                        each,
                        pid,
                        question="echo",
                        connections=32,
                        era="modern",
                        cores=(core,),
                        worker=member if apart else None,
                    )
                    runs.append(once)
                row["label"] += "" if apart else ", loads to either"
                cells.append((row, lambda runs=runs: together(runs)))
        return told(rounds(plan, cells))


def together(runs: list[Once]) -> dict[str, Any]:
    """Several loads at once, as one: what they ask adds up, and none is a stranger to another."""
    with ThreadPoolExecutor(len(runs)) as pool:
        seen = list(pool.map(lambda once: once(), runs))
    rate = sum(run["rate"] for run in seen)
    loads = sum(run["own"] for run in seen)
    return {
        **seen[0],
        "rate": rate,
        "p50_ms": max(run["p50_ms"] for run in seen),
        "p99_ms": max(run["p99_ms"] for run in seen),
        # Each saw the whole server's time against its own share of the requests.
        "cpu_us": sum(run["cpu_us"] * run["rate"] for run in seen) / len(seen) / rate,
        "others": max(0.0, max(run["others"] + run["own"] for run in seen) - loads),
        "load": 0.0,
    }


def older(plan: Plan) -> list[Row]:
    """The main figures once more on the oldest CPython that is served."""
    servers = known.older_targets()
    if not servers:
        print(f"older: left out, as there is no CPython {known.OLDER}", file=sys.stderr, flush=True)
        return []
    kept: Callable[[str], bool] = lambda name: name in {"echo", "add", "list 100"}  # noqa: E731
    few = Plan(
        quick=plan.quick,
        sections=plan.sections,
        questions=[name for name in plan.questions if kept(name)] or ["echo"],
        eras=["modern"],
        keys=plan.keys,
        connections=[32],
        failures=plan.failures,
        began=plan.began,
    )
    chosen = [target for target in servers if plan.wants(target.key)]
    rows = [row | {"what": "http"} for row in http(few, chosen)]
    rows += [row | {"what": "stdio"} for row in stdio(few, chosen)]
    rows += [row | {"what": "cold"} for row in cold(few, chosen)]
    return rows
