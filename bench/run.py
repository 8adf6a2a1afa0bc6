"""Measure Interlock beside its peers, in one run on this machine, and print how they compare.

    python bench/run.py --quick                   a short look, noisy
    python bench/run.py --only http echo          one section, one question, all servers
    python bench/run.py --only interlock mcp      two servers, everything

The server runs on one core and the load on another, so a figure is for one core.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import machine
import report
from questions import ERAS, QUESTIONS
from targets import Target, configuration, gateway, setting, targets

SECTIONS = ("http", "stdio", "cold", "gateway")
RELAYED = ("echo", "echo 16 kB")
QUIET = 0.1
"""More of a core than this used by others, and a run is done again."""


@dataclass(frozen=True)
class Plan:
    """What to run and for how long."""

    warm: float
    seconds: float
    rounds: int
    tries: int
    targets: list[Target]
    sections: list[str]
    questions: list[str]
    eras: list[str]
    connections: list[int]


def plan(options: argparse.Namespace) -> Plan:
    words: set[str] = set(options.only or ())
    everything = targets()

    def chosen(names: list[str]) -> list[str]:
        """The names that were asked for; all of them if none of this kind was."""
        return [name for name in names if name in words] or names

    kinds = [
        list(SECTIONS),
        list(QUESTIONS),
        list(ERAS),
        [target.key for target in everything],
        ["c1", "c32"],
    ]
    unknown = words - {name for kind in kinds for name in kind}
    if unknown:
        offered = "; ".join(", ".join(kind) for kind in kinds)
        sys.exit(f"--only does not know {', '.join(sorted(unknown))}; it knows {offered}")
    sections, questions, eras, keys, connections = map(chosen, kinds)
    return Plan(
        warm=0.4 if options.quick else 2.0,
        seconds=0.8 if options.quick else 4.0,
        rounds=3 if options.quick else 9,
        tries=1 if options.quick else 4,
        targets=[target for target in everything if target.key in keys],
        sections=sections,
        questions=questions,
        eras=eras,
        connections=[int(name[1:]) for name in connections],
    )


def worker(program: str, spec: dict[str, Any]) -> dict[str, Any]:
    """One run in a process of its own; its complaint is ours."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(program))],
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def quietest(plan: Plan, program: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The first undisturbed run, or the least disturbed of several."""
    seen: list[dict[str, Any]] = []
    for _ in range(plan.tries):
        seen.append(worker(program, spec))
        if seen[-1]["others"] <= QUIET:
            return seen[-1]
    return min(seen, key=lambda run: run["others"])


@dataclass(frozen=True, eq=False)
class Way:
    """A server to ask over HTTP, and how it is reached."""

    target: Target
    label: str
    command: list[str]
    port: int
    through: str | None = None
    folder: Path | None = None


def http_runs(
    plan: Plan, ways: list[Way], questions: list[str], failures: list[str]
) -> list[report.Row]:
    """Ask each way each question; all ways one after another, so that they see the same machine."""
    server_core, load_core = machine.cores()
    rows: list[report.Row] = []
    with ExitStack() as stack:
        pids: dict[Way, int] = {}
        for way in ways:
            start = machine.started(
                way.command,
                core=server_core,
                env=way.target.env,
                port=way.port,
                folder=way.folder,
            )
            try:
                pids[way] = stack.enter_context(start).pid
            except (RuntimeError, OSError) as failure:
                failures.append(f"{way.label}: {failure}")
        for era, question, connections, way in product(
            plan.eras, questions, plan.connections, pids
        ):
            spec = {
                "port": way.port,
                "era": era,
                "question": question,
                "connections": connections,
                "through": way.through,
                "warm": plan.warm,
                "seconds": plan.seconds,
                "pid": pids[way],
                "core": load_core,
            }
            row = {
                "key": way.target.key,
                "label": way.label,
                "era": era,
                "question": question,
                "connections": connections,
            }
            try:
                row |= quietest(plan, "load.py", spec)
            except RuntimeError as failure:
                failures.append(f"{way.label}, {era}, {question}, c{connections}: {failure}")
            else:
                note(row, f"{row['rate']:,.0f} req/s")
                rows.append(row)
    return rows


def note(row: report.Row, figure: str) -> None:
    """One line as each run ends: the tables come only after the last."""
    words = [row["label"], row["era"], row["question"]]
    if "connections" in row:
        words.append(f"c{row['connections']}")
    others = f", others used {row['others']:.0%} of a core" if row.get("others", 0) > QUIET else ""
    print(f"{', '.join(words)}: {figure}{others}", file=sys.stderr, flush=True)


def http(plan: Plan, failures: list[str]) -> list[report.Row]:
    rows: list[report.Row] = []
    for tools in sorted({QUESTIONS[name].tools for name in plan.questions}):
        questions = [name for name in plan.questions if QUESTIONS[name].tools == tools]
        ways: list[Way] = []
        for target in plan.targets:
            port = machine.free_port()
            ways.append(Way(target, target.label, target.http(port, tools), port))
        rows += http_runs(plan, ways, questions, failures)
    return in_order(rows)


def pipes(plan: Plan, failures: list[str], what: str) -> list[report.Row]:
    server_core, load_core = machine.cores()
    rows: list[report.Row] = []
    for era in plan.eras:
        for target in plan.targets:
            if not target.stdio:
                continue
            spec = {
                "what": what,
                "question": "echo",
                "era": era,
                "command": target.command,
                "env": target.env,
                "server_core": server_core,
                "core": load_core,
                "warm": plan.warm,
                "seconds": plan.seconds,
                "rounds": plan.rounds,
            }
            row = {"key": target.key, "label": target.label, "era": era, "question": "echo"}
            try:
                if what == "cold":
                    row |= worker("pipes.py", spec)
                    note(row, f"{row['median_ms']:,.0f} ms to the first answer")
                else:
                    row |= quietest(plan, "pipes.py", spec)
                    note(row, f"{row['rate']:,.0f} req/s over stdio")
            except RuntimeError as failure:
                failures.append(f"{target.label}, stdio {era}, {what}: {failure}")
            else:
                rows.append(row)
    return rows


def hops(plan: Plan, failures: list[str]) -> list[report.Row]:
    """Our server asked directly, and the same server behind our gateway."""
    ours = next((target for target in plan.targets if target.key == "interlock"), None)
    questions = [name for name in plan.questions if name in RELAYED]
    if ours is None or not questions:
        return []
    with tempfile.TemporaryDirectory() as name:
        # A folder of its own: a gateway leaves its address in the one it serves.
        folder = Path(name)
        config = folder / ".mcp.json"
        config.write_text(configuration(ours, 2))
        direct, relayed = machine.free_port(), machine.free_port()
        ways = [
            Way(ours, "server over HTTP", ours.http(direct, 2), direct),
            Way(
                ours,
                "gateway, server over stdio",
                gateway(ours, config, relayed),
                relayed,
                through="bench",
                folder=folder,
            ),
        ]
        return in_order(http_runs(plan, ways, questions, failures))


def in_order(rows: list[report.Row]) -> list[report.Row]:
    """By era, then by question; servers stay in the order they ran in."""
    eras, questions = list(ERAS), list(QUESTIONS)
    return sorted(rows, key=lambda row: (eras.index(row["era"]), questions.index(row["question"])))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="short runs, none repeated")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="WORD",
        help="sections, servers, questions, eras (modern, legacy), connections (c1, c32)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure there")
    options = parser.parse_args()
    what = plan(options)
    began = time.monotonic()
    failures: list[str] = []
    sections: dict[str, list[report.Row]] = {}
    for name in what.sections:
        if name == "http":
            sections[name] = http(what, failures)
        elif name == "gateway":
            sections[name] = hops(what, failures)
        else:
            sections[name] = pipes(what, failures, {"stdio": "throughput"}.get(name, name))
    server_core, load_core = machine.cores()
    head = (
        f"{setting()}; servers on core {server_core}, load on core {load_core}; "
        f"{what.seconds:g} s a run; {(time.monotonic() - began) / 60:.1f} minutes in all"
    )
    print(report.text(head, sections))
    if options.json:
        options.json.write_text(json.dumps({"setting": head, **sections}, indent=1))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


sys.exit(main())
